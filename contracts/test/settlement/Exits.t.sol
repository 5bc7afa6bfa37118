// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";

/// @dev Consumers leave, with the operator or without it.
contract ExitsTest is Base {
    function test_C5_AWithdrawalNeedsAFinalBatchPostedAfterTheRequestAndItsNotice() external {
        spend(1, 1, 100);
        post();
        ISettlement.Header memory before = last;
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 100, new bytes32[](2));
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE);
        spend(1, 1, 30); // served before the operator saw the request
        post();
        ISettlement.Header memory within = last;
        vm.warp(block.timestamp + 1);
        spend(1, 1, 7);
        post();
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, before);
        settlement.finalize(lane, 2, within);
        refuses(ISettlement.NoFinalBatchSince.selector);
        settlement.withdraw(lane, consumer(1), 130, new bytes32[](2));
        settlement.finalize(lane, 3, last);
        bytes32[] memory proof = Trees.prove(debitLeaves(), 1);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 130, proof); // an older debit
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 0, proof); // none
        settlement.withdraw(lane, consumer(1), 137, proof);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 137, "the rest");
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 137, proof);
    }

    function test_Withdraw_OfAnAccountBeyondTheTreesWidth() external {
        for (uint256 i = 4; i <= 9; ++i) depositFor(consumer(i), 50);
        spend(1, 1, 100);
        vm.prank(consumer(9));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        settle();
        bytes32[] memory ofZero = Trees.prove(debitLeaves(), 0);
        bytes32[] memory ofOne = Trees.prove(debitLeaves(), 1);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(9), 0, ofOne);
        settlement.withdraw(lane, consumer(9), 0, ofZero);
        eq(token.balanceOf(consumer(9)), 50, "all of it");
    }

    function test_RequestWithdrawFor_IsRelayedOnceAndInTime() external {
        bytes32 typehash = keccak256("RequestWithdraw(address lane,address account,uint256 nonce,uint256 deadline)");
        uint256 deadline = block.timestamp + 1;
        bytes32 digest = tollwayDigest(keccak256(abi.encode(typehash, lane, consumer(1), 0, deadline)));
        bytes memory signature = signed(consumerKey(1), digest);
        bytes memory forged = signed(consumerKey(2), digest);
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, forged);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, signature);
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, signature);
        vm.warp(deadline + 1);
        refuses(ISettlement.SignatureExpired.selector);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, signature);
        vm.prank(stranger);
        refuses(ISettlement.NotRequested.selector);
        settlement.requestWithdraw(lane);
    }

    function test_Escape_FromAnOperatorThatVanished() external {
        spend(1, 1, 100);
        settle();
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        bytes32[] memory proof = Trees.prove(debitLeaves(), 1);
        refuses(ISettlement.TooEarly.selector);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        refuses(ISettlement.NotRequested.selector);
        settlement.escapeWithdraw(lane, consumer(2), 0, proof);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 100, "escaped");
    }

    function test_RevertWhen_AnEscapeComesWithABatchPending() external {
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + 7 days);
        post();
        refuses(ISettlement.BatchesPending.selector);
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
    }

    function test_Escape_TheBondPaysWhatTheAccountHadSpent_WhenTheOperatorReturns() external {
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            vm.prank(consumer(i));
            settlement.requestWithdraw(lane);
        }
        vm.warp(block.timestamp + 7 days);
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            settlement.escapeWithdraw(lane, consumer(i), 0, new bytes32[](0));
        }
        eq(settlement.lanes(lane).net, 0, "all gone");
        spend(1, 1, 400); // it had been served before the operator vanished
        settle();
        eq(settlement.lanes(lane).bond, BOND - 400, "the bond paid");
        eq(settlement.claim(lane, 1, payee(1), 400, Trees.prove(payoutLeaves(), 1)), 400, "the payee is paid");
    }

    function test_LaneMigration_AConsumerTakesItsRestToAnotherLane() external {
        spend(1, 1, 100);
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        settle();
        settlement.withdraw(lane, consumer(1), 100, Trees.prove(debitLeaves(), 1));
        uint32 next = openLane(operator);
        vm.startPrank(consumer(1));
        token.approve(address(settlement), DEPOSIT - 100);
        settlement.deposit(next, consumer(1), DEPOSIT - 100);
        vm.stopPrank();
        eq(settlement.accounts(next, consumer(1)).index, 1, "first there");
        eq(settlement.lanes(next).net, DEPOSIT - 100, "moved");
    }
}
