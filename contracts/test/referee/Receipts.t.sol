// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {Receipt} from "../../src/Receipt.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {Batch, Court} from "../Court.sol";

/// @dev Times, calls charged twice, workflows that do not add up.
contract RefereeReceiptsTest is Court {
    // ------------------------------------------------------------------ proveReceiptTime

    function test_ReceiptTime_AnEpochThatIsNeitherItsOwnNorTheOneBefore() external {
        Receipt[] memory rs = receiptsFrom(1, 4);
        (rs[1].epoch, rs[2].epoch, rs[3].epoch) = (rs[0].epoch - 1, rs[0].epoch - 2, rs[0].epoch + 1);
        Batch memory b = aBatch(rs);
        Header memory h = postBatch(b);
        acquits(_time(h, opening(b, 0)), "its own");
        acquits(_time(h, opening(b, 1)), "the one before");
        convicts(_time(h, opening(b, 2)), "an older one");
        convicts(_time(h, opening(b, 3)), "one to come");
        b.receipts[0].epoch = type(uint64).max;
        malformed(_time(h, opening(b, 0)), "not there");
    }

    function test_ReceiptTime_AnEndAfterTheBatchWasClosed_OrLongBefore() external {
        Receipt[] memory rs = receiptsFrom(1, 4);
        rs[1].endedAt += 999;
        rs[2].endedAt += 1000;
        _endedAgo(rs[3], 30 days);
        Batch memory b = aBatch(rs);
        Header memory h = postBatch(b);
        acquits(_time(h, opening(b, 0)), "in time");
        acquits(_time(h, opening(b, 1)), "within the second");
        convicts(_time(h, opening(b, 2)), "a second later");
        acquits(_time(h, opening(b, 3)), "30 days old");
        vm.warp(block.timestamp + 1);
        rs = receiptsFrom(5, 1);
        _endedAgo(rs[0], 30 days + 1);
        b = aBatch(rs);
        h = postBatch(b);
        convicts(_time(h, opening(b, 0)), "older than that");
    }

    function test_ReceiptTime_OfTheLargestNumbers() external {
        Receipt[] memory rs = receiptsFrom(1, 1);
        (rs[0].endedAt, rs[0].epoch) = (type(uint64).max, type(uint64).max);
        Batch memory b = aBatch(rs);
        convicts(_time(postBatch(b), opening(b, 0)), "no overflow hides it");
    }

    // ------------------------------------------------------------------ proveDoubleCall

    function test_DoubleCall_TwoPlacesOfOneBatch() external {
        Receipt[] memory rs = receiptsFrom(1, 3);
        rs[2].callId = rs[0].callId;
        Batch memory b = aBatch(rs);
        Header memory h = postBatch(b);
        convicts(_double(h, opening(b, 0), opening(b, 2)), "one call");
        acquits(_double(h, opening(b, 0), opening(b, 0)), "the same receipt");
        acquits(_double(h, opening(b, 0), opening(b, 1)), "two calls");
        b.receipts[1].callId = rs[0].callId;
        malformed(_double(h, opening(b, 0), opening(b, 1)), "not there");
    }

    // ------------------------------------------------------------------ proveBadSubcalls

    function test_Subcalls_AWorkflowOfAWorkflow_AddsUp() external {
        Batch memory b = aBatch(_workflow());
        Header memory h = postBatch(b);
        acquits(_subcalls(h, openings(b, 0, 5)), "two direct ones, one of them with two");
        acquits(_subcalls(h, openings(b, 1, 3)), "the inner one");
        acquits(_subcalls(h, openings(b, 0, 1)), "a plain call");
        malformed(_subcalls(h, openings(b, 1, 4)), "too few of them");
        malformed(_subcalls(h, openings(b, 0, 4)), "too many of them");
        IJudge.Openings memory forged = openings(b, 0, 5);
        forged.records[1] = forged.records[0];
        malformed(_subcalls(h, forged), "not there");
    }

    function test_Subcalls_ASumThatIsNotTheirs() external {
        Receipt[] memory rs = _workflow();
        rs[4].subcallTotal += 1;
        Batch memory b = aBatch(rs);
        convicts(_subcalls(postBatch(b), openings(b, 0, 5)), "an atom more");
        rs = _workflow();
        rs[0].subcallTotal = 1;
        b = aBatch(rs);
        convicts(_subcalls(postBatch(b), openings(b, 0, 1)), "a plain call passes nothing on");
    }

    function test_Subcalls_SomebodyElsesChildren() external {
        Receipt[] memory rs = _workflow();
        rs[0].parent = keccak256("another");
        Batch memory b = aBatch(rs);
        convicts(_subcalls(postBatch(b), openings(b, 0, 5)), "another's child");
        rs = _workflow();
        rs[0].gateway = stranger;
        b = aBatch(rs);
        convicts(_subcalls(postBatch(b), openings(b, 0, 5)), "of another gateway");
        rs = _workflow();
        rs[3].subcalls = 4;
        b = aBatch(rs);
        convicts(_subcalls(postBatch(b), openings(b, 0, 5)), "the inner one reaches out of the outer one");
    }

    function test_Subcalls_MoreThanThereArePlaces() external {
        Receipt[] memory rs = receiptsFrom(1, 2);
        rs[1].subcalls = 2;
        Batch memory b = aBatch(rs);
        Header memory h = postBatch(b);
        convicts(_subcalls(h, openings(b, 1, 1)), "two, and one place");
        acquits(_subcalls(h, openings(b, 0, 1)), "none");
    }

    function test_Subcalls_ABarredOneConvictsNobody_UnlessTheRestCostsTooMuch() external {
        Batch memory b = aBatch(_workflow());
        bar(b, 0);
        Header memory h = postBatch(b);
        acquits(_subcalls(h, openings(b, 0, 5)), "the rest costs less");
        malformed(_subcalls(h, openings(b, 0, 1)), "a barred receipt");
        Receipt[] memory rs = _workflow();
        rs[4].subcallTotal = 29;
        b = aBatch(rs);
        bar(b, 0);
        convicts(_subcalls(postBatch(b), openings(b, 0, 5)), "the rest costs more");
    }

    // ------------------------------------------------------------------ inside

    /// @dev In the log's order: a plain sub-call (10), the inner workflow's two (10, 10) and itself (30), the whole (45).
    function _workflow() private view returns (Receipt[] memory rs) {
        rs = receiptsFrom(1, 5);
        (rs[0].parent, rs[3].parent) = (rs[4].callId, rs[4].callId);
        (rs[1].parent, rs[2].parent) = (rs[3].callId, rs[3].callId);
        (rs[3].subcalls, rs[3].subcallTotal, rs[3].price) = (2, 20, 30);
        (rs[4].subcalls, rs[4].subcallTotal, rs[4].price) = (4, 40, 45);
    }

    function _endedAgo(Receipt memory r, uint256 ago) private view {
        uint256 time = block.timestamp - ago;
        (r.endedAt, r.epoch) = (uint64(time * 1000), uint64(time / EPOCH));
    }

    function _time(Header memory h, IJudge.Opening memory o) private view returns (bytes memory) {
        return abi.encodeCall(IReferee.proveReceiptTime, (lane, idOfLast(), h, o));
    }

    function _double(Header memory h, IJudge.Opening memory a, IJudge.Opening memory b)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(IReferee.proveDoubleCall, (lane, idOfLast(), h, a, b));
    }

    function _subcalls(Header memory h, IJudge.Openings memory segment) private view returns (bytes memory) {
        return abi.encodeCall(IReferee.proveBadSubcalls, (lane, idOfLast(), h, segment));
    }
}
