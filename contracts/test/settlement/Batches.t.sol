// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";

/// @dev Batches: what a commit compares, and that every bit of a header is compared somewhere.
contract BatchesTest is Base {
    function test_Commit_EmitsItsHeader() external {
        Header memory h = nextHeader();
        vm.expectEmit(address(settlement));
        emit ISettlement.Committed(lane, 1, h, uint40(block.timestamp + WINDOW));
        post(h);
        ISettlement.Head memory head = settlement.heads(lane);
        eq(head.next, 2, "next");
        eq(head.lastClosedAt, h.closedAt, "closed");
        vm.assertEq(bytes32(settlement.batches(lane, 1).hash), bytes32(idOf(h)), "by its hash");
    }

    function testFuzz_RevertWhen_AStrangerCommits(address who) external {
        vm.assume(who != operator && who != address(0)); // no transaction comes from nobody
        Header memory h = nextHeader();
        vm.prank(who);
        refuses(ISettlement.NotOperator.selector);
        settlement.commit(lane, h, 0, noHeader());
        vm.prank(who);
        refuses(ISettlement.NotOperator.selector);
        settlement.commit(address(99), h, 0, noHeader());
    }

    // ------------------------------------------------------------------ each bit

    /// @dev F2: a bit that commit ignores would make a header nobody can name. What commit takes, the id distinguishes.
    function testFuzz_EveryBitOfAHeaderIsCompared(uint256 bit) external {
        spendAndPost(100);
        spend(2, 2, 50);
        Header memory h = nextHeader();
        Header memory other = abi.decode(_flipped(abi.encode(h), bit), (Header));
        uint64 id = settlement.heads(lane).next;
        vm.prank(operator);
        try settlement.commit(lane, other, 0, noHeader()) {
            vm.assertTrue(settlement.batches(lane, id).hash != idOf(h), "another header has another name");
            vm.warp(block.timestamp + 30 days);
            settlement.finalize(lane, 1, last);
            refuses(ISettlement.HeaderUnknown.selector);
            settlement.finalize(lane, id, h);
            settlement.finalize(lane, id, other);
        } catch (bytes memory why) {
            bytes4 w = bytes4(why);
            bool known = w == ISettlement.PreviousHeaderWrong.selector || w == ISettlement.EraWrong.selector
                || w == ISettlement.ClosedAtOutOfRange.selector || w == ISettlement.HeaderMisshapen.selector
                || w == ISettlement.TotalsDiffer.selector || w == ISettlement.LinesDiffer.selector;
            vm.assertTrue(known, "refused, and says why");
        }
    }

    function test_EveryBitOfPrevIsCompared() external {
        for (uint256 batch; batch < 2; ++batch) {
            Header memory h = nextHeader();
            for (uint256 bit; bit < 192; ++bit) {
                Header memory other = abi.decode(abi.encode(h), (Header));
                other.prev = bytes24(uint192(other.prev) ^ uint192(1 << bit));
                refusesBatch(other, ISettlement.PreviousHeaderWrong.selector);
            }
            post(h);
        }
    }

    // ------------------------------------------------------------------ each check

    function testFuzz_RevertWhen_TheEraIsAnother(uint32 era) external {
        vm.assume(era != 1);
        Header memory h = nextHeader();
        h.era = era;
        refusesBatch(h, ISettlement.EraWrong.selector);
    }

    function testFuzz_RevertWhen_ClosedAtIsOutOfRange(uint256 ago) external {
        vm.warp(block.timestamp + 3 days);
        ago %= 3 days;
        Header memory h = nextHeader();
        h.closedAt = uint40(block.timestamp - ago);
        if (ago > DAY) refusesBatch(h, ISettlement.ClosedAtOutOfRange.selector);
        else post(h);
        if (ago > DAY) return;
        uint40 closed = h.closedAt;
        h = nextHeader();
        h.closedAt = closed - 1;
        refusesBatch(h, ISettlement.ClosedAtOutOfRange.selector); // it never falls
        h.closedAt = closed;
        post(h);
    }

    function test_RevertWhen_ABatchIsClosedInTheFuture() external {
        Header memory h = nextHeader();
        h.closedAt = uint40(block.timestamp + 1);
        refusesBatch(h, ISettlement.ClosedAtOutOfRange.selector);
    }

    function testFuzz_C1_RevertWhen_TotalsDiffer(uint64 paidOut, uint64 debited_, uint64 charged, uint64 lines) external {
        spendAndPost(100);
        (paidOut, debited_) = (uint64(paidOut % 5) + 98, uint64(debited_ % 5) + 98);
        (charged, lines) = (uint64(charged % 5), uint64(lines % 5));
        Header memory h = nextHeader();
        h.payoutRoot = Trees.mark(h.payoutRoot, paidOut);
        h.debitRoot = Trees.mark(h.debitRoot, debited_);
        (h.receiptsRoot, h.linesRoot) = (bytes32(uint256(charged)), bytes32(uint256(lines)));
        if (paidOut != 100 + charged || debited_ != 100 + charged) refusesBatch(h, ISettlement.TotalsDiffer.selector);
        else if (lines != charged) refusesBatch(h, ISettlement.LinesDiffer.selector);
        else post(h);
    }

    function test_C1_RevertWhen_TheTotalPassesSixtyFourBits() external {
        spendAndPost(100);
        Header memory h = nextHeader();
        (h.receiptsRoot, h.linesRoot) = (bytes32(uint256(type(uint64).max)), bytes32(uint256(type(uint64).max)));
        h.payoutRoot = Trees.mark(h.payoutRoot, 99); // 100 - 1, if the sum went around
        h.debitRoot = Trees.mark(h.debitRoot, 99);
        refusesBatch(h, ISettlement.TotalsDiffer.selector);
    }

    function testFuzz_C2_RevertWhen_TheTotalIsAboveWhatTheLaneHolds(uint64 above) external {
        above %= 2;
        ISettlement.Terms memory terms = someTerms();
        lane = openLane(operator, "net", terms, BOND);
        depositFor(consumer(1), 500);
        spend(1, 1, 500 + above);
        if (above != 0) refusesBatch(nextHeader(), ISettlement.AboveNet.selector);
        else post();
    }

    function testFuzz_C9_RevertWhen_AtStakeIsAboveTheBond(uint8 leverage, uint64 above) external {
        leverage = 1 + leverage % MAX_LEVERAGE;
        above %= 2;
        ISettlement.Terms memory terms = someTerms();
        terms.leverage = leverage;
        lane = openLane(operator, "stake", terms, MIN_BOND);
        depositFor(consumer(1), 100 * MIN_BOND);
        uint64 limit = MIN_BOND * leverage;
        spend(1, 1, limit - 10);
        settle(); // what is final is not at stake
        spend(1, 1, limit - 10);
        post();
        spend(1, 1, 10 + above); // what pends adds up
        if (above != 0) refusesBatch(nextHeader(), ISettlement.AboveBond.selector);
        else post();
    }

    // ------------------------------------------------------------------ shapes

    /// @dev F28: a tree of forty levels, or of fourteen thousand, is no batch.
    function test_RevertWhen_ATreeIsTallerThanALaneMayNeed() external {
        uint256[6] memory most = [uint256(24), 31, 31, 16, 31, 20];
        for (uint256 i; i < 6; ++i) {
            Header memory h = nextHeader();
            h.heights = uint48(most[i] << (8 * i));
            post(h);
            h = nextHeader();
            h.heights = uint48((most[i] + 1) << (8 * i));
            refusesBatch(h, ISettlement.HeaderMisshapen.selector);
        }
    }

    function testFuzz_RevertWhen_CallsDoNotFitTheirTrees(uint32 calls, uint8 receipts, uint8 runs) external {
        receipts %= 25;
        runs %= 21;
        calls = uint32(calls % ((1 << 24) + 2));
        Header memory h = nextHeader();
        h.heights = heightsOf(receipts, 0, 0, 0, 0, runs);
        h.gatewaysRoot = bytes32(uint256(calls));
        bool fits = calls <= 1 << 24 && calls <= uint256(1) << receipts && calls <= uint256(16) << runs;
        if (fits) post(h);
        else refusesBatch(h, ISettlement.HeaderMisshapen.selector);
    }

    function test_RevertWhen_CallsAreMoreThanABatchHolds() external {
        Header memory h = nextHeader();
        h.heights = heightsOf(24, 0, 0, 0, 0, 20);
        h.gatewaysRoot = bytes32(uint256(1 << 24));
        post(h);
        h = nextHeader();
        h.heights = heightsOf(24, 0, 0, 0, 0, 20);
        h.gatewaysRoot = bytes32(uint256((1 << 24) + 1));
        refusesBatch(h, ISettlement.HeaderMisshapen.selector);
    }

    /// @dev F28: a taller tree waits longer, so that its questions always fit.
    function testFuzz_C11_TheWindowCoversTheTallestPath(uint8 parties, uint8 runs, uint24 answerTime) external {
        parties %= 32;
        runs %= 21;
        answerTime = uint24(ANSWER + answerTime % (3 days - ANSWER + 1));
        ISettlement.Terms memory terms = someTerms();
        terms.answerTime = answerTime;
        lane = openLane(operator, "tall", terms, BOND);
        depositFor(consumer(1), 1_000);
        Header memory h = nextHeader();
        h.heights = heightsOf(0, 0, 0, 0, parties, runs);
        uint64 id = post(h);
        uint256 asked = ((uint256(parties) + runs + 7) / 8 + 3) * answerTime;
        uint256 until = settlement.batches(lane, id).until;
        eq(until, block.timestamp + (asked > WINDOW ? asked : WINDOW), "until");
        vm.assertLe(until, block.timestamp + 30 days, "bounded, whatever the terms and the shape");
    }

    function test_C11_EachTreesHeightCounts() external {
        ISettlement.Terms memory terms = someTerms();
        terms.answerTime = 12 hours;
        lane = openLane(operator, "each", terms, BOND);
        uint8[5] memory most = [24, 31, 31, 16, 31];
        for (uint256 i; i < 5; ++i) {
            Header memory h = nextHeader();
            h.heights = uint48(uint256(most[i]) << (8 * i));
            uint64 id = post(h);
            uint256 rounds = (uint256(most[i]) + 7) / 8;
            eq(settlement.batches(lane, id).until, block.timestamp + (rounds + 3) * 12 hours, "until");
        }
    }

    // ------------------------------------------------------------------ many

    function test_RevertWhen_TooManyBatchesPend() external {
        for (uint256 i; i < 128; ++i) post();
        refusesBatch(nextHeader(), ISettlement.TooManyPending.selector);
        vm.warp(block.timestamp + WINDOW);
        Header memory first = noHeader();
        (first.era, first.closedAt) = (1, uint40(block.timestamp - WINDOW));
        Header memory h = nextHeader();
        first.heights = h.heights;
        (first.payoutRoot, first.debitRoot, first.gatewaysRoot) = (h.payoutRoot, h.debitRoot, h.gatewaysRoot);
        post(h, 1, first); // the oldest made room in the same transaction
        eq(settlement.heads(lane).finalized, 1, "final");
        eq(settlement.heads(lane).next, 130, "posted");
    }

    /// @dev The ring is 256 long: a lane lives longer.
    function test_ALaneOutlivesItsRing() external {
        for (uint256 i; i < 300; ++i) {
            Header memory before = last;
            uint64 id = settlement.heads(lane).next;
            if (id > 1) vm.warp(settlement.batches(lane, id - 1).until);
            post(nextHeader(), id - 1, before);
        }
        eq(settlement.heads(lane).finalized, 299, "all but the last are final");
    }

    function test_Commit_FinalizesAnOlderBatchWhenRipeAndPassesOverWhenNot() external {
        spendAndPost(100);
        Header memory one = last;
        spend(1, 1, 10);
        Header memory two = nextHeader();
        post(two, 1, one); // not ripe
        eq(settlement.heads(lane).finalized, 0, "not yet");
        vm.warp(block.timestamp + WINDOW);
        spend(1, 1, 1);
        Header memory forged = one;
        forged.dataRef = "forged";
        uint64[3] memory ids = [2, 3, type(uint64).max];
        for (uint256 i; i < 3; ++i) {
            post(nextHeader(), ids[i], two);
            eq(settlement.heads(lane).finalized, 0, "out of order");
        }
        post(nextHeader(), 1, forged);
        eq(settlement.heads(lane).finalized, 0, "another header");
        one.dataRef = 0;
        post(nextHeader(), 1, one);
        eq(settlement.heads(lane).finalized, 1, "ripe");
        eq(settlement.books(lane).settled, 100, "settled");
        post(nextHeader(), 1, one); // final already: passed over
    }

    // ------------------------------------------------------------------ inside

    /// @dev A header's encoding with one of its meaningful bits flipped.
    function _flipped(bytes memory encoded, uint256 bit) private pure returns (bytes memory) {
        // prev 192, era 32, closedAt 40, heights 48, six words: where each field's bits begin in its word, from the left
        uint16[10] memory bits = [192, 32, 40, 48, 256, 256, 256, 256, 256, 256];
        bit %= 192 + 32 + 40 + 48 + 6 * 256;
        uint256 field;
        while (bit >= bits[field]) bit -= bits[field++];
        uint256 place = field == 0 ? bit : 256 - bits[field] + bit; // prev is aligned to the left
        encoded[32 * field + place / 8] ^= bytes1(uint8(0x80 >> (place % 8)));
        return encoded;
    }
}
