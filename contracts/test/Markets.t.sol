// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuthorizations} from "../src/interfaces/IAuthorizations.sol";
import {IBidBook} from "../src/interfaces/IBidBook.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IStakeVault} from "../src/interfaces/IStakeVault.sol";
import {Base} from "./Base.sol";

/// @dev AICoin, Registry, BidBook, StakeVault.
contract MarketsTest is Base {
    bytes32 private constant MODEL = keccak256("model");
    bytes32[] private none;

    // ------------------------------------------------------------------ AICoin

    function testFuzz_Token_AnyNonceOnce_InBothSpellings(bytes32 nonce, uint32 amount, bool spelled) external {
        token.transfer(consumer(1), amount);
        bytes memory s = authorization(consumerKey(1), false, stranger, amount, 0, type(uint256).max, nonce);
        _transfer(amount, nonce, s, spelled);
        eq(token.balanceOf(stranger), amount, "moved");
        vm.assertTrue(auth().authorizationState(consumer(1), nonce), "spent");
        refuses(IAuthorizations.AuthorizationSpent.selector);
        _transfer(amount, nonce, s, spelled);
    }

    function test_RevertWhen_AnAuthorizationIsEarlyLateOrNotTheSigners() external {
        uint256 t = block.timestamp;
        bytes memory s = authorization(consumerKey(1), false, stranger, 0, t, t + 1, "n");
        refuses(IAuthorizations.AuthorizationNotValidNow.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, t, t + 1, "n", s);
        s = authorization(consumerKey(1), false, stranger, 0, 0, t, "n");
        refuses(IAuthorizations.AuthorizationNotValidNow.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, t, "n", s);
        s = authorization(consumerKey(1), false, stranger, 0, 0, t + 1, "n");
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(consumer(2), stranger, 0, 0, t + 1, "n", s);
        bytes memory respelled = highS(s);
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, t + 1, "n", respelled);
        vm.chainId(5);
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, t + 1, "n", s);
    }

    function test_Token_ACancelledNonceIsSpent() external {
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes32 hash = keccak256(abi.encode(typehash, consumer(1), bytes32("n")));
        bytes memory s = signed(
            consumerKey(1), keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), hash))
        );
        auth().cancelAuthorization(consumer(1), "n", s);
        vm.assertEq(auth().authorizationOf(consumer(1), "n"), bytes32(uint256(1)), "cancelled");
        bytes memory late = authorization(consumerKey(1), false, stranger, 0, 0, type(uint256).max, "n");
        refuses(IAuthorizations.AuthorizationSpent.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, type(uint256).max, "n", late);
    }

    // ------------------------------------------------------------------ Registry

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

    // ------------------------------------------------------------------ BidBook

    function test_Bids_FirstAtOnceRaisesLater_NoSnipingAtTheEpochsEdge() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        eq(_from(), e + 1, "a first bid");
        vm.warp((uint256(e) + 1) * 1 hours - 1); // the last second of the epoch
        _bid(20);
        eq(_from(), e + 2, "a raise gives an epoch's notice");
    }

    function test_Bids_LowerEntersAnEpochEarlier_IfItShowsThePrevious() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        IBidBook.Bid memory previous = _made(10, e + 1);
        vm.warp((uint256(e) + 3) * 1 hours);
        vm.startPrank(stranger);
        refuses(IBidBook.RaisesAnAsk.selector);
        bidBook.lowerBid(MODEL, 3, 0, _asks(11), previous, 0);
        IBidBook.Bid memory forged = _made(30, e + 1);
        refuses(IBidBook.HistoryUnknown.selector);
        bidBook.lowerBid(MODEL, 3, 0, _asks(11), forged, 0);
        bidBook.lowerBid(MODEL, 3, 0, _asks(9), previous, 0);
        vm.stopPrank();
        eq(_from(), e + 4, "next epoch");
    }

    function test_Bids_APendingRaiseIsNotUndoneEarly() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        bytes24 first = _link(0, _made(10, e + 1));
        vm.warp((uint256(e) + 1) * 1 hours);
        _bid(20); // enters at e + 3
        IBidBook.Bid memory raise = _made(20, e + 3);
        vm.prank(stranger);
        bidBook.lowerBid(MODEL, 3, 0, _asks(10), raise, first);
        eq(_from(), e + 3, "with the raise it replaces");
    }

    function test_Bids_SilenceIsExit() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        IBidBook.Bid[] memory bids = new IBidBook.Bid[](1);
        bids[0] = _made(10, e + 1);
        (bool found,) = bidBook.inForce(MODEL, 3, stranger, e, 0, bids);
        vm.assertFalse(found, "not yet");
        (found,) = bidBook.inForce(MODEL, 3, stranger, e + 24, 0, bids);
        vm.assertTrue(found, "its last epoch");
        (found,) = bidBook.inForce(MODEL, 3, stranger, e + 25, 0, bids);
        vm.assertFalse(found, "expired");
        vm.warp((uint256(e) + 25) * 1 hours);
        _bid(90);
        eq(_from(), e + 26, "as a first bid");
    }

    function test_Bids_ThePastIsProvable_AndNothingElse() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        vm.warp((uint256(e) + 3) * 1 hours);
        _bid(20);
        IBidBook.Bid[] memory bids = new IBidBook.Bid[](2);
        (bids[0], bids[1]) = (_made(10, e + 1), _made(20, e + 5));
        (bool found, IBidBook.Bid memory then) = bidBook.inForce(MODEL, 3, stranger, e + 4, 0, bids);
        vm.assertTrue(found && then.asks[0] == 10, "the older");
        (found, then) = bidBook.inForce(MODEL, 3, stranger, e + 5, 0, bids);
        vm.assertTrue(found && then.asks[0] == 20, "the newer");
        bytes24 first = _link(0, bids[0]);
        IBidBook.Bid[] memory tail = new IBidBook.Bid[](1);
        tail[0] = bids[1];
        (found, then) = bidBook.inForce(MODEL, 3, stranger, e + 6, first, tail);
        vm.assertTrue(found && then.asks[0] == 20, "from the tail alone");
        refuses(IBidBook.HistoryUnknown.selector);
        bidBook.inForce(MODEL, 3, stranger, e + 4, first, tail); // would hide the older one
        bids[0].asks[0] = 11;
        refuses(IBidBook.HistoryUnknown.selector);
        bidBook.inForce(MODEL, 3, stranger, e + 4, 0, bids);
    }

    function test_RevertWhen_ABidIsOutOfRange() external {
        refuses(IBidBook.RoleUnknown.selector);
        bidBook.placeBid(MODEL, 0, 0, _asks(1));
        refuses(IBidBook.RoleUnknown.selector);
        bidBook.placeBid(MODEL, 9, 0, _asks(1));
        refuses(IBidBook.RatioTooLarge.selector);
        bidBook.placeBid(MODEL, 1, 900_001, _asks(1));
        refuses(IBidBook.AskTooLarge.selector);
        bidBook.placeBid(MODEL, 1, 0, _asks(1 << 63));
    }

    // ------------------------------------------------------------------ StakeVault

    function test_Vault_StakeUnbondRelease() external {
        _stake(1_000);
        vm.startPrank(stranger);
        refuses(IStakeVault.StakeTooSmall.selector);
        vault.unbond(1_001);
        refuses(IStakeVault.ZeroAmount.selector);
        vault.unbond(0);
        vault.unbond(400);
        refuses(IStakeVault.TooEarly.selector);
        vault.release(stranger);
        vm.warp(block.timestamp + 7 days);
        vault.release(stranger);
        refuses(IStakeVault.NothingToRelease.selector);
        vault.release(stranger);
        vm.stopPrank();
        eq(token.balanceOf(stranger), 400, "out");
        eq(vault.stakes(stranger).staked, 600, "stays");
    }

    function test_Vault_OnlySettlementSlashes_AlsoWhatIsLeaving() external {
        _stake(1_000);
        vm.prank(stranger);
        vault.unbond(400);
        refuses(IStakeVault.NotSettlement.selector);
        vault.slash(stranger, challenger);
        vm.prank(address(settlement));
        eq(vault.slash(stranger, challenger), 1_000, "all");
        eq(token.balanceOf(challenger), 500, "half");
        eq(vault.insurance(), 500, "half");
        vm.warp(block.timestamp + 8 days);
        refuses(IStakeVault.NothingToRelease.selector);
        vault.release(stranger);
    }

    // ------------------------------------------------------------------ helpers

    function _transfer(uint64 amount, bytes32 nonce, bytes memory signature, bool spelled) private {
        if (!spelled) {
            auth().transferWithAuthorization(consumer(1), stranger, amount, 0, type(uint256).max, nonce, signature);
            return;
        }
        (bytes32 r, bytes32 s, uint8 v) = cut(signature);
        auth().transferWithAuthorization(consumer(1), stranger, amount, 0, type(uint256).max, nonce, v, r, s);
    }

    function _commit(address who, bytes32 id, bytes32 salt) private {
        registry.commitModel(keccak256(abi.encode(id, who, salt)));
    }

    function _asks(uint64 ask) private pure returns (uint64[6] memory asks) {
        asks[0] = ask;
    }

    function _made(uint64 ask, uint32 from) private pure returns (IBidBook.Bid memory) {
        return IBidBook.Bid(0, _asks(ask), from);
    }

    function _link(bytes24 before, IBidBook.Bid memory bid) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(before, bid)));
    }

    function _bid(uint64 ask) private {
        vm.prank(stranger);
        bidBook.placeBid(MODEL, 3, 0, _asks(ask));
    }

    function _from() private view returns (uint32 from) {
        (, from) = bidBook.history(MODEL, 3, stranger);
    }

    function _stake(uint64 amount) private {
        token.transfer(stranger, amount);
        vm.startPrank(stranger);
        token.approve(address(vault), amount);
        vault.stake(amount);
        vm.stopPrank();
    }
}
