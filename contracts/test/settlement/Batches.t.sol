// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";

/// @dev Batches are committed and become final.
contract BatchesTest is Base {
    function test_C1_RevertWhen_TotalsDiffer() external {
        spend(1, 1, 100);
        ISettlement.Header memory h = nextHeader();
        h.receiptsRoot = bytes32(uint256(99));
        _refusesCommit(h, ISettlement.TotalsDiffer.selector);
        h = nextHeader();
        h.debitRoot = bytes32(uint256(99));
        _refusesCommit(h, ISettlement.TotalsDiffer.selector);
        h = nextHeader();
        h.linesRoot = bytes32(uint256(199));
        _refusesCommit(h, ISettlement.LinesDiffer.selector);
    }

    function test_RevertWhen_ABatchDoesNotFollowTheOneBefore() external {
        post();
        ISettlement.Header memory h = nextHeader();
        h.prev = bytes32(uint256(1));
        _refusesCommit(h, ISettlement.PreviousHeaderWrong.selector);
        h = nextHeader();
        h.firstCall = 0;
        _refusesCommit(h, ISettlement.FirstCallWrong.selector);
    }

    function test_C2_RevertWhen_TheTotalIsAboveWhatTheLaneHolds() external {
        uint32 other = lane;
        lane = openLane(stranger); // another lane's money must not help
        depositFor(consumer(1), 1_000);
        uint64 held = uint64(1_000 + BOND);
        debited[1] = held + 1;
        earned[1] = held + 1;
        ISettlement.Header memory h = nextHeader();
        vm.prank(stranger);
        refuses(ISettlement.Insolvent.selector);
        settlement.commit(lane, h, NONE, noHeader());
        eq(settlement.lanes(other).net, CONSUMERS * DEPOSIT, "untouched");
    }

    function test_RevertWhen_TooManyBatchesPend() external {
        for (uint256 i; i < 128; ++i) post();
        _refusesCommit(nextHeader(), ISettlement.TooManyPending.selector);
    }

    function test_Commit_FinalizesAnOlderBatchWhenItIsRipe_AndPassesOverWhenNot() external {
        spend(1, 1, 100);
        uint64 first = post();
        ISettlement.Header memory older = last;
        spend(1, 2, 50);
        ISettlement.Header memory newer = nextHeader();
        vm.prank(operator);
        settlement.commit(lane, newer, first, older); // not ripe
        eq(settlement.head(lane).finalized, 0, "passed over");
        last = newer;
        vm.warp(block.timestamp + WINDOW);
        newer = nextHeader();
        vm.prank(operator);
        settlement.commit(lane, newer, first, older);
        eq(settlement.head(lane).finalized, 1, "final");
        eq(settlement.head(lane).next, 4, "posted");
    }

    function test_CommitWithData_ChecksTheDigest() external {
        ISettlement.Header memory h = nextHeader();
        h.dataRef = sha256("file");
        vm.startPrank(operator);
        refuses(ISettlement.DataMismatch.selector);
        settlement.commitWithData(lane, h, NONE, noHeader(), "another");
        settlement.commitWithData(lane, h, NONE, noHeader(), "file");
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ finality

    function test_C4_RevertWhen_AFinalizationComesEarlyOrOutOfOrderOrWithAnotherHeader() external {
        uint64 first = post();
        ISettlement.Header memory h = last;
        uint64 second = post();
        refuses(ISettlement.WindowOpen.selector);
        settlement.finalize(lane, first, h);
        vm.warp(block.timestamp + WINDOW);
        ISettlement.Header memory newer = last;
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, second, newer);
        refuses(ISettlement.HeaderUnknown.selector);
        settlement.finalize(lane, first, newer);
        settlement.finalize(lane, first, h);
        settlement.finalize(lane, second, newer);
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, second, newer);
    }


    // ------------------------------------------------------------------ helpers

    function _refusesCommit(ISettlement.Header memory h, bytes4 selector) private {
        vm.prank(operator);
        refuses(selector);
        settlement.commit(lane, h, NONE, noHeader());
    }
}
