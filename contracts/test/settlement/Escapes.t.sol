// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev Leaving a lane whose operator vanished.
contract EscapesTest is Base {
    using Trees for Sparse;

    function test_Escape_FromAnOperatorThatVanished() external {
        spendAndSettle(100);
        bytes32[] memory proof = debits().prove(1);
        refuses(ISettlement.NotRequested.selector);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        asksToLeave(1);
        vm.warp(block.timestamp + 7 days - 1);
        refuses(ISettlement.TooEarly.selector);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        vm.warp(block.timestamp + 1);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 100, "escaped");
        eq(settlement.lanes(lane).era, 2, "a new era");
        eq(settlement.accounts(lane, consumer(1)).leftAt, block.timestamp, "left");
        refuses(ISettlement.NotRequested.selector);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
    }

    function test_Escape_CountsFromTheLaterOfRequestAndLastBatch() external {
        asksToLeave(1);
        vm.warp(block.timestamp + NOTICE); // this batch is not after the notice
        settle();
        bytes32[] memory proof = debits().prove(1);
        vm.warp(last.closedAt + 7 days - 1);
        refuses(ISettlement.TooEarly.selector);
        settlement.escapeWithdraw(lane, consumer(1), 0, proof);
        asksToLeave(2);
        vm.warp(last.closedAt + 7 days);
        settlement.escapeWithdraw(lane, consumer(1), 0, proof);
        proof = debits().prove(2);
        refuses(ISettlement.TooEarly.selector);
        settlement.escapeWithdraw(lane, consumer(2), 0, proof);
    }

    function test_RevertWhen_AnEscapeComesWithABatchPendingOrInsteadOfAWithdrawal() external {
        asksToLeave(1);
        vm.warp(block.timestamp + 7 days);
        uint64 id = post();
        bytes32[] memory proof = debits().prove(1);
        refuses(ISettlement.BatchesPending.selector);
        settlement.escapeWithdraw(lane, consumer(1), 0, proof);
        vm.warp(settlement.batches(lane, id).until + 7 days);
        settlement.finalize(lane, id, last);
        refuses(ISettlement.WithdrawInstead.selector);
        settlement.escapeWithdraw(lane, consumer(1), 0, proof);
        takeRest(1);
    }

    /// @dev An escape racing a commit: what was closed before it cannot be posted after it.
    function test_Escape_WhatWasClosedBeforeCannotBePosted() external {
        asksToLeave(1);
        vm.warp(block.timestamp + 7 days);
        spend(1, 1, 50);
        Header memory h = nextHeader();
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
        refusesBatch(h, ISettlement.EraWrong.selector);
        h.era = 2;
        post(h); // without consumer 1's debit, an honest operator would
    }

    /// @dev F3: no exception lets the lane pay twice. The others' deposits bound what is posted; the account's own proof is
    /// Referee's.
    function test_Escape_NoBatchPassesWhatIsLeft() external {
        for (uint256 i = 1; i <= CONSUMERS; ++i) asksToLeave(i);
        vm.warp(block.timestamp + 7 days);
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            settlement.escapeWithdraw(lane, consumer(i), 0, new bytes32[](0));
        }
        eq(settlement.books(lane).net, 0, "all gone");
        spend(1, 1, 400); // it had been served before
        Header memory h = nextHeader();
        refusesBatch(h, ISettlement.AboveNet.selector);
        depositFor(consumer(1), 400); // an operator that returns tops the account up
        settle();
        eq(settlement.claim(lane, 1, payee(1), 400, payouts().prove(1)), 400, "the payee is paid");
    }

    function test_Escape_EndsWhatX402PaidFor() external {
        uint256 until = block.timestamp + 300;
        token.transfer(consumer(5), 500);
        bytes memory signature = authorization(consumerKey(5), false, lane, 500, 0, until, 0);
        consumers.depositFromInbox(lane, consumer(5), 500, 0, until, 0, signature);
        asksToLeave(5);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(5), 0, new bytes32[](0));
        ISettlement.Account memory a = settlement.accounts(lane, consumer(5));
        eq(a.paidIn, 0, "money taken home is no mandate");
        eq(a.deposited - a.withdrawn, 0, "nor may it be debited");
    }

    function test_Escape_AfterAFall() external {
        asksToLeave(1);
        vm.warp(block.timestamp + 7 days);
        spendAndPost(DEPOSIT);
        convict(1);
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
        eq(token.balanceOf(consumer(1)), DEPOSIT, "what is void was never debited");
        eq(settlement.lanes(lane).era, 3, "an era each");
    }
}
