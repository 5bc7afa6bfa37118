// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Calls} from "../Calls.sol";
import {Trees} from "../Trees.sol";

/// @dev Lines that are not what receipts give, payouts and debits that are not their lines' sum, trees out of shape.
contract RefereeLinesTest is Calls {
    function setUp() public override {
        super.setUp();
        serve(1);
        serve(2);
        serve(1);
    }

    // ------------------------------------------------------------------ proveBadRun

    function test_ProveBadRun_APayeesLineIsShort() external {
        Batch memory b = draft();
        (--b.lines[0].amount, ++b.lines[1].amount);
        _badRun(b, 1);
    }

    function test_ProveBadRun_APayeesLineIsDropped() external {
        Batch memory b = draft();
        b.lines[1].amount += b.lines[0].amount;
        b.lines = _without(b.lines, 0);
        _badRun(b, 1);
    }

    function test_ProveBadRun_AConsumersLineIsLong() external {
        Batch memory b = draft();
        (++b.lines[3].amount, --b.lines[4].amount);
        _badRun(b, CONSUMER | 1);
    }

    function test_RevertWhen_ARunIsRight_AlsoOfWhoIsNotInIt() external {
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint32 i = 1; i <= PAYEES; ++i) _refusesRun(IReferee.NotProven.selector, runProof(id, b, i));
        for (uint32 i = 1; i <= CONSUMERS; ++i) {
            _refusesRun(IReferee.NotProven.selector, runProof(id, b, CONSUMER | i));
        }
    }

    function test_RevertWhen_ARunIsShownInPart_OrForAnother_OrUnderOtherTerms() external {
        Batch memory b = draft();
        uint64 id = send(b);
        RunProof memory p = runProof(id, b, 1);
        p.account = payee(2);
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.terms[0] = termsOfLines(1, termsLine(payee(1), MAKER, 0, 1, 0));
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.run = 1; // the batch has no such run
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.receipts[1].seq = 9;
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.line = edge(b, 3, 0); // another's place
        _refusesRun(IReferee.ProofInvalid.selector, p);
    }

    // ------------------------------------------------------------------ proveUnsortedLines

    function test_ProveUnsortedLines_OutOfOrder() external {
        Batch memory b = draft();
        (b.lines[0], b.lines[1]) = (b.lines[1], b.lines[0]);
        _unsorted(b, 0);
    }

    function test_ProveUnsortedLines_TwiceTheSame() external {
        Batch memory b = draft();
        b.lines[1].party = 1;
        _unsorted(b, 0);
    }

    function test_ProveUnsortedLines_ALineOfNothing() external {
        Batch memory b = draft();
        (b.lines[0].amount, b.lines[1].amount) = (0, b.lines[1].amount + b.lines[0].amount);
        _unsorted(b, 0);
    }

    function test_ProveUnsortedLines_ALineOfNobody() external {
        Batch memory b = draft();
        b.lines[2].party = uint32(PAYEES) + 1;
        _unsorted(b, 1);
    }

    function test_ProveUnsortedLines_ALineOfNoConsumer() external {
        Batch memory b = draft();
        b.lines[4].party = CONSUMER | uint32(CONSUMERS + 1);
        _unsorted(b, 4);
    }

    function test_ProveUnsortedLines_ALineOfNoRun() external {
        Batch memory b = draft();
        b.lines[1].run = 1;
        _unsorted(b, 0);
    }

    function test_ProveUnsortedLines_AHoleBeforeALine() external {
        Batch memory b = draft();
        seal(b);
        bytes32[] memory leaves = new bytes32[](8);
        for (uint256 i; i < 5; ++i) leaves[i < 2 ? i : i + 1] = lineLeaves(b.lines)[i];
        b.header.linesRoot = Trees.root(leaves);
        uint64 id = post(b.header);
        IReferee.LineLeaf memory hole = IReferee.LineLeaf(0, 0, 0, Trees.prove(leaves, 2));
        Line memory l = b.lines[2];
        IReferee.LineLeaf memory next = IReferee.LineLeaf(l.party, l.run, l.amount, Trees.prove(leaves, 3));
        vm.prank(challenger);
        referee.proveUnsortedLines(lane, id, b.header, 2, hole, next);
        fell(id);
    }

    function test_RevertWhen_LinesAreInOrder_OrNotThere() external {
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint256 rank; rank < 7; ++rank) {
            refuses(IReferee.NotProven.selector);
            referee.proveUnsortedLines(lane, id, b.header, rank, lineAt(b, rank), lineAt(b, rank + 1));
        }
        refuses(IReferee.ProofInvalid.selector);
        referee.proveUnsortedLines(lane, id, b.header, 0, lineAt(b, 1), lineAt(b, 0));
    }

    // ------------------------------------------------------------------ provePayout

    function test_ProvePayout_APayeeIsShortChanged() external {
        (--earned[1], ++earned[2]);
        _payout(ISettlement.Tree.payouts, 1);
    }

    function test_ProvePayout_AConsumerPaysForAnother() external {
        (++debited[1], --debited[2]);
        _payout(ISettlement.Tree.debits, 1);
    }

    function test_ProvePayout_AnIncreaseIsShortInALaterBatch() external {
        Batch memory before = draft();
        send(before);
        bytes32[] memory was = payoutLeaves();
        uint64 had = earned[2];
        serve(3);
        (++earned[1], --earned[2]);
        Batch memory b = draft();
        PayoutProof memory p = _proof(send(b), b, ISettlement.Tree.payouts, 2);
        p.prevHeader = before.header;
        p.before = IReferee.AccountLeaf(payee(2), had, Trees.prove(was, 2));
        vm.prank(challenger);
        provePayout(p);
        fell(2);
    }

    function test_RevertWhen_APayoutIsItsLinesSum() external {
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint32 i = 1; i <= PAYEES; ++i) {
            _refusesPayout(IReferee.NotProven.selector, _proof(id, b, ISettlement.Tree.payouts, i));
        }
        for (uint32 i = 1; i <= CONSUMERS; ++i) {
            _refusesPayout(IReferee.NotProven.selector, _proof(id, b, ISettlement.Tree.debits, i));
        }
    }

    function test_RevertWhen_APayoutIsShownByOtherLines_OrAnotherBatch() external {
        Batch memory b = draft();
        uint64 id = send(b);
        PayoutProof memory p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.low = edge(b, 3, 0); // begins too late
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.high = edge(b, 2, 0); // ends too early
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.before.cumulative = 1; // there is no batch before
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.tree = ISettlement.Tree.receipts;
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        serve(3);
        Batch memory next = draft();
        p = _proof(send(next), next, ISettlement.Tree.payouts, 2);
        p.prevHeader = next.header;
        _refusesPayout(IReferee.PreviousHeaderWrong.selector, p);
    }

    /// @dev Else a place that never is would be given the lines of a consumer, and convict anybody.
    function test_RevertWhen_APayoutAboveAllIndicesIsAccused() external {
        Batch memory b = draft();
        PayoutProof memory p = _proof(send(b), b, ISettlement.Tree.payouts, 1);
        p.index = CONSUMER | 1;
        p.afterwards = IReferee.AccountLeaf(address(0), 0, Trees.prove(b.payouts, 0));
        (p.low, p.high) = (edge(b, CONSUMER | 1, 0), edge(b, CONSUMER | 2, 0));
        _refusesPayout(IReferee.ProofInvalid.selector, p);
    }

    // ------------------------------------------------------------------ proveUnevenTree

    function test_ProveUnevenTree_ReceiptsHigherThanTheirCallsNeed() external {
        Batch memory b = draft();
        seal(b);
        bytes32[] memory leaves = new bytes32[](8);
        for (uint256 i; i < 3; ++i) leaves[i] = receiptLeaf(b.receipts[i]);
        b.header.receiptsRoot = Trees.root(leaves);
        uint64 id = post(b.header);
        IReferee.OpenedLeaf memory a = _receipt(b, 1);
        a.proof = Trees.prove(leaves, 1);
        vm.prank(challenger);
        referee.proveUnevenTree(lane, id, b.header, ISettlement.Tree.receipts, a, a);
        fell(id);
    }

    function test_ProveUnevenTree_PayoutsAtTwoDepths() external {
        Batch memory b = draft();
        seal(b);
        uint64 total = uint64(Trees.sumOf(b.header.payoutRoot));
        // one payee at place 1 of two depths: under the left child, and as the right child
        (bytes32 deep, bytes32 flat) = (Trees.leaf(1, 1, payee(1), 1), Trees.leaf(1, 1, payee(1), total - 1));
        bytes32 left = Trees.parent(0, deep);
        b.header.payoutRoot = Trees.parent(left, flat);
        uint64 id = post(b.header);
        IReferee.OpenedLeaf memory x = _account(1, 1, new bytes32[](2));
        x.proof[1] = flat;
        IReferee.OpenedLeaf memory y = _account(1, total - 1, new bytes32[](1));
        y.proof[0] = left;
        vm.prank(challenger);
        referee.proveUnevenTree(lane, id, b.header, ISettlement.Tree.payouts, x, y);
        fell(id);
    }

    function test_RevertWhen_ATreeIsEven_OrALeafIsNotInIt() external {
        Batch memory b = draft();
        uint64 id = send(b);
        (IReferee.OpenedLeaf memory x, IReferee.OpenedLeaf memory y) = (_receipt(b, 0), _receipt(b, 2));
        refuses(IReferee.NotProven.selector);
        referee.proveUnevenTree(lane, id, b.header, ISettlement.Tree.receipts, x, y);
        y.index = 1;
        refuses(IReferee.ProofInvalid.selector);
        referee.proveUnevenTree(lane, id, b.header, ISettlement.Tree.receipts, x, y);
        x = _account(1, earned[1], Trees.prove(b.payouts, 1));
        y = IReferee.OpenedLeaf("", "", 0, Trees.prove(b.payouts, 0));
        refuses(IReferee.NotProven.selector);
        referee.proveUnevenTree(lane, id, b.header, ISettlement.Tree.payouts, x, y);
        (x.preimage, y.proof) = (abi.encodePacked(uint8(2), uint32(1), payee(1), earned[1]), x.proof);
        vm.expectRevert(); // a debit's preimage is no payout's
        referee.proveUnevenTree(lane, id, b.header, ISettlement.Tree.payouts, x, y);
    }

    // ------------------------------------------------------------------ helpers

    function _badRun(Batch memory b, uint32 party) private {
        RunProof memory p = runProof(send(b), b, party);
        vm.prank(challenger);
        proveBadRun(p);
        fell(1);
    }

    function _refusesRun(bytes4 why, RunProof memory p) private {
        refuses(why);
        proveBadRun(p);
    }

    function _unsorted(Batch memory b, uint256 rank) private {
        uint64 id = send(b);
        vm.prank(challenger);
        referee.proveUnsortedLines(lane, id, b.header, rank, lineAt(b, rank), lineAt(b, rank + 1));
        fell(id);
    }

    function _payout(ISettlement.Tree tree, uint32 index) private {
        Batch memory b = draft();
        PayoutProof memory p = _proof(send(b), b, tree, index);
        vm.prank(challenger);
        provePayout(p);
        fell(1);
    }

    function _refusesPayout(bytes4 why, PayoutProof memory p) private {
        refuses(why);
        provePayout(p);
    }

    /// @dev What shows an account of batch `b`, the lane's first.
    function _proof(uint64 id, Batch memory b, ISettlement.Tree tree, uint32 index)
        private
        view
        returns (PayoutProof memory p)
    {
        (p.lane, p.id, p.header, p.tree, p.index) = (lane, id, b.header, tree, index);
        bool payouts = tree == ISettlement.Tree.payouts;
        p.afterwards.cumulative = payouts ? earned[index] : debited[index];
        if (p.afterwards.cumulative != 0) p.afterwards.account = payouts ? payee(index) : consumer(index);
        p.afterwards.proof = Trees.prove(payouts ? b.payouts : b.debits, index);
        uint256 party = payouts ? index : index | CONSUMER;
        (p.low, p.high) = (edge(b, party, 0), edge(b, party + 1, 0));
    }

    function _receipt(Batch memory b, uint256 place) private view returns (IReferee.OpenedLeaf memory) {
        bytes32[] memory proof = Trees.prove(receiptLeaves(b.receipts), place);
        return IReferee.OpenedLeaf(abi.encode(b.receipts[place]), termsOf[b.receipts[place].terms], place, proof);
    }

    function _account(uint32 index, uint64 cumulative, bytes32[] memory proof)
        private
        view
        returns (IReferee.OpenedLeaf memory)
    {
        return IReferee.OpenedLeaf(abi.encodePacked(uint8(1), index, payee(index), cumulative), "", index, proof);
    }

    function _without(Line[] memory lines, uint256 dropped) private pure returns (Line[] memory kept) {
        kept = new Line[](lines.length - 1);
        for (uint256 i; i < kept.length; ++i) kept[i] = lines[i < dropped ? i : i + 1];
    }
}
