// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {Receipt, Receipts} from "../../src/Receipt.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Batch, Court} from "../Court.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Wallet} from "../World.sol";

/// @dev Gateways' rows and receipts: gaps, omissions, wrong places, two for one.
contract RefereeLogsTest is Court {
    using Trees for Sparse;

    uint256 private constant LIFE = 30 days;
    uint256 private constant OTHER = 3002;

    // ------------------------------------------------------------------ proveBrokenLog

    function test_BrokenLog_AFirstRowThatDoesNotBeginAt1() external {
        Batch memory b = aBatch(receiptsFrom(2, 3));
        Header memory h = postBatch(b);
        convicts(_log(h, noHeader(), noRow(), b), "from 2");
    }

    function test_BrokenLog_AGap_ARepetition_ADroppedRow() external {
        Batch memory first = aBatch(receiptsFrom(1, 3));
        (Header memory prev, IJudge.Row memory before) = (postBatch(first), row(first, 1, 3));
        uint256 gap = _postWith(rowsOf(5, 3), 4);
        convicts(_log(last, prev, before, _now(rowsOf(5, 3))), "a gap");
        vm.revertToState(gap);
        uint256 again = _postWith(rowsOf(3, 3), 4);
        convicts(_log(last, prev, before, _now(rowsOf(3, 3))), "a repetition");
        vm.revertToState(again);
        bytes32[] memory other = new bytes32[](4);
        other[3] = Trees.gatewayLeaf(lane, 3, gateway, 4, 3);
        uint256 dropped = _postWith(Trees.dense(other), 4);
        convicts(_log(last, prev, before, _now(Trees.dense(other))), "dropped, and at a number that no key has");
        IJudge.Row memory nobody = IJudge.Row(3, gateway, 0, 0, new bytes32[](0));
        convicts(_log(last, prev, nobody, _now(Trees.dense(other))), "a number that no key has");
        vm.revertToState(dropped);
        _postWith(rowsOf(4, 3), 4);
        acquits(_log(last, prev, before, _now(rowsOf(4, 3))), "it goes on");
        nobody.number = 9;
        acquits(_log(last, prev, nobody, _now(rowsOf(4, 3))), "nothing at a number that no key has");
        malformed(_log(last, prev, row(first, 1, 2), _now(rowsOf(4, 3))), "another row before");
        malformed(_log(last, prev, noRow(), _now(rowsOf(4, 3))), "no row before, where one was");
    }

    function test_BrokenLog_AnotherKeysRow() external {
        address other = vm.addr(OTHER);
        vm.prank(operator);
        keys.addGateway(lane, other);
        Batch memory b = aBatch(receiptsFrom(1, 2));
        bytes32[] memory rows = new bytes32[](2);
        rows[1] = Trees.gatewayLeaf(lane, 1, other, 1, 2);
        b.rows = Trees.dense(rows);
        Header memory h = postBatch(b);
        convicts(_log(h, noHeader(), noRow(), b), "key 2 at number 1");
        IJudge.Row memory second = IJudge.Row(2, other, 0, 0, new bytes32[](0));
        acquits(_log(h, noHeader(), second, b), "a key without a row yet");
        second.number = 1;
        malformed(_log(h, noHeader(), second, b), "a key at another's number");
        IJudge.Row memory claimed = row(b, 1, 2);
        malformed(_log(h, noHeader(), claimed, b), "a row before batch 1");
    }

    function test_BrokenLog_NotOfAnIdleKey() external {
        Batch memory first = aBatch(receiptsFrom(1, 3));
        (Header memory prev, IJudge.Row memory before) = (postBatch(first), row(first, 1, 3));
        Batch memory b = aBatch(receiptsFrom(4, 1));
        address other = vm.addr(OTHER);
        vm.prank(operator);
        keys.addGateway(lane, other);
        bytes32[] memory rows = new bytes32[](3);
        rows[1] = Trees.gatewayLeaf(lane, 1, gateway, 4, 0);
        rows[2] = Trees.gatewayLeaf(lane, 2, other, 1, 1);
        b.rows = Trees.dense(rows);
        Header memory h = postBatch(b);
        acquits(_log(h, prev, before, b), "count 0, the next first");
    }

    // ------------------------------------------------------------------ proveOmittedReceipt

    function test_Omitted_AnotherStandsAtItsPlace_OrNothing() external {
        Batch memory b = aBatch(receiptsFrom(1, 3));
        Receipt memory r = aReceipt(2);
        r.price += 1;
        Header memory h = postBatch(b);
        convicts(_omitted(h, noHeader(), r, row(b, 1, 3), wordAt(b.places, 1)), "another at its place");
        r = aReceipt(2);
        acquits(_omitted(h, noHeader(), r, row(b, 1, 3), wordAt(b.places, 1)), "it stands there");
        malformed(_omitted(h, noHeader(), r, row(b, 1, 3), wordAt(b.places, 2)), "another place's word");
        malformed(_omitted(h, noHeader(), r, row(b, 1, 2), wordAt(b.places, 1)), "another row");
        malformed(_omitted(h, noHeader(), r, noRow(), wordAt(b.places, 1)), "no row");
    }

    function test_Omitted_TheEmptyPlaceOfAReceiptThatIsNotBarred() external {
        Batch memory b = aBatch(receiptsFrom(1, 3));
        bar(b, 1);
        Header memory h = postBatch(b);
        convicts(_omitted(h, noHeader(), aReceipt(2), row(b, 1, 3), wordAt(b.places, 1)), "empty");
    }

    function test_Omitted_ADayAfterItsEnd_TheBatchHoldsIt() external {
        Receipt memory r = aReceipt(4);
        vm.warp(block.timestamp + DAY);
        Batch memory b = aBatch(receiptsFrom(1, 3));
        Header memory h = postBatch(b);
        acquits(_omitted(h, noHeader(), r, row(b, 1, 3), noWord()), "just a day");
        vm.warp(block.timestamp + 1);
        acquits(
            _omitted(h, noHeader(), r, row(b, 1, 3), noWord()), "closed when it was just a day: whenever it is asked"
        );
        Batch memory second = aBatch(receiptsFrom(4, 1));
        Header memory next = postBatch(second);
        r.seq = 5;
        convicts(_omitted(next, h, r, row(second, 4, 1), noWord()), "a second more");
        refusedBy(
            address(referee),
            _omitted(next, next, r, row(second, 4, 1), noWord()),
            IJudge.PreviousHeaderWrong.selector,
            "another previous header"
        );
    }

    function test_Omitted_AKeyWithoutARow() external {
        vm.prank(operator);
        keys.addGateway(lane, vm.addr(OTHER));
        Receipt memory r = aReceipt(1);
        r.gateway = vm.addr(OTHER);
        vm.warp(block.timestamp + DAY + 1);
        Header memory h = postBatch(aBatch(receiptsFrom(1, 3)));
        IJudge.Row memory none = IJudge.Row(2, r.gateway, 0, 0, new bytes32[](0));
        bytes memory accusation = _omittedBy(OTHER, h, r, none, noWord());
        convicts(accusation, "nothing of that gateway");
    }

    function test_Omitted_OfTheSecondKey_BehindTheFirstsReceipts() external {
        Batch memory b = _batchOfTwo(_receiptsOfTwo());
        Header memory h = postBatch(b);
        Receipt memory r = b.receipts[3];
        acquits(_omittedBy(OTHER, h, r, _secondRow(b), wordAt(b.places, 3)), "it stands there");
        malformed(_omittedBy(OTHER, h, r, _secondRow(b), wordAt(b.places, 1)), "among the first key's");
        r.price += 1;
        convicts(_omittedBy(OTHER, h, r, _secondRow(b), wordAt(b.places, 3)), "another at its place");
    }

    function test_Omitted_CountsFromTheLanesReturnAfterAFall_NotAfterAPause() external {
        Receipt memory r = aReceipt(4);
        vm.warp(block.timestamp + DAY + 1);
        setActive(false);
        setActive(true);
        Batch memory b = aBatch(receiptsFrom(1, 3));
        Header memory h = postBatch(b);
        convicts(_omitted(h, noHeader(), r, row(b, 1, 3), noWord()), "a pause moves nothing");
        _fall();
        h = _reposted(b);
        acquits(_omitted(h, noHeader(), r, row(b, 1, 3), noWord()), "a fall does");
        vm.warp(block.timestamp + DAY + 1);
        _fall();
        h = _reposted(b);
        acquits(_omitted(h, noHeader(), r, row(b, 1, 3), noWord()), "each fall");
    }

    function test_Omitted_NotOfAReceiptTooOld() external {
        Receipt memory r = aReceipt(4);
        vm.warp(block.timestamp + LIFE);
        Batch memory b = aBatch(receiptsFrom(1, 3));
        Header memory h = postBatch(b);
        convicts(_omitted(h, noHeader(), r, row(b, 1, 3), noWord()), "30 days");
        vm.warp(block.timestamp + 1);
        Batch memory second = aBatch(receiptsFrom(4, 2));
        second.receipts[0] = r;
        bar(second, 0);
        Header memory next = postBatch(second);
        acquits(_omitted(next, h, r, row(second, 4, 2), wordAt(second.places, 0)), "a second more: its place is empty");
        r.seq = 6;
        acquits(_omitted(next, h, r, row(second, 4, 2), noWord()), "and beyond the row");
    }

    function test_Omitted_NotOfALeavingAccount_WhateverItDoesAfterwards() external {
        Receipt memory late = aReceipt(2);
        leavesSoon(1);
        Header memory h = postBatch(aBatch(receiptsFrom(1, 1)));
        vm.warp(block.timestamp + 1 hours);
        Batch memory second = aBatch(receiptsFrom(2, 2));
        second.receipts[0] = late;
        (debited[1], debited[2]) = (debited[1] - PRICE, PRICE); // the other one is consumer 2's
        bar(second, 0);
        Header memory next = postBatch(second);
        bytes memory accusation = _omitted(next, h, late, row(second, 2, 2), wordAt(second.places, 0));
        acquits(accusation, "barred");
        vm.prank(consumer(1));
        refuses(ISettlement.RequestUnchanged.selector);
        consumers.cancelWithdraw(lane);
        vm.warp(settlement.batches(lane, 1).until);
        settlement.finalize(lane, 1, h);
        acquits(accusation, "when it may leave");
        uint64[] memory final_ = new uint64[](4);
        final_[1] = PRICE;
        settlement.withdraw(lane, consumer(1), PRICE, debitsOf(final_).prove(1));
        acquits(accusation, "when it has left");
        asksToLeave(1);
        acquits(accusation, "when it has left, and asks again");
        depositFor(consumer(1), 1);
        acquits(accusation, "when it has come back");
    }

    function test_Omitted_OfALeavingAccount_WhatEndedAfterItsNotice() external {
        leavesSoon(1);
        Header memory h = postBatch(aBatch(receiptsFrom(1, 1)));
        Batch memory second = aBatch(receiptsFrom(2, 1)); // no honest gateway signs it
        bar(second, 0);
        Header memory next = postBatch(second);
        convicts(_omitted(next, h, aReceipt(2), row(second, 2, 1), wordAt(second.places, 0)), "served after the notice");
    }

    function test_Omitted_NotOfAnAccountThatLeft() external {
        Receipt memory late = aReceipt(2);
        leavesSoon(1);
        Header memory h = postBatch(aBatch(receiptsFrom(1, 1)));
        finalizeLast();
        takeRest(1);
        depositFor(consumer(1), DEPOSIT);
        Batch memory second = aBatch(receiptsFrom(2, 2));
        second.receipts[0] = late;
        bar(second, 0);
        Header memory next = postBatch(second);
        acquits(_omitted(next, h, late, row(second, 2, 2), wordAt(second.places, 0)), "before it left");
        asksToLeave(1);
        acquits(_omitted(next, h, late, row(second, 2, 2), wordAt(second.places, 0)), "and leaves again");
    }

    function test_Omitted_OfAnAccountThatCameBack_WhatEndedSince() external {
        leavesSoon(1);
        Header memory h = postBatch(aBatch(receiptsFrom(1, 1)));
        finalizeLast();
        takeRest(1);
        depositFor(consumer(1), DEPOSIT);
        Batch memory second = aBatch(receiptsFrom(2, 2));
        bar(second, 0);
        Header memory next = postBatch(second);
        convicts(_omitted(next, h, aReceipt(2), row(second, 2, 2), wordAt(second.places, 0)), "since");
    }

    function test_Omitted_NotOfAKeyLongRevoked_NorOfAStranger() external {
        Batch memory b = aBatch(receiptsFrom(1, 3));
        Receipt memory r = aReceipt(2);
        r.price += 1;
        vm.prank(operator);
        keys.revokeGateway(lane, gateway);
        vm.warp(block.timestamp + 2 * DAY - 1);
        b.closedAt = uint40(block.timestamp);
        Header memory h = postBatch(b);
        convicts(_omitted(h, noHeader(), r, row(b, 1, 3), wordAt(b.places, 1)), "within two days");
        vm.warp(block.timestamp + 2);
        convicts(
            _omitted(h, noHeader(), r, row(b, 1, 3), wordAt(b.places, 1)),
            "closed within two days: whenever it is asked"
        );
        malformed(_omittedBy(OTHER, h, r, row(b, 1, 3), noWord()), "signed by another");
        Receipt memory elsewhere = aReceipt(2);
        elsewhere.lane = stranger;
        malformed(_omitted(h, noHeader(), elsewhere, row(b, 1, 3), wordAt(b.places, 1)), "another lane's");
        finalizeLast();
        debited[1] -= 3 * PRICE;
        earned[1] -= 3 * PRICE;
        Batch memory next = aBatch(receiptsFrom(4, 3));
        (debited[1], earned[1]) = (6 * PRICE, 6 * PRICE);
        (next.paid, next.owed) = (payouts(), debits());
        Header memory later = postBatch(next);
        r.seq = 5;
        malformed(_omitted(later, h, r, row(next, 4, 3), wordAt(next.places, 1)), "after two days");
    }

    // ------------------------------------------------------------------ proveMisplacedReceipt, proveStrayReceipt

    function test_Misplaced_AnotherNumber_Gateway_OrLane() external {
        Receipt[] memory rs = receiptsFrom(1, 3);
        rs[1].seq = 3;
        (rs[2].gateway, rs[0].lane) = (stranger, stranger);
        Batch memory b = aBatch(rs);
        b.rows = rowsOf(1, 3);
        Header memory h = postBatch(b);
        convicts(_misplaced(h, opening(b, 0), row(b, 1, 3)), "another lane");
        convicts(_misplaced(h, opening(b, 1), row(b, 1, 3)), "another number");
        convicts(_misplaced(h, opening(b, 2), row(b, 1, 3)), "another gateway");
    }

    function test_Misplaced_NotAtItsPlace() external {
        Batch memory b = aBatch(receiptsFrom(1, 3));
        bar(b, 2);
        Header memory h = postBatch(b);
        acquits(_misplaced(h, opening(b, 1), row(b, 1, 3)), "at its place");
        IJudge.Opening memory moved = opening(b, 1);
        moved.place = 0;
        malformed(_misplaced(h, moved, row(b, 1, 3)), "not there");
        malformed(_misplaced(h, opening(b, 1), row(b, 2, 3)), "another row");
        malformed(_misplaced(h, opening(b, 1), IJudge.Row(0, gateway, 0, 3, b.rows.prove(0))), "no row, of three");
        malformed(_misplaced(h, opening(b, 1), IJudge.Row(9, gateway, 0, 3, new bytes32[](0))), "beyond, of three");
        moved = opening(b, 1);
        moved.record = bytes.concat(moved.record, "0");
        refusedBy(
            address(referee), _misplaced(h, moved, row(b, 1, 3)), Receipts.RecordMalformed.selector, "a longer record"
        );
    }

    function test_Misplaced_OfTheSecondKey_BehindTheFirstsReceipts() external {
        Receipt[] memory rs = _receiptsOfTwo();
        (rs[3].seq, rs[4].seq) = (rs[4].seq, rs[3].seq);
        Batch memory b = _batchOfTwo(rs);
        Header memory h = postBatch(b);
        acquits(_misplaced(h, opening(b, 2), _secondRow(b)), "at its place");
        convicts(_misplaced(h, opening(b, 3), _secondRow(b)), "before another");
        malformed(_misplaced(h, opening(b, 1), _secondRow(b)), "the first key's");
        malformed(_misplaced(h, opening(b, 2), IJudge.Row(1, gateway, 1, 2, b.rows.prove(1))), "not the first key's");
    }

    function test_Stray_AWordBeyondTheLastReceipt() external {
        Batch memory b = aBatch(receiptsFrom(1, 3));
        b.rows = rowsOf(1, 2);
        Header memory h = postBatch(b);
        convicts(_stray(h, 2, wordAt(b.places, 2)), "the third of two");
        acquits(_stray(h, 1, wordAt(b.places, 1)), "the second of two");
        acquits(_stray(h, 3, wordAt(b.places, 3)), "nothing there");
    }

    // ------------------------------------------------------------------ proveUnpostedReceipt

    function test_Unposted_AReceiptInNoBatch_ADayAfterThePause() external {
        Batch memory b = aBatch(receiptsFrom(1, 3));
        Header memory h = postBatch(b);
        Receipt memory r = aReceipt(4);
        bytes memory accusation = _unposted(h, r, row(b, 1, 3));
        vm.warp(block.timestamp + 2 * DAY);
        acquits(accusation, "a lane that serves");
        setActive(false);
        vm.warp(block.timestamp + DAY);
        acquits(accusation, "a day to post it");
        vm.warp(block.timestamp + 1);
        convicts(accusation, "unposted");
        acquits(_unposted(h, aReceipt(3), row(b, 1, 3)), "posted");
        malformed(_unposted(h, r, row(b, 1, 2)), "another row");
        vm.warp(block.timestamp + LIFE);
        acquits(accusation, "too old");
    }

    function test_Unposted_WithoutAnyBatch_OnceOnly() external {
        bytes memory accusation = _unposted(noHeader(), aReceipt(1), noRow());
        setActive(false);
        vm.warp(block.timestamp + DAY + 1);
        referee.proveUnpostedReceipt(lane, noHeader(), signedBy(GATEWAY, aReceiptAt(1, 1_800_000_000)), noRow());
        acquits(accusation, "a lane that fell is not paused");
        rise();
        setActive(false);
        vm.warp(block.timestamp + DAY + 1);
        refusedBy(address(referee), accusation, IReferee.AlreadyPunished.selector, "once");
    }

    function test_Unposted_NotOfALeavingAccount() external {
        Receipt memory r = aReceipt(2);
        leavesSoon(1);
        Batch memory b = aBatch(receiptsFrom(1, 1));
        Header memory h = postBatch(b);
        bytes memory accusation = _unposted(h, r, row(b, 1, 1));
        setActive(false);
        vm.warp(block.timestamp + DAY + 1);
        acquits(accusation, "its debit may not grow any more");
    }

    // ------------------------------------------------------------------ proveDoubleReceipt

    function test_DoubleReceipt_TwoForOneNumber_OrOneCall() external {
        Receipt memory a = aReceipt(1);
        Receipt memory b = aReceipt(1);
        b.price += 1;
        convicts(_double(noHeader(), a, b, noRow()), "one number");
        acquits(_double(noHeader(), a, a, noRow()), "the same one");
        b = aReceipt(2);
        acquits(_double(noHeader(), a, b, noRow()), "another number and call");
        b.callId = a.callId;
        convicts(_double(noHeader(), a, b, noRow()), "one call");
    }

    function test_DoubleReceipt_OnceOnly_AndNotWhenItsBatchIsFinal() external {
        Receipt memory a = aReceipt(2);
        Receipt memory b = aReceipt(2);
        b.price += 1;
        Batch memory batch = aBatch(receiptsFrom(1, 3));
        Header memory h = postBatch(batch);
        bytes memory before = _double(noHeader(), a, b, noRow());
        convicts(before, "its batch is pending");
        uint256 state = vm.snapshotState();
        vm.prank(challenger);
        (bool done,) = address(referee).call(before);
        vm.assertTrue(done, "first");
        refusedBy(address(referee), before, IReferee.AlreadyPunished.selector, "once");
        vm.revertToState(state);
        finalizeLast();
        malformed(before, "no header shown");
        acquits(_double(h, a, b, row(batch, 1, 3)), "its batch is final");
        (a.seq, b.seq) = (4, 4);
        convicts(_double(h, a, b, row(batch, 1, 3)), "the next one's is not");
    }

    function test_DoubleReceipt_OneNumberOrCallIsOneFall_WhicheverTwoShowIt() external {
        Receipt[3] memory r = [aReceipt(1), aReceipt(1), aReceipt(1)];
        (r[1].callId, r[2].callId) = ("another", "a third");
        uint256 state = vm.snapshotState();
        _punishesOnce(r, "one number");
        vm.revertToState(state);
        r = [aReceipt(1), aReceipt(2), aReceipt(3)];
        r[1].callId = r[2].callId = r[0].callId;
        _punishesOnce(r, "one call");
    }

    function test_RevertWhen_ADoubleReceiptIsNotSigned() external {
        Receipt memory a = aReceipt(1);
        Receipt memory b = aReceipt(1);
        b.price += 1;
        IJudge.Signed memory right = signedBy(GATEWAY, a);
        IJudge.Signed memory forged = signedBy(OTHER, b);
        malformed(
            abi.encodeCall(IReferee.proveDoubleReceipt, (lane, noHeader(), right, forged, noRow())), "by another key"
        );
        forged = signedBy(GATEWAY, b);
        forged.signature = abi.encodePacked(forged.signature, uint8(0));
        malformed(abi.encodeCall(IReferee.proveDoubleReceipt, (lane, noHeader(), right, forged, noRow())), "66 bytes");
    }

    /// @dev F22: what a contract says by ERC-1271 it can unsay, so it signs no receipt.
    function test_DoubleReceipt_AContractsWordIsNone() external {
        address wallet = address(new Wallet(vm.addr(OTHER)));
        vm.prank(operator);
        keys.addGateway(lane, wallet);
        Receipt memory a = aReceipt(1);
        a.gateway = wallet;
        IJudge.Signed memory one = signedBy(OTHER, a);
        a.price += 1;
        IJudge.Row memory none = IJudge.Row(2, wallet, 0, 0, new bytes32[](0));
        malformed(
            abi.encodeCall(IReferee.proveDoubleReceipt, (lane, noHeader(), one, signedBy(OTHER, a), none)), "no key"
        );
    }

    // ------------------------------------------------------------------ inside

    function aReceiptAt(uint64 seq, uint256 time) private view returns (Receipt memory r) {
        r = aReceipt(seq);
        (r.endedAt, r.epoch) = (uint64(time * 1000), uint64(time / EPOCH));
    }

    /// @dev Posts a batch of three receipts from `first` on under other rows. Returns the state before.
    function _postWith(Sparse memory rows, uint64 first) private returns (uint256 state) {
        state = vm.snapshotState();
        Batch memory b = aBatch(receiptsFrom(first, 3));
        b.rows = rows;
        postBatch(b);
    }

    function _now(Sparse memory rows) private pure returns (Batch memory b) {
        b.rows = rows;
    }

    /// @dev The lane falls by its last batch, waits its day, and returns.
    function _fall() private {
        vm.prank(address(referee));
        settlement.punish(lane, challenger);
        rise();
    }

    function _reposted(Batch memory b) private returns (Header memory h) {
        b.closedAt = uint40(block.timestamp);
        return postBatch(b);
    }

    function _log(Header memory h, Header memory prev, IJudge.Row memory before, Batch memory b)
        private
        view
        returns (bytes memory)
    {
        IJudge.Word memory word = wordAt(b.rows, before.number);
        return abi.encodeCall(IReferee.proveBrokenLog, (lane, idOfLast(), h, prev, before, word));
    }

    function _omitted(
        Header memory h,
        Header memory prev,
        Receipt memory r,
        IJudge.Row memory row_,
        IJudge.Word memory stands
    ) private view returns (bytes memory) {
        IJudge.Signed memory s = signedBy(GATEWAY, r);
        return abi.encodeCall(IReferee.proveOmittedReceipt, (lane, idOfLast(), h, prev, s, row_, stands));
    }

    function _omittedBy(
        uint256 key,
        Header memory h,
        Receipt memory r,
        IJudge.Row memory row_,
        IJudge.Word memory stands
    ) private view returns (bytes memory) {
        IJudge.Signed memory s = signedBy(key, r);
        return abi.encodeCall(IReferee.proveOmittedReceipt, (lane, idOfLast(), h, noHeader(), s, row_, stands));
    }

    /// @dev Two receipts of the lane's first key, then three of a second, each from number 1 on.
    function _receiptsOfTwo() private returns (Receipt[] memory rs) {
        vm.prank(operator);
        keys.addGateway(lane, vm.addr(OTHER));
        rs = receiptsFrom(1, 5);
        for (uint64 i; i < 3; ++i) {
            (rs[2 + i].gateway, rs[2 + i].seq) = (vm.addr(OTHER), 1 + i);
        }
    }

    function _batchOfTwo(Receipt[] memory rs) private returns (Batch memory b) {
        b = aBatch(rs);
        bytes32[] memory rows = new bytes32[](3);
        rows[1] = Trees.gatewayLeaf(lane, 1, gateway, 1, 2);
        rows[2] = Trees.gatewayLeaf(lane, 2, vm.addr(OTHER), 1, 3);
        b.rows = Trees.dense(rows);
    }

    function _secondRow(Batch memory b) private pure returns (IJudge.Row memory) {
        return IJudge.Row(2, vm.addr(OTHER), 1, 3, b.rows.prove(2));
    }

    function _misplaced(Header memory h, IJudge.Opening memory o, IJudge.Row memory row_)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(IReferee.proveMisplacedReceipt, (lane, idOfLast(), h, o, row_));
    }

    function _stray(Header memory h, uint64 place, IJudge.Word memory word) private view returns (bytes memory) {
        return abi.encodeCall(IReferee.proveStrayReceipt, (lane, idOfLast(), h, place, word));
    }

    function _unposted(Header memory h, Receipt memory r, IJudge.Row memory row_) private view returns (bytes memory) {
        return abi.encodeCall(IReferee.proveUnpostedReceipt, (lane, h, signedBy(GATEWAY, r), row_));
    }

    function _punishesOnce(Receipt[3] memory r, string memory what) private {
        vm.prank(challenger);
        (bool done,) = address(referee).call(_double(noHeader(), r[0], r[1], noRow()));
        vm.assertTrue(done, what);
        refusedBy(
            address(referee), _double(noHeader(), r[1], r[2], noRow()), IReferee.AlreadyPunished.selector, what
        );
    }

    function _double(Header memory h, Receipt memory a, Receipt memory b, IJudge.Row memory row_)
        private
        view
        returns (bytes memory)
    {
        IJudge.Signed memory other = signedBy(GATEWAY, b);
        return abi.encodeCall(IReferee.proveDoubleReceipt, (lane, h, signedBy(GATEWAY, a), other, row_));
    }
}

/// @dev With the longest `day` that a deployment may have.
contract RefereeLongestDayTest is Court {
    uint32 private constant LONGEST = 3.5 days;

    function rules() internal pure override returns (ISettlement.Rules memory r) {
        r = super.rules();
        r.day = LONGEST;
    }

    function test_Unposted_ForAsLongAsADayBeforeTheBondLeaves() external {
        IJudge.Signed memory s = signedBy(GATEWAY, aReceipt(1));
        bytes memory accusation = abi.encodeCall(IReferee.proveUnpostedReceipt, (lane, noHeader(), s, noRow()));
        setActive(false);
        vm.prank(operator);
        keys.revokeGateway(lane, gateway);
        uint256 leaves = block.timestamp + 7 days;
        vm.warp(leaves - LONGEST + 1);
        convicts(accusation, "as soon as its day has passed");
        vm.warp(leaves - 1);
        convicts(accusation, "until the bond may leave");
        vm.warp(leaves);
        vm.prank(operator);
        settlement.unbond(lane);
    }
}
