// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";

/// @dev A sum that lies, and what happens when a batch falls.
contract FallsTest is Base {
    function setUp() public override {
        super.setUp();
        spend(1, 1, 100);
        post();
    }

    // ------------------------------------------------------------------ sums

    function test_RevertWhen_AnHonestSumIsAccused() external {
        bytes32[] memory leaves = payoutLeaves();
        bytes32 left = Trees.parent(Trees.parent(leaves[0], leaves[1]), Trees.parent(leaves[2], leaves[3]));
        bytes32 right = Trees.prove(leaves, 0)[2];
        refuses(ISettlement.NotProven.selector);
        _accuse(1, last, left, right);
    }

    function test_ProveBadSum_VoidsABatchWhoseInteriorSumLies() external {
        (ISettlement.Header memory h, bytes32 left, bytes32 right) = _lyingRoot();
        post(h);
        vm.prank(challenger);
        _accuse(2, h, left, right);
        eq(settlement.head(lane).next, 2, "void");
        eq(token.balanceOf(challenger), BOND / 2, "reward");
    }

    // ------------------------------------------------------------------ after a fall

    function test_AVoidBatch_RollsBack_RefundsLaterChallenges_AndTheLaneGoesOn() external {
        (ISettlement.Header memory bad, bytes32 left, bytes32 right) = _lyingRoot();
        ISettlement.Header memory good = last;
        post(bad);
        ISettlement.Header memory later = abi.decode(abi.encode(bad), (ISettlement.Header));
        later.prev = keccak256(abi.encode(bad));
        later.receiptsRoot = 0;
        later.linesRoot = 0;
        later.firstCall = 2;
        post(later);
        bytes32[] memory none = new bytes32[](0);
        vm.prank(challenger);
        settlement.demandNode{value: FEE}(lane, 3, later, ISettlement.Tree.debits, later.debitRoot, 0, none);
        bytes32 key = keccak256(abi.encode(ISettlement.Tree.debits, later.debitRoot, uint256(0), uint256(0)));
        bytes24 hash = bytes24(keccak256(abi.encode(later)));
        refuses(ISettlement.BatchesPending.selector);
        settlement.refund(lane, 3, hash, key);
        vm.prank(stranger);
        _accuse(2, bad, left, right);
        eq(settlement.head(lane).next, 2, "two are void");
        uint256 before = challenger.balance;
        settlement.refund(lane, 3, hash, key);
        eq(challenger.balance - before, FEE, "refunded");
        refuses(ISettlement.ChallengeUnknown.selector);
        settlement.refund(lane, 3, hash, key);
        // the operator bonds again and goes on from the last good batch
        token.transfer(operator, MIN_BOND);
        vm.startPrank(operator);
        settlement.addBond(lane, MIN_BOND);
        settlement.setActive(lane, true);
        vm.stopPrank();
        last = good;
        earned[1] = 100;
        debited[1] = 100;
        spend(2, 2, 9);
        eq(post(), 2, "the same id again");
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, good);
        settlement.finalize(lane, 2, last);
        eq(settlement.claim(lane, 2, payee(2), 9, Trees.prove(payoutLeaves(), 2)), 9, "paid");
    }

    function test_AnOperatorThatAccusesItselfLosesHalf() external {
        (ISettlement.Header memory h, bytes32 left, bytes32 right) = _lyingRoot();
        post(h);
        vm.prank(operator);
        _accuse(2, h, left, right);
        eq(token.balanceOf(operator), BOND / 2, "half is gone");
        eq(settlement.lanes(lane).insurance, BOND - BOND / 2, "to insurance");
    }

    function test_RevertWhen_AFinalOrUnknownBatchIsAccused() external {
        (ISettlement.Header memory h, bytes32 left, bytes32 right) = _lyingRoot();
        post(h);
        ISettlement.Header memory forged = h;
        forged.epoch = 1;
        refuses(ISettlement.HeaderUnknown.selector);
        _accuse(2, forged, left, right);
        h.epoch = 0;
        refuses(ISettlement.HeaderUnknown.selector);
        _accuse(3, h, left, right);
        vm.warp(block.timestamp + WINDOW);
        refuses(ISettlement.WindowClosed.selector);
        _accuse(2, h, left, right);
    }

    function test_RevertWhen_ConvictOrPunishIsCalledByAnybodyButTheReferee() external {
        refuses(ISettlement.NotReferee.selector);
        settlement.convict(lane, 1, last, stranger);
        refuses(ISettlement.NotReferee.selector);
        settlement.punish(lane, stranger);
    }


    // ------------------------------------------------------------------ helpers

    function _accuse(uint64 id, ISettlement.Header memory h, bytes32 left, bytes32 right) private {
        settlement.proveBadSum(
            lane, id, h, ISettlement.Tree.payouts, h.payoutRoot, left, right, 0, new bytes32[](0)
        );
    }

    /// @dev A header whose payout root says 50 more than its children: they would let payees claim too little, or too much.
    function _lyingRoot() private returns (ISettlement.Header memory h, bytes32 left, bytes32 right) {
        bytes32[] memory leaves = payoutLeaves();
        left = Trees.parent(Trees.parent(leaves[0], leaves[1]), Trees.parent(leaves[2], leaves[3]));
        right = Trees.prove(leaves, 0)[2];
        h = nextHeader();
        h.payoutRoot = Trees.mark(keccak256(abi.encodePacked(left, right)), 150);
        debited[1] += 50;
        h.debitRoot = Trees.root(debitLeaves());
        debited[1] -= 50;
        h.receiptsRoot = bytes32(uint256(50));
        h.linesRoot = bytes32(uint256(100));
    }

    receive() external payable {}
}
