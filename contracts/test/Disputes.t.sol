// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../src/interfaces/IReferee.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Base} from "./Base.sol";
import {Trees} from "./Trees.sol";

/// @dev The dispute game of Settlement: questions, answers, timeouts, conviction, rollback. The Referee's proofs are
/// performed on real batches by tests/chain/test_disputes.py.
contract DisputesTest is Base {
    function setUp() public override {
        super.setUp();
        spend(1, 1, 100);
        post();
    }

    // ------------------------------------------------------------------ debits

    function test_AnswerDebit_ByTheAccountsVoucher_PaysTheAnswerer() external {
        _challenge(1);
        eq(settlement.posted(lane, 1).open, 1, "open");
        bytes memory signature = voucher(consumerKey(1), lane, consumer(1), 100);
        vm.prank(stranger);
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, 100, signature);
        eq(settlement.posted(lane, 1).open, 0, "answered");
        eq(stranger.balance, FEE, "fee");
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, last);
    }

    function test_AnswerDebit_BySessionKey_AlsoOneRevokedSince() external {
        vm.startPrank(consumer(1));
        settlement.setSessionKey(vm.addr(77), true);
        settlement.setSessionKey(vm.addr(77), false);
        vm.stopPrank();
        _challenge(1);
        _answer(voucher(77, lane, consumer(1), 150), 150);
    }

    function test_AnswerDebit_ByAContractsVoucher() external {
        Wallet wallet = new Wallet(vm.addr(88));
        depositFor(address(wallet), 500);
        debited.push(40);
        earned[2] += 40;
        bytes32[] memory leaves = debitLeaves();
        leaves[4] = Trees.leaf(2, 4, address(wallet), 40);
        ISettlement.Header memory h = nextHeader();
        h.debitRoot = Trees.root(leaves);
        post(h);
        vm.prank(challenger);
        settlement.challengeDebit{value: FEE}(lane, 2, h, 4, address(wallet), 40, Trees.prove(leaves, 4));
        settlement.answerDebit(lane, 2, 4, address(wallet), 40, 40, voucher(88, lane, address(wallet), 40));
        eq(settlement.posted(lane, 2).open, 0, "answered");
    }

    function test_RevertWhen_AVoucherIsTooSmallOrFromElsewhereOrRespelled() external {
        _challenge(1);
        bytes memory good = voucher(consumerKey(1), lane, consumer(1), 100);
        refuses(ISettlement.VoucherTooSmall.selector);
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, 99, good);
        _refusesAnswer(voucher(consumerKey(1), lane + 1, consumer(1), 100)); // another lane's
        _refusesAnswer(voucher(consumerKey(2), lane, consumer(1), 100)); // another's
        _refusesAnswer(highS(good));
        _refusesAnswer(short(good));
        _refusesAnswer("");
        vm.chainId(999);
        _refusesAnswer(good); // another chain's
        bytes memory there = voucher(consumerKey(1), lane, consumer(1), 100);
        vm.chainId(31337);
        _refusesAnswer(there);
        ISettlement here = settlement;
        address coin = address(token);
        deployAround(coin);
        bytes memory elsewhere = voucher(consumerKey(1), lane, consumer(1), 100);
        settlement = here;
        _refusesAnswer(elsewhere); // another contract's
        _answer(good, 100);
    }

    function test_Timeout_VoidsRewardsAndRefunds_DebitAboveTheVoucher() external {
        bytes32 key = _challenge(1);
        vm.warp(block.timestamp + ANSWER);
        refuses(ISettlement.TooEarly.selector);
        settlement.timeout(lane, 1, last, key);
        vm.warp(block.timestamp + 1);
        bytes memory late = voucher(consumerKey(1), lane, consumer(1), 100);
        refuses(ISettlement.DeadlinePassed.selector);
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, 100, late);
        uint256 before = challenger.balance;
        settlement.timeout(lane, 1, last, key);
        eq(token.balanceOf(challenger), BOND / 2, "half the bond");
        eq(settlement.lanes(lane).insurance, BOND - BOND / 2, "half to insurance");
        eq(settlement.lanes(lane).bond, 0, "slashed");
        vm.assertFalse(settlement.lanes(lane).active, "stopped");
        eq(challenger.balance - before, FEE, "refunded");
        eq(settlement.head(lane).next, 1, "rolled back");
        eq(settlement.head(lane).cumulative, 0, "to the last good total");
        refuses(ISettlement.HeaderUnknown.selector);
        settlement.timeout(lane, 1, last, key);
        refuses(ISettlement.ChallengeUnknown.selector);
        settlement.refund(lane, 1, bytes24(keccak256(abi.encode(last))), key);
    }

    function test_ChallengeSpam_CostsTheFeeEachTime_AndStopsWithTheWindow() external {
        bytes32[] memory proof = Trees.prove(debitLeaves(), 1);
        vm.startPrank(challenger);
        refuses(ISettlement.FeeWrong.selector);
        settlement.challengeDebit(lane, 1, last, 1, consumer(1), 100, proof);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.challengeDebit{value: FEE}(lane, 1, last, 1, consumer(1), 101, proof);
        settlement.challengeDebit{value: FEE}(lane, 1, last, 1, consumer(1), 100, proof);
        refuses(ISettlement.ChallengeExists.selector);
        settlement.challengeDebit{value: FEE}(lane, 1, last, 1, consumer(1), 100, proof);
        vm.stopPrank();
        _answer(voucher(consumerKey(1), lane, consumer(1), 100), 100);
        vm.startPrank(challenger);
        settlement.challengeDebit{value: FEE}(lane, 1, last, 1, consumer(1), 100, proof); // again: the fee again
        vm.warp(block.timestamp + WINDOW);
        refuses(ISettlement.WindowClosed.selector);
        settlement.challengeDebit{value: FEE}(lane, 1, last, 1, consumer(1), 100, proof);
        vm.stopPrank();
    }

    function test_C4_RevertWhen_ABatchWithAnOpenChallengeIsFinalized() external {
        _challenge(1);
        vm.warp(block.timestamp + WINDOW);
        refuses(ISettlement.ChallengesOpen.selector);
        settlement.finalize(lane, 1, last);
        ISettlement.Header memory first = last;
        ISettlement.Header memory h = nextHeader();
        vm.prank(operator);
        settlement.commit(lane, h, 1, first); // passed over, not reverted
        eq(settlement.head(lane).finalized, 0, "not final");
    }

    // ------------------------------------------------------------------ nodes

    function test_DemandNode_AnInnerNodeOpensToItsChildren() external {
        bytes32[] memory leaves = payoutLeaves();
        bytes32 root = last.payoutRoot;
        _demand(root, 0, new bytes32[](0));
        bytes32 right = Trees.prove(leaves, 0)[2];
        bytes32 left = Trees.parent(Trees.parent(leaves[0], leaves[1]), Trees.parent(leaves[2], leaves[3]));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.answerNode(lane, 1, ISettlement.Tree.payouts, root, 0, 0, right, left);
        settlement.answerNode(lane, 1, ISettlement.Tree.payouts, root, 0, 0, left, right);
        eq(settlement.posted(lane, 1).open, 0, "answered");
    }

    function test_DemandNode_ALeafOpensToItsPreimage() external {
        bytes32[] memory leaves = payoutLeaves();
        _demand(leaves[1], 1, Trees.prove(leaves, 1));
        bytes memory preimage = abi.encodePacked(uint8(1), uint32(2), payee(1), uint64(100));
        vm.expectRevert(); // another place's
        settlement.answerLeaf(lane, 1, ISettlement.Tree.payouts, leaves[1], 1, 3, preimage, "");
        preimage = abi.encodePacked(uint8(1), uint32(1), payee(1), uint64(100));
        settlement.answerLeaf(lane, 1, ISettlement.Tree.payouts, leaves[1], 1, 3, preimage, "");
        eq(settlement.posted(lane, 1).open, 0, "answered");
    }

    function test_RevertWhen_AnEmptyLeafIsDemanded() external {
        bytes32[] memory proof = Trees.prove(payoutLeaves(), 0);
        ISettlement.Header memory h = last;
        vm.prank(challenger);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.demandNode{value: FEE}(lane, 1, h, ISettlement.Tree.payouts, 0, 0, proof);
    }

    function test_ALeafNobodyCanOpen_VoidsItsBatch() external {
        ISettlement.Header memory h = nextHeader();
        h.receiptsRoot = bytes32(uint256(uint192(uint256(keccak256("withheld")))) << 64 | 7);
        h.linesRoot = bytes32(uint256(14));
        debited[1] += 7;
        earned[1] += 7;
        h.payoutRoot = Trees.root(payoutLeaves());
        h.debitRoot = Trees.root(debitLeaves());
        post(h);
        vm.prank(challenger);
        settlement.demandNode{value: FEE}(lane, 2, h, ISettlement.Tree.receipts, h.receiptsRoot, 0, new bytes32[](0));
        vm.expectRevert();
        settlement.answerLeaf(lane, 2, ISettlement.Tree.receipts, h.receiptsRoot, 0, 0, new bytes(672), "");
        vm.warp(block.timestamp + ANSWER + 1);
        bytes32 key = keccak256(abi.encode(ISettlement.Tree.receipts, h.receiptsRoot, uint256(0), uint256(0)));
        settlement.timeout(lane, 2, h, key);
        eq(settlement.head(lane).next, 2, "void");
        eq(settlement.head(lane).cumulative, 100, "the batch before stands");
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

    // ------------------------------------------------------------------ the Referee, on bare trees

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

    function test_ProveOverdraft_DebitToNoAccountOrAtAnothersIndex() external {
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

    function test_RevertWhen_AnHonestDebitIsAccusedOfOverdraft() external {
        IReferee.AccountLeaf memory leaf = IReferee.AccountLeaf(consumer(1), 100, Trees.prove(debitLeaves(), 1));
        refuses(IReferee.NotProven.selector);
        referee.proveOverdraft(lane, 1, last, 1, leaf);
        leaf.cumulative = 101;
        refuses(IReferee.ProofInvalid.selector);
        referee.proveOverdraft(lane, 1, last, 1, leaf);
    }

    function test_ProveRegression_ACumulativeThatFell_AndAPayeeSwapped() external {
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

    // ------------------------------------------------------------------ helpers

    function _challenge(uint32 index) private returns (bytes32) {
        bytes32[] memory proof = Trees.prove(debitLeaves(), index);
        uint64 cumulative = debited[index];
        vm.prank(challenger);
        settlement.challengeDebit{value: FEE}(lane, 1, last, index, consumer(index), cumulative, proof);
        return keccak256(abi.encode(index, consumer(index), cumulative));
    }

    function _demand(bytes32 node, uint256 index, bytes32[] memory proof) private {
        ISettlement.Header memory h = last;
        vm.prank(challenger);
        settlement.demandNode{value: FEE}(lane, 1, h, ISettlement.Tree.payouts, node, index, proof);
    }

    function _accuse(uint64 id, ISettlement.Header memory h, bytes32 left, bytes32 right) private {
        settlement.proveBadSum(
            lane, id, h, ISettlement.Tree.payouts, h.payoutRoot, left, right, 0, new bytes32[](0)
        );
    }

    function _answer(bytes memory signature, uint64 cumMax) private {
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, cumMax, signature);
        eq(settlement.posted(lane, 1).open, 0, "answered");
    }

    function _refusesAnswer(bytes memory signature) private {
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, 100, signature);
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

/// @dev A contract account that signs with a key (ERC-1271).
contract Wallet {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        return ecrecover(digest, uint8(signature[64]), r, s) == _owner ? bytes4(0x1626ba7e) : bytes4(0);
    }
}
