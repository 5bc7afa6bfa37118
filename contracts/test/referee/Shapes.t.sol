// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Calls} from "../Calls.sol";
import {Trees} from "../Trees.sol";

/// @dev Lines out of order or of nobody, trees whose leaves are not all at one depth.
contract RefereeShapesTest is Calls {
    function setUp() public override {
        super.setUp();
        serve(1);
        serve(2);
        serve(1);
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

    function _unsorted(Batch memory b, uint256 rank) private {
        uint64 id = send(b);
        vm.prank(challenger);
        referee.proveUnsortedLines(lane, id, b.header, rank, lineAt(b, rank), lineAt(b, rank + 1));
        fell(id);
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
}
