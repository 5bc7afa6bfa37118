// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";

/// @dev Questions, answers, timeouts.
contract ChallengesTest is Base {
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

    function _answer(bytes memory signature, uint64 cumMax) private {
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, cumMax, signature);
        eq(settlement.posted(lane, 1).open, 0, "answered");
    }

    function _refusesAnswer(bytes memory signature) private {
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.answerDebit(lane, 1, 1, consumer(1), 100, 100, signature);
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
