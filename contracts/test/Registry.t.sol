// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Base} from "./Base.sol";

/// @dev Payees, models by commit and reveal.
contract RegistryTest is Base {
    bytes32 private constant MODEL = keccak256("model");
    bytes32[] private none;

    function test_Registry_PayeesAreIndexedFromOneOnce() external {
        eq(registry.payeeCount(), PAYEES, "count");
        eq(registry.registerPayee(payee(2)), 2, "again");
        vm.prank(stranger);
        eq(registry.registerPayee(stranger), PAYEES + 1, "next");
        vm.assertEq(registry.payeeAt(2), payee(2), "at");
        refuses(IRegistry.ZeroAddress.selector);
        registry.registerPayee(address(0));
    }

    function test_Registry_CommitThenReveal_AFrontRunnerHasNoCommitment() external {
        refuses(IRegistry.NotCommitted.selector);
        registry.register(MODEL, none, "terms", "salt");
        _commit(operator, MODEL, "salt");
        vm.startPrank(operator);
        refuses(IRegistry.CommitmentTooFresh.selector);
        registry.register(MODEL, none, "terms", "salt");
        vm.roll(block.number + 1);
        vm.stopPrank();
        vm.prank(stranger); // has seen the reveal in the pool
        refuses(IRegistry.NotCommitted.selector);
        registry.register(MODEL, none, "terms", "salt");
        vm.prank(operator);
        registry.register(MODEL, none, "terms", "salt");
        vm.assertEq(registry.models(MODEL).owner, operator, "owner");
    }

    function test_S7_AnEarlierCommitmentTakesTheModelOver_ForAWhile() external {
        _commit(operator, MODEL, "first");
        vm.roll(block.number + 1);
        _commit(stranger, MODEL, "second");
        vm.roll(block.number + 1);
        vm.prank(stranger);
        registry.register(MODEL, none, "terms", "second");
        vm.prank(operator);
        registry.register(MODEL, none, "terms", "first");
        vm.assertEq(registry.models(MODEL).owner, operator, "the earlier one");
        vm.prank(stranger);
        refuses(IRegistry.ModelTaken.selector);
        registry.register(MODEL, none, "terms", "second");
    }

    function test_RevertWhen_AnEarlierCommitmentComesTooLate() external {
        _commit(operator, MODEL, "first");
        vm.roll(block.number + 1);
        _commit(stranger, MODEL, "second");
        vm.roll(block.number + 1);
        vm.prank(stranger);
        registry.register(MODEL, none, "terms", "second");
        vm.warp(block.timestamp + 7 days);
        vm.prank(operator);
        refuses(IRegistry.ModelTaken.selector);
        registry.register(MODEL, none, "terms", "first");
    }

    function test_Registry_ParentsMustExist_AndOnlyTheOwnerChangesAModel() external {
        bytes32[] memory parents = new bytes32[](1);
        parents[0] = MODEL;
        _commit(operator, keccak256("child"), "salt");
        vm.roll(block.number + 1);
        vm.prank(operator);
        refuses(IRegistry.ParentUnknown.selector);
        registry.register(keccak256("child"), parents, "terms", "salt");
        vm.prank(operator);
        refuses(IRegistry.TooManyParents.selector);
        registry.register(keccak256("child"), new bytes32[](5), "terms", "salt");
        vm.prank(operator);
        registry.register(keccak256("child"), none, "terms", "salt");
        refuses(IRegistry.NotOwner.selector);
        registry.update(keccak256("child"), "other");
        refuses(IRegistry.NotOwner.selector);
        registry.transfer(keccak256("child"), stranger);
        vm.startPrank(operator);
        registry.update(keccak256("child"), "other");
        registry.transfer(keccak256("child"), stranger);
        vm.assertEq(registry.models(keccak256("child")).owner, stranger, "transferred");
        vm.stopPrank();
    }


    // ------------------------------------------------------------------ helpers

    function _commit(address who, bytes32 id, bytes32 salt) private {
        registry.commitModel(keccak256(abi.encode(id, who, salt)));
    }
}
