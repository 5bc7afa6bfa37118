// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";

/// @dev Debits above deposits, cumulatives that fall, accounts swapped.
contract RefereeAccountsTest is Base {
    function setUp() public override {
        super.setUp();
        spend(1, 1, 100);
        post();
    }

    function test_ProveOverdraft_DebitAboveTheDeposit() external {
        spend(1, 1, DEPOSIT);
        post();
        IReferee.AccountLeaf memory honest = IReferee.AccountLeaf(consumer(2), 0, Trees.prove(debitLeaves(), 2));
        honest.account = address(0);
        refuses(IReferee.NotProven.selector);
        referee.proveOverdraft(lane, 2, last, 2, honest);
        vm.prank(challenger);
        referee.proveOverdraft(
            lane, 2, last, 1, IReferee.AccountLeaf(consumer(1), DEPOSIT + 100, Trees.prove(debitLeaves(), 1))
        );
        eq(settlement.head(lane).next, 2, "void");
    }

    function test_ProveOverdraft_DebitToNoAccount() external {
        bytes32[] memory leaves = debitLeaves();
        leaves[2] = Trees.leaf(2, 2, stranger, 5);
        ISettlement.Header memory h = nextHeader();
        earned[1] += 5;
        h.payoutRoot = Trees.root(payoutLeaves());
        h.debitRoot = Trees.root(leaves);
        h.receiptsRoot = bytes32(uint256(5));
        h.linesRoot = bytes32(uint256(10));
        post(h);
        vm.prank(challenger);
        referee.proveOverdraft(lane, 2, h, 2, IReferee.AccountLeaf(stranger, 5, Trees.prove(leaves, 2)));
        eq(settlement.head(lane).next, 2, "void");
    }

    /// @dev Within the deposit: only the place is wrong, and the account stands at two.
    function test_ProveOverdraft_DebitAtAnothersIndex() external {
        bytes32[] memory leaves = debitLeaves();
        leaves[2] = Trees.leaf(2, 2, consumer(1), 5);
        earned[1] += 5;
        ISettlement.Header memory h = nextHeader();
        h.debitRoot = Trees.root(leaves);
        post(h);
        vm.prank(challenger);
        referee.proveOverdraft(lane, 2, h, 2, IReferee.AccountLeaf(consumer(1), 5, Trees.prove(leaves, 2)));
        eq(settlement.head(lane).next, 2, "void");
    }

    function test_RevertWhen_AnHonestDebitIsAccusedOfOverdraft() external {
        IReferee.AccountLeaf memory leaf = IReferee.AccountLeaf(consumer(1), 100, Trees.prove(debitLeaves(), 1));
        refuses(IReferee.NotProven.selector);
        referee.proveOverdraft(lane, 1, last, 1, leaf);
        leaf.cumulative = 101;
        refuses(IReferee.ProofInvalid.selector);
        referee.proveOverdraft(lane, 1, last, 1, leaf);
    }

    function test_ProveRegression_ACumulativeThatFell() external {
        ISettlement.Header memory before = last;
        bytes32[] memory proofBefore = Trees.prove(payoutLeaves(), 1);
        earned[1] = 40;
        earned[2] = 60; // the total hides it
        post();
        IReferee.AccountLeaf memory was = IReferee.AccountLeaf(payee(1), 100, proofBefore);
        IReferee.AccountLeaf memory isNow = IReferee.AccountLeaf(payee(1), 40, Trees.prove(payoutLeaves(), 1));
        vm.prank(challenger);
        referee.proveRegression(lane, 2, last, before, ISettlement.Tree.payouts, 1, was, isNow);
        eq(settlement.head(lane).next, 2, "void");
    }

    function test_ProveWrongPayee_APayeeSwapped() external {
        bytes32[] memory leaves = payoutLeaves();
        leaves[2] = Trees.leaf(1, 2, stranger, 5);
        ISettlement.Header memory h = nextHeader();
        debited[1] += 5;
        h.payoutRoot = Trees.root(leaves);
        h.debitRoot = Trees.root(debitLeaves());
        h.receiptsRoot = bytes32(uint256(5));
        h.linesRoot = bytes32(uint256(10));
        post(h);
        IReferee.AccountLeaf memory good = IReferee.AccountLeaf(payee(1), 100, Trees.prove(leaves, 1));
        refuses(IReferee.NotProven.selector);
        referee.proveWrongPayee(lane, 2, h, 1, good);
        vm.prank(challenger);
        referee.proveWrongPayee(lane, 2, h, 2, IReferee.AccountLeaf(stranger, 5, Trees.prove(leaves, 2)));
        eq(settlement.head(lane).next, 2, "void");
    }

    function test_ProveRegression_AnAccountSwapped() external {
        (IReferee.AccountLeaf memory was, ISettlement.Header memory before) = (_payee(1), last);
        bytes32[] memory leaves = payoutLeaves();
        leaves[1] = Trees.leaf(1, 1, stranger, 100);
        ISettlement.Header memory h = nextHeader();
        h.payoutRoot = Trees.root(leaves);
        post(h);
        IReferee.AccountLeaf memory isNow = IReferee.AccountLeaf(stranger, 100, Trees.prove(leaves, 1));
        vm.prank(challenger);
        referee.proveRegression(lane, 2, h, before, ISettlement.Tree.payouts, 1, was, isNow);
        eq(settlement.head(lane).next, 2, "void");
    }

    function test_RevertWhen_ACumulativeGrew_OrAnotherBatchIsShown() external {
        (IReferee.AccountLeaf memory was, ISettlement.Header memory before) = (_payee(1), last);
        spend(2, 1, 7);
        post();
        IReferee.AccountLeaf memory isNow = _payee(1);
        refuses(IReferee.NotProven.selector);
        referee.proveRegression(lane, 2, last, before, ISettlement.Tree.payouts, 1, was, isNow);
        refuses(IReferee.PreviousHeaderWrong.selector);
        referee.proveRegression(lane, 2, last, last, ISettlement.Tree.payouts, 1, was, isNow);
        refuses(IReferee.ProofInvalid.selector);
        referee.proveRegression(lane, 2, last, before, ISettlement.Tree.payouts, 1, isNow, was);
        refuses(IReferee.ProofInvalid.selector);
        referee.proveRegression(lane, 2, last, before, ISettlement.Tree.lines, 1, was, isNow);
    }

    function _payee(uint256 i) private view returns (IReferee.AccountLeaf memory) {
        return IReferee.AccountLeaf(payee(i), earned[i], Trees.prove(payoutLeaves(), i));
    }
}
