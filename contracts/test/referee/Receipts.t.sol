// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../../src/interfaces/IReferee.sol";
import {Receipts} from "../../src/Receipts.sol";
import {Calls} from "../Calls.sol";
import {Trees} from "../Trees.sol";

/// @dev Receipts left out, out of place, given twice; journals that break.
contract RefereeReceiptsTest is Calls {
    address private other = vm.addr(9);

    function setUp() public override {
        super.setUp();
        serve(1);
        serve(2);
        serve(1);
    }

    // ------------------------------------------------------------------ proveOmittedReceipt

    function test_ProveOmittedReceipt_AnotherStandsAtItsPlace() external {
        Batch memory b = draft();
        IReferee.SignedReceipt memory held = signedReceipt(given[1]); // what the consumer was given
        b.receipts[1].responseDigest = "another";
        uint64 id = send(b);
        vm.prank(challenger);
        _omitted(id, b, held, 1);
        fell(id);
    }

    function test_ProveOmittedReceipt_ItEndedADayBefore() external {
        Receipts.Receipt memory r = call(1, someTerms());
        r.endedAt -= 1 days * 1000 + 1000;
        Batch memory b = draft();
        uint64 id = send(b);
        IReferee.SignedReceipt memory held = signedReceipt(r);
        vm.prank(challenger);
        _omitted(id, b, held, NOWHERE);
        fell(id);
    }

    function test_ProveOmittedReceipt_OfASessionKeyTheTableDoesNotKnow() external {
        vm.prank(operator);
        settlement.setSessionKey(other, true);
        Receipts.Receipt memory r = call(1, someTerms());
        (r.gateway, r.seq, r.endedAt) = (other, 1, r.endedAt - 2 days * 1000);
        Batch memory b = draft();
        uint64 id = send(b);
        IReferee.SignedReceipt memory held =
            IReferee.SignedReceipt(r, signed(9, tollwayDigest(Receipts.hash(r))));
        vm.prank(challenger);
        _omitted(id, b, held, NOWHERE);
        fell(id);
    }

    function test_RevertWhen_AReceiptIsThere_OrNotYetDue_OrInAnEarlierBatch() external {
        Batch memory b = draft();
        IReferee.SignedReceipt memory fresh = signedReceipt(call(1, someTerms()));
        uint64 id = send(b);
        _refusesOmitted(IReferee.NotProven.selector, id, b, signedReceipt(b.receipts[1]), 1);
        _refusesOmitted(IReferee.NotProven.selector, id, b, fresh, NOWHERE);
        serve(3);
        Batch memory next = draft();
        uint64 second = send(next);
        _refusesOmitted(IReferee.NotProven.selector, second, next, signedReceipt(b.receipts[1]), NOWHERE);
    }

    function test_RevertWhen_AnOmissionIsShownByAnInnerNode() external {
        Batch memory b = draft();
        uint64 id = send(b);
        IReferee.SignedReceipt memory held = signedReceipt(b.receipts[0]);
        bytes32[] memory leaves = receiptLeaves(b.receipts);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = Trees.prove(leaves, 0)[1];
        refuses(IReferee.ProofInvalid.selector);
        referee.proveOmittedReceipt(lane, id, b.header, b.table, held, Trees.parent(leaves[0], leaves[1]), proof);
    }

    function test_RevertWhen_TheOmittedReceiptIsNotTheOperators_OrTheTableNotTheBatchs() external {
        Batch memory b = draft();
        uint64 id = send(b);
        IReferee.SignedReceipt memory held = signedReceipt(b.receipts[1]);
        bytes memory good = held.signature;
        held.signature = signed(9, tollwayDigest(Receipts.hash(held.receipt)));
        _refusesOmitted(IReferee.ProofInvalid.selector, id, b, held, 1); // a stranger's signature
        held.signature = highS(good);
        _refusesOmitted(IReferee.ProofInvalid.selector, id, b, held, 1);
        held.signature = short(good);
        _refusesOmitted(IReferee.ProofInvalid.selector, id, b, held, 1);
        held.receipt.lane = 2;
        _refusesOmitted(IReferee.ProofInvalid.selector, id, b, signedReceipt(held.receipt), 1); // another lane's
        b.table = row(other, 1, 3);
        _refusesOmitted(IReferee.ProofInvalid.selector, id, b, signedReceipt(b.receipts[1]), 1);
    }

    // ------------------------------------------------------------------ proveMisplacedReceipt

    function test_ProveMisplacedReceipt_AtAnothersPlace() external {
        Batch memory b = draft();
        (b.receipts[1], b.receipts[2]) = (b.receipts[2], b.receipts[1]);
        _misplaced(b);
    }

    function test_ProveMisplacedReceipt_OfAnotherLane() external {
        Batch memory b = draft();
        b.receipts[1].lane = 2;
        _misplaced(b);
    }

    function test_RevertWhen_AReceiptIsAtItsPlace_OrNotThereAtAll() external {
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint256 i; i < 3; ++i) {
            IReferee.Opening memory honest = opening(b, i);
            refuses(IReferee.NotProven.selector);
            referee.proveMisplacedReceipt(lane, id, b.header, b.table, honest);
        }
        IReferee.Opening memory elsewhere = opening(b, 1);
        elsewhere.place = 2;
        refuses(IReferee.ProofInvalid.selector);
        referee.proveMisplacedReceipt(lane, id, b.header, b.table, elsewhere);
        elsewhere.place = 1;
        refuses(IReferee.ProofInvalid.selector);
        referee.proveMisplacedReceipt(lane, id, b.header, row(other, 1, 3), elsewhere);
    }

    // ------------------------------------------------------------------ proveBrokenJournal

    function test_ProveBrokenJournal_AGapAtTheBeginning() external {
        _breaks(row(operator, 2, 3));
    }

    function test_ProveBrokenJournal_AMiscount() external {
        _breaks(row(operator, 1, 4));
    }

    function test_ProveBrokenJournal_RowsOutOfOrder() external {
        (address low, address high) = operator < other ? (operator, other) : (other, operator);
        _breaks(bytes.concat(row(high, 1, 3), row(low, 1, 0)));
    }

    function test_ProveBrokenJournal_ARowCutOff() external {
        _breaks(bytes.concat(row(operator, 1, 3), "half a row"));
    }

    function test_ProveBrokenJournal_AReceiptSkippedBetweenBatches() external {
        Batch memory before = draft();
        send(before);
        serve(3);
        Batch memory b = draft();
        b.table = row(operator, 5, 1); // 4 was given out, and forgotten
        _journal(b, before);
    }

    function test_ProveBrokenJournal_AGatewayDropped() external {
        (address low, address high) = operator < other ? (operator, other) : (other, operator);
        Batch memory before = draft();
        before.table = bytes.concat(row(low, 1, low == operator ? 3 : 0), row(high, 1, high == operator ? 3 : 0));
        send(before);
        serve(3);
        Batch memory b = draft(); // names the operator alone
        _journal(b, before);
    }

    function test_RevertWhen_AJournalGoesOn_OrAnotherIsShown() external {
        Batch memory before = draft();
        uint64 first = send(before);
        refuses(IReferee.NotProven.selector);
        referee.proveBrokenJournal(lane, first, before.header, noHeader(), "ignored", before.table);
        serve(3);
        Batch memory b = draft();
        uint64 id = send(b);
        refuses(IReferee.NotProven.selector);
        referee.proveBrokenJournal(lane, id, b.header, before.header, before.table, b.table);
        refuses(IReferee.PreviousHeaderWrong.selector);
        referee.proveBrokenJournal(lane, id, b.header, b.header, before.table, b.table);
        refuses(IReferee.ProofInvalid.selector);
        referee.proveBrokenJournal(lane, id, b.header, before.header, b.table, b.table);
        refuses(IReferee.ProofInvalid.selector);
        referee.proveBrokenJournal(lane, id, b.header, before.header, before.table, before.table);
    }

    // ------------------------------------------------------------------ proveDoubleReceipt

    function test_ProveDoubleReceipt_TwoForOneNumber_SlashesBondAndStakeOnce() external {
        token.transfer(operator, 1_000);
        vm.startPrank(operator);
        token.approve(address(vault), 1_000);
        vault.stake(1_000);
        vm.stopPrank();
        (Receipts.Receipt memory a, Receipts.Receipt memory b) = (given[0], given[0]);
        b.responseDigest = "another";
        (IReferee.SignedReceipt memory x, IReferee.SignedReceipt memory y) = (signedReceipt(a), signedReceipt(b));
        uint64 id = post();
        vm.prank(challenger);
        referee.proveDoubleReceipt(lane, x, y);
        eq(settlement.lanes(lane).bond, 0, "bond");
        eq(vault.stakes(operator).staked, 0, "stake");
        eq(token.balanceOf(challenger), BOND / 2 + 500, "half of both");
        vm.assertFalse(settlement.lanes(lane).active, "stopped");
        eq(settlement.head(lane).next, id + 1, "no batch is void");
        refuses(IReferee.AlreadyPunished.selector);
        referee.proveDoubleReceipt(lane, y, x);
    }

    function test_ProveDoubleReceipt_TwoForOneCall() external {
        (Receipts.Receipt memory a, Receipts.Receipt memory b) = (given[0], given[1]);
        b.callId = a.callId;
        (IReferee.SignedReceipt memory x, IReferee.SignedReceipt memory y) = (signedReceipt(a), signedReceipt(b));
        vm.prank(challenger);
        referee.proveDoubleReceipt(lane, x, y);
        eq(settlement.lanes(lane).bond, 0, "bond");
    }

    function test_RevertWhen_TwoReceiptsAreOne_OrOfTwoCalls_OrForged() external {
        (IReferee.SignedReceipt memory x, IReferee.SignedReceipt memory y) =
            (signedReceipt(given[0]), signedReceipt(given[1]));
        refuses(IReferee.NotProven.selector);
        referee.proveDoubleReceipt(lane, x, x);
        refuses(IReferee.NotProven.selector);
        referee.proveDoubleReceipt(lane, x, y);
        y.receipt.callId = x.receipt.callId; // its signature is of another
        refuses(IReferee.ProofInvalid.selector);
        referee.proveDoubleReceipt(lane, x, y);
        x.receipt.gateway = other; // signs, but not for this operator
        x.signature = signed(9, tollwayDigest(Receipts.hash(x.receipt)));
        refuses(IReferee.ProofInvalid.selector);
        referee.proveDoubleReceipt(lane, x, x);
    }

    // ------------------------------------------------------------------ helpers

    uint256 private constant NOWHERE = type(uint256).max;

    function _omitted(uint64 id, Batch memory b, IReferee.SignedReceipt memory held, uint256 place) private {
        (bytes32 leaf, bytes32[] memory proof) = _standing(b, place);
        referee.proveOmittedReceipt(lane, id, b.header, b.table, held, leaf, proof);
    }

    function _refusesOmitted(
        bytes4 why,
        uint64 id,
        Batch memory b,
        IReferee.SignedReceipt memory held,
        uint256 place
    ) private {
        refuses(why);
        _omitted(id, b, held, place);
    }

    function _standing(Batch memory b, uint256 place) private pure returns (bytes32 leaf, bytes32[] memory proof) {
        if (place == NOWHERE) return (0, new bytes32[](0));
        bytes32[] memory leaves = receiptLeaves(b.receipts);
        return (leaves[place], Trees.prove(leaves, place));
    }

    function _misplaced(Batch memory b) private {
        uint64 id = send(b);
        IReferee.Opening memory shown = opening(b, 1);
        vm.prank(challenger);
        referee.proveMisplacedReceipt(lane, id, b.header, b.table, shown);
        fell(id);
    }

    function _breaks(bytes memory table) private {
        Batch memory b = draft();
        b.table = table;
        uint64 id = send(b);
        vm.prank(challenger);
        referee.proveBrokenJournal(lane, id, b.header, noHeader(), "", table);
        fell(id);
    }

    function _journal(Batch memory b, Batch memory before) private {
        uint64 id = send(b);
        vm.prank(challenger);
        referee.proveBrokenJournal(lane, id, b.header, before.header, before.table, b.table);
        fell(id);
    }
}
