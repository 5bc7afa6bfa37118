// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../src/Headers.sol";
import {IMaker} from "../src/interfaces/IMaker.sol";
import {IQuestions} from "../src/interfaces/IQuestions.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Unit} from "../src/Meters.sol";
import {Receipt, Receipts} from "../src/Receipt.sol";
import {DollarToken} from "./Tokens.sol";
import {Base} from "./Base.sol";
import {TestMaker} from "./Judges.sol";
import {PlainReceipts} from "./PlainReceipts.sol";
import {Sparse, Trees} from "./Trees.sol";
import {Wallet} from "./World.sol";

/// @dev Questions about pending batches and final trees, their answers, and what becomes of the fees.
contract QuestionsTest is Base {
    using Trees for Sparse;

    uint256 private constant FLOOR = 0.001 ether;
    uint256 private constant SESSION_KEY = 77;

    IQuestions private questions;
    uint256 private _dataFee;
    Header private _void;

    function setUp() public override {
        super.setUp();
        questions = IQuestions(settlement.questions());
        vm.deal(challenger, 1000 ether);
        vm.deal(operator, 1000 ether);
    }

    function makers() internal override returns (IMaker[3] memory m, bytes[3] memory arguments) {
        m[0] = makerOf("Questions");
        m[1] = m[2] = IMaker(address(new TestMaker()));
        arguments[0] = abi.encode(FLOOR, _dataFee);
    }

    // ------------------------------------------------------------------ asking: where and when

    function test_RevertWhen_APlaceIsNotInTheTree() external {
        _postReceipts(_someWords(9, 0, 40), 1);
        vm.startPrank(challenger);
        refuses(IQuestions.PlaceUnknown.selector);
        questions.askWords{value: FLOOR}(lane, 1, last, Tree.receipts, 10, 0); // below the leaves
        refuses(IQuestions.PlaceUnknown.selector);
        questions.askWords{value: FLOOR}(lane, 1, last, Tree.receipts, 3, 8); // beyond the level's width
        refuses(IQuestions.PlaceUnknown.selector);
        questions.askReceipt{value: FLOOR}(lane, 1, last, 1); // of one call
        refuses(IQuestions.PlaceUnknown.selector);
        questions.askFinal{value: FLOOR}(lane, Tree.payouts, 1); // nothing is final
        refuses(IQuestions.TreeUnfit.selector);
        questions.askFinal{value: FLOOR}(lane, Tree.lines, 0);
        refuses(IQuestions.LaneStopped.selector);
        questions.askFinal{value: FLOOR}(address(0xdead), Tree.payouts, 0); // no lane
        vm.stopPrank();
    }

    function test_RevertWhen_ABatchIsUnknownFallenFinalOrAnothers() external {
        spendAndPost(100);
        Header memory h = last;
        vm.startPrank(challenger);
        refuses(ISettlement.HeaderUnknown.selector);
        questions.askReceipt{value: FLOOR}(lane, 2, h, 0);
        refuses(ISettlement.HeaderUnknown.selector);
        questions.askReceipt{value: FLOOR}(lane, 0, h, 0); // 0 names final trees, by no header
        h.dataRef = bytes32(uint256(1));
        refuses(ISettlement.HeaderUnknown.selector);
        questions.askReceipt{value: FLOOR}(lane, 1, h, 0);
        h = last;
        refuses(ISettlement.HeaderUnknown.selector);
        questions.askReceipt{value: FLOOR}(address(0xdead), 1, h, 0);
        vm.stopPrank();
        convict(1);
        vm.prank(challenger);
        refuses(ISettlement.HeaderUnknown.selector);
        questions.askReceipt{value: FLOOR}(lane, 1, h, 0);
        rise();
        settle();
        h = last;
        vm.prank(challenger);
        refuses(ISettlement.HeaderUnknown.selector);
        questions.askReceipt{value: FLOOR}(lane, 1, h, 0);
    }

    function test_AQuestionAtTheLastSecondStillLeavesTimeToProve() external {
        spendAndPost(100);
        uint256 until = settlement.batches(lane, 1).until;
        vm.warp(until - 2 * ANSWER);
        bytes32 subject = _askReceipt(0);
        vm.warp(until - 2 * ANSWER + 1);
        vm.prank(challenger);
        refuses(ISettlement.WindowClosed.selector);
        questions.askWords{value: FLOOR}(lane, 1, last, Tree.payouts, 0, 0);
        vm.warp(until - ANSWER);
        refuses(IQuestions.TooEarly.selector);
        questions.close(lane, 1, idOf(last), subject);
        vm.warp(until - ANSWER + 1);
        questions.close(lane, 1, idOf(last), subject);
        eq(settlement.heads(lane).next, 1, "fell");
    }

    function test_RevertWhen_TheSameQuestionIsOpen() external {
        spendAndPost(100);
        _askWords(Tree.payouts, 0, 0);
        vm.prank(operator);
        refuses(IQuestions.QuestionOpen.selector);
        questions.askWords{value: FLOOR}(lane, 1, last, Tree.payouts, 0, 0);
        eq(settlement.batches(lane, 1).open, 1, "asked once");
        _askWords(Tree.debits, 0, 0); // another tree
        _askWords(Tree.payouts, 1, 0); // another node
        _askReceipt(0); // another kind
        eq(settlement.batches(lane, 1).open, 4, "each its own");
    }

    function test_AnsweredAndAskedAgain_ItCostsAgain() external {
        spendAndPost(100);
        for (uint256 i; i < 2; ++i) {
            _askWords(Tree.payouts, 0, 0);
            _answerWords(payouts(), Tree.payouts, 0, 0);
        }
        eq(challenger.balance, 1000 ether - 2 * FLOOR, "two fees");
        eq(settlement.batches(lane, 1).open, 0, "none open");
    }

    // ------------------------------------------------------------------ words

    function testFuzz_AnyNodeOpensToTheWordsBelowIt(uint256 height, uint256 depth, uint256 position, uint256 seed)
        external
    {
        height %= 13;
        depth %= height + 1;
        position %= 1 << depth;
        Sparse memory t = _someWords(height, seed, 1 + seed % 6);
        _postReceipts(t, 1);
        _askWords(Tree.receipts, depth, position);
        _answerWords(t, Tree.receipts, depth, position);
        eq(settlement.batches(lane, 1).open, 0, "answered");
    }

    function test_Words_AreReadableHoweverTheyWereSent() external {
        spendAndPost(100);
        _askWords(Tree.payouts, 0, 0);
        Wallet wallet = new Wallet(stranger);
        Sparse memory p = payouts();
        bytes32[] memory words = _wordsOf(p, 0, 0);
        bytes32[] memory path = new bytes32[](0);
        bytes memory call_ = abi.encodeCall(questions.answerWords, (lane, 1, last, Tree.payouts, 0, 0, words, path));
        bytes32 question = questions.questionOf(lane, 1, idOf(last), questions.subjectOfWords(Tree.payouts, 0, 0));
        vm.expectEmit(address(questions));
        emit IQuestions.WordsShown(question, words, path);
        wallet.call(address(questions), call_);
    }

    function test_RevertWhen_WordsOrTheirPathAreNotTheTrees() external {
        Sparse memory t = _someWords(12, 3, 6);
        _postReceipts(t, 1);
        _askWords(Tree.receipts, 2, 1);
        bytes32[] memory words = _wordsOf(t, 2, 1);
        bytes32[] memory path = t.proveNode(2, 1);
        _refusesWords(2, 1, _cut(words, 255), path, IQuestions.WordCountWrong.selector);
        _refusesWords(2, 1, _cut(words, 257), path, IQuestions.WordCountWrong.selector);
        _refusesWords(2, 1, words, _cut(path, 1), IQuestions.ProofInvalid.selector);
        _refusesWords(2, 1, words, _cut(path, 3), IQuestions.ProofInvalid.selector);
        _refusesWords(2, 1, _wordsOf(t, 2, 2), t.proveNode(2, 2), IQuestions.ProofInvalid.selector); // a neighbour's
        words[255] = bytes32(uint256(words[255]) ^ 1);
        _refusesWords(2, 1, words, path, IQuestions.ProofInvalid.selector);
        // nor is the node at the same position of another level
        _refusesWords(2, 1, _wordsOf(t, 3, 1), t.proveNode(3, 1), IQuestions.ProofInvalid.selector);
        // nearer words are not those that were asked for
        _refusesWords(2, 1, _wordsOf(t, 10, 4), t.proveNode(10, 4), IQuestions.WordCountWrong.selector);
    }

    /// @dev A liar's tree holds the zero word where a node should be. Words whose sums overflow have no node, and "no
    /// node" is zero too: they must not open it.
    function test_RevertWhen_SumsPass64BitsBelowAZeroWord() external {
        Sparse memory t = _someWords(1, 3, 2);
        t.words[0] = 0; // the left half of ten levels
        _postReceipts(t, 1);
        Header memory h = last;
        h.heights = h.heights | 9; // 1 + 8 levels
        convict(1);
        rise();
        (h.era, h.closedAt) = (settlement.lanes(lane).era, uint40(block.timestamp));
        post(h);
        _askWords(Tree.receipts, 1, 0);
        bytes32[] memory words = new bytes32[](256);
        (words[0], words[1]) = (bytes32(uint256(type(uint64).max)), bytes32(uint256(1)));
        bytes32[] memory path = new bytes32[](1);
        path[0] = t.words[1];
        _refusesWords(1, 0, words, path, IQuestions.ProofInvalid.selector);
        words[1] = 0; // and honest zeros have a node that is not zero
        words[0] = 0;
        _refusesWords(1, 0, words, path, IQuestions.ProofInvalid.selector);
        vm.warp(block.timestamp + ANSWER + 1);
        questions.close(lane, 1, idOf(h), questions.subjectOfWords(Tree.receipts, 1, 0));
        eq(settlement.books(lane).bond, 0, "a wrong sum has no path");
    }

    // ------------------------------------------------------------------ receipts

    function test_Receipt_WithItsTermsAndPath() external {
        (Receipt memory r, bytes memory terms) = _largestReceipt();
        Sparse memory t = _treeOf(r, 24, 5);
        _postReceipts(t, 9);
        _askReceipt(5);
        bytes memory record = PlainReceipts.encode(r);
        bytes32[] memory path = t.prove(5);
        refuses(IQuestions.TermsWrong.selector);
        questions.answerReceipt(lane, 1, last, 5, record, bytes.concat(terms, hex"00"), path);
        terms[7] = 0;
        refuses(IQuestions.TermsWrong.selector);
        questions.answerReceipt(lane, 1, last, 5, record, terms, path);
        terms[7] = 0xff;
        refuses(IQuestions.ProofInvalid.selector);
        questions.answerReceipt(lane, 1, last, 5, record, terms, _cut(path, 23));
        refuses(Receipts.RecordMalformed.selector);
        questions.answerReceipt(lane, 1, last, 5, bytes.concat(record, hex"00"), terms, path);
        ++r.charge;
        refuses(IQuestions.ProofInvalid.selector);
        questions.answerReceipt(lane, 1, last, 5, PlainReceipts.encode(r), terms, path);
        vm.assertFalse(questions.answerReceipt(lane, 1, last, 4, record, terms, path), "not asked");
        vm.assertTrue(questions.answerReceipt(lane, 1, last, 5, record, terms, path), "answered");
        eq(settlement.batches(lane, 1).open, 0, "answered");
    }

    function test_Receipt_AnEmptyPlaceIsShownByItsPath() external {
        (Receipt memory r,) = _largestReceipt();
        Sparse memory t = _treeOf(r, 4, 5);
        _postReceipts(t, 9);
        _askReceipt(4);
        _askReceipt(5);
        bytes32[] memory path = t.prove(4);
        refuses(IQuestions.TermsWrong.selector);
        questions.answerReceipt(lane, 1, last, 4, "", "x", path);
        vm.assertTrue(questions.answerReceipt(lane, 1, last, 4, "", "", path), "empty");
        path = t.prove(5);
        refuses(IQuestions.ProofInvalid.selector);
        questions.answerReceipt(lane, 1, last, 5, "", "", path); // this one is not
    }

    function test_RevertWhen_TermsAreLongerThanLawful() external {
        (Receipt memory r, bytes memory terms) = _largestReceipt();
        terms = bytes.concat(terms, hex"00");
        r.terms = keccak256(terms);
        Sparse memory t = _treeOf(r, 4, 0);
        _postReceipts(t, 1);
        _askReceipt(0);
        bytes32[] memory path = t.prove(0);
        refuses(IQuestions.TermsWrong.selector);
        questions.answerReceipt(lane, 1, last, 0, PlainReceipts.encode(r), terms, path);
    }

    // ------------------------------------------------------------------ mandates

    function test_Mandate_ByTheAccountsVoucher() external {
        _postDebit(100);
        _askMandate(1, 100);
        _refusesVoucher(100, voucher(consumerKey(2), lane, consumer(1), 100)); // another's key
        _refusesVoucher(100, voucher(consumerKey(1), address(0xdead), consumer(1), 100)); // another lane's
        _refusesVoucher(100, voucher(consumerKey(1), lane, consumer(1), 99)); // another amount
        _refusesVoucher(100, highS(voucher(consumerKey(1), lane, consumer(1), 100)));
        _refusesVoucher(100, "");
        bytes memory small = voucher(consumerKey(1), lane, consumer(1), 99);
        refuses(IQuestions.MandateTooSmall.selector);
        questions.answerMandate(lane, 1, last, _debit(1, 100), 99, small);
        small = voucher(consumerKey(1), lane, consumer(1), 101);
        vm.assertFalse(questions.answerMandate(lane, 1, last, _debit(1, 101), 101, small), "not asked");
        eq(settlement.batches(lane, 1).open, 1, "still open");
        refuses(IQuestions.MandateTooSmall.selector);
        questions.answerMandate(lane, 1, last, _debit(1, 100), 0, "");
        _answerMandate(100, voucher(consumerKey(1), lane, consumer(1), 150), 150);
    }

    function test_Mandate_AContractsWordIsNone() external {
        Wallet wallet = new Wallet(vm.addr(88));
        depositFor(address(wallet), 500);
        Sparse memory d = debits();
        earned[1] += 40;
        bytes32[] memory leaves = new bytes32[](5);
        leaves[4] = Trees.debitLeaf(lane, 4, address(wallet), 40);
        d = Trees.dense(leaves);
        post(headerOver(payouts(), d));
        IQuestions.Debit memory debit = IQuestions.Debit(4, address(wallet), 40);
        _sendMandate(1, debit, d.prove(4), 0, new bytes32[](0));
        bytes memory signature = voucher(88, lane, address(wallet), 40);
        refuses(IQuestions.SignatureInvalid.selector);
        questions.answerMandate(lane, 1, last, debit, 40, signature);
        wallet.call(address(keys), abi.encodeCall(keys.setSessionKey, (vm.addr(88))));
        vm.assertTrue(questions.answerMandate(lane, 1, last, debit, 40, signature), "by its key");
    }

    function test_Mandate_AKeyCountsForWhatWasClosedBeforeItsRevocationAndNotice() external {
        vm.startPrank(consumer(1));
        keys.setSessionKey(vm.addr(SESSION_KEY));
        keys.revokeSessionKey(vm.addr(SESSION_KEY));
        vm.stopPrank();
        vm.warp(block.timestamp + SESSION_NOTICE - 1);
        _postDebit(100);
        vm.warp(block.timestamp + 1 hours);
        _askMandate(1, 100);
        _answerMandate(100, voucher(SESSION_KEY, lane, consumer(1), 100), 100);
        _postDebit(50);
        _askMandate(2, 150);
        bytes memory late = voucher(SESSION_KEY, lane, consumer(1), 150);
        refuses(IQuestions.SignatureInvalid.selector);
        questions.answerMandate(lane, 2, last, _debit(1, 150), 150, late);
    }

    function test_RevertWhen_ADebitDidNotGrow() external {
        _postDebit(100);
        spend(2, 1, 10);
        _void = last;
        post();
        bytes32 before = Trees.debitLeaf(lane, 1, consumer(1), 100);
        bytes32[] memory none = new bytes32[](0);
        bytes32[] memory path = debits().prove(1);
        bytes32[] memory beforePath = _debitsWere(100, 0).prove(1);
        _refusesMandate(IQuestions.NotGrown.selector, _debit(1, 100), path, before, beforePath);
        _refusesMandate(IQuestions.ProofInvalid.selector, _debit(1, 100), path, 0, none); // "there was none"
        _refusesMandate(IQuestions.ProofInvalid.selector, _debit(1, 100), path, 0, beforePath);
        _refusesMandate(IQuestions.ProofInvalid.selector, _debit(1, 101), path, before, beforePath); // another amount
        IQuestions.Debit memory other = IQuestions.Debit(1, consumer(2), 100);
        _refusesMandate(IQuestions.ProofInvalid.selector, other, path, before, beforePath); // another account
        // consumer 2 grew, from the zero word
        path = debits().prove(2);
        beforePath = _debitsWere(100, 0).prove(2);
        _void.dataRef = bytes32(uint256(1));
        _refusesMandate(IQuestions.PreviousHeaderWrong.selector, _debit(2, 10), path, 0, beforePath);
        _void.dataRef = 0;
        _sendMandate(2, _debit(2, 10), path, 0, beforePath);
    }

    function test_Mandate_AnIndexBeyondTheTreeBeforeGrewFromNothing() external {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[1] = Trees.debitLeaf(lane, 1, consumer(1), 100);
        earned[1] = debited[1] = 100;
        post(headerOver(payouts(), Trees.dense(leaves))); // one level
        _void = last;
        spend(2, 1, 10);
        post();
        bytes32[] memory path = debits().prove(2);
        bytes32[] memory none = new bytes32[](0);
        _refusesMandate(IQuestions.ProofInvalid.selector, _debit(2, 10), path, bytes32(uint256(1)), none);
        _sendMandate(2, _debit(2, 10), path, 0, none);
    }

    function test_Mandate_WhatWasPaidByX402NeedsNoVoucher() external {
        _payIn(1, 60);
        _postDebit(60);
        bytes32[] memory none = new bytes32[](0);
        _refusesMandate(IQuestions.MandateNotNeeded.selector, _debit(1, 60), debits().prove(1), 0, none);
        _postDebit(10); // one atom above what was paid needs a voucher
        _askMandate(2, 70);
        refuses(IQuestions.MandateTooSmall.selector);
        questions.answerMandate(lane, 2, last, _debit(1, 70), 0, "");
        _payIn(1, 10);
        _answerMandate(70, "", 0);
    }

    function test_Mandate_WhatWasDebitedBeforeTheLastExitNeedsNoVoucher() external {
        _postDebit(100);
        asksToLeave(1);
        finalizeLast();
        vm.warp(block.timestamp + NOTICE + 1);
        settle();
        takeRest(1);
        _payIn(1, 30);
        _postDebit(30);
        bytes32 before = Trees.debitLeaf(lane, 1, consumer(1), 100);
        bytes32[] memory beforePath = _debitsWere(100, 0).prove(1);
        _refusesMandate(IQuestions.MandateNotNeeded.selector, _debit(1, 130), debits().prove(1), before, beforePath);
        _postDebit(1);
        _askMandateFrom(130, 131);
        bytes memory small = voucher(consumerKey(1), lane, consumer(1), 100);
        refuses(IQuestions.MandateTooSmall.selector);
        questions.answerMandate(lane, 4, last, _debit(1, 131), 100, small); // 100 and 30 paid in since
        _answerMandate(131, voucher(consumerKey(1), lane, consumer(1), 101), 101);
    }

    // ------------------------------------------------------------------ final trees

    function test_Final_AWordOfTheTreeThatIsFinalWhenTheAnswerComes() external {
        spendAndSettle(100);
        _askFinal(Tree.payouts, 1);
        bytes32[] memory old = payouts().prove(1);
        bytes32 oldWord = Trees.payoutLeaf(lane, 1, payee(1), 100);
        _settleBeside(7);
        refuses(IQuestions.ProofInvalid.selector);
        questions.answerFinal(lane, Tree.payouts, 1, oldWord, old);
        bytes32[] memory path = payouts().prove(1);
        bytes32 word = Trees.payoutLeaf(lane, 1, payee(1), earned[1]);
        refuses(IQuestions.ProofInvalid.selector);
        questions.answerFinal(lane, Tree.payouts, 1, word, _cut(path, path.length - 1));
        vm.assertTrue(questions.answerFinal(lane, Tree.payouts, 1, word, path), "answered");
        vm.assertFalse(questions.answerFinal(lane, Tree.payouts, 1, word, path), "closed");
        _askFinal(Tree.debits, 3); // nobody was debited there
        vm.assertTrue(questions.answerFinal(lane, Tree.debits, 3, 0, debits().prove(3)), "the zero word");
    }

    function test_Final_AMissedAnswerPunishesWhateverIsPending() external {
        spendAndSettle(100);
        _stakeFor(operator, 500);
        bytes32 subject = _askFinal(Tree.payouts, 1);
        post();
        vm.warp(block.timestamp + ANSWER);
        refuses(IQuestions.TooEarly.selector);
        questions.close(lane, 0, 0, subject);
        vm.warp(block.timestamp + 1);
        bytes32[] memory path = payouts().prove(1);
        bytes32 word = Trees.payoutLeaf(lane, 1, payee(1), 100);
        refuses(IQuestions.DeadlinePassed.selector);
        questions.answerFinal(lane, Tree.payouts, 1, word, path);
        vm.prank(stranger);
        questions.close(lane, 0, 0, subject);
        eq(settlement.owed(challenger), BOND / 2, "half the bond is the asker's, whoever closes");
        eq(vault.stakes(operator).staked, 0, "and the stake is gone");
        eq(settlement.heads(lane).next, 2, "what was pending is void");
        eq(questions.owedWei(challenger), FLOOR, "the fee comes back");
        refuses(IQuestions.QuestionUnknown.selector);
        questions.close(lane, 0, 0, subject);
    }

    /// @dev F4, in the settlement token.
    function test_Final_AnAskerThatTheTokenBarsStillPunishes() external {
        DollarToken coin = deployForDollar();
        questions = IQuestions(settlement.questions());
        spendAndSettle(100);
        _stakeFor(operator, 500);
        bytes32 subject = _askFinal(Tree.payouts, 1);
        coin.blacklist(challenger, true);
        vm.warp(block.timestamp + ANSWER + 1);
        questions.close(lane, 0, 0, subject);
        eq(settlement.books(lane).bond, 0, "punished");
        eq(vault.stakes(operator).staked, 0, "and slashed");
    }

    function test_Final_AFallEndsEveryQuestionBeforeIt() external {
        spendAndSettle(100);
        bytes32 one = _askFinal(Tree.payouts, 1);
        bytes32 other = _askFinal(Tree.payouts, 2);
        vm.warp(block.timestamp + ANSWER + 1);
        questions.close(lane, 0, 0, one);
        rise();
        vm.assertFalse(questions.answerFinal(lane, Tree.payouts, 2, 0, new bytes32[](0)), "gone, without a proof");
        eq(questions.owedWei(challenger), 2 * FLOOR, "both fees");
        refuses(IQuestions.QuestionUnknown.selector);
        questions.close(lane, 0, 0, other);
        eq(settlement.books(lane).bond, BOND, "the new bond stands");
        vm.assertTrue(settlement.lanes(lane).active, "and so does the lane");
    }

    function test_Final_AskedAgainAfterAFall_TheOldFeeComesBack() external {
        spendAndSettle(100);
        _askFinal(Tree.payouts, 1);
        vm.warp(block.timestamp + 1);
        asReferee.punish(lane, stranger);
        vm.warp(block.timestamp + 1);
        _askFinal(Tree.payouts, 1); // also in a stopped lane
        eq(questions.owedWei(challenger), FLOOR, "of the first");
        vm.assertTrue(
            questions.answerFinal(lane, Tree.payouts, 1, Trees.payoutLeaf(lane, 1, payee(1), 100), payouts().prove(1)),
            "answered"
        );
    }

    function test_Final_InAStoppedLane_UntilTwoAnswerTimesBeforeTheBondMayLeave() external {
        spendAndSettle(100);
        setActive(false);
        (, bytes memory delay) = address(settlement).staticcall(abi.encodeWithSignature("ESCAPE_DELAY()"));
        eq(abi.decode(delay, (uint256)), 7 days, "Settlement's");
        uint256 leaves = block.timestamp + 7 days;
        vm.warp(leaves - 2 * ANSWER);
        bytes32 subject = _askFinal(Tree.payouts, 1);
        vm.warp(leaves - 2 * ANSWER + 1);
        vm.prank(challenger);
        refuses(IQuestions.LaneStopped.selector);
        questions.askFinal{value: FLOOR}(lane, Tree.payouts, 2);
        vm.warp(leaves - ANSWER + 1);
        vm.prank(operator);
        refuses(ISettlement.TooEarly.selector);
        settlement.unbond(lane);
        questions.close(lane, 0, 0, subject);
        eq(settlement.owed(challenger), BOND / 2, "the bond was still there");
    }

    function test_Final_AFallInTheSecondOfTheQuestionEndsItToo() external {
        spendAndSettle(100);
        bytes32 subject = _askFinal(Tree.payouts, 1);
        asReferee.punish(lane, stranger);
        questions.close(lane, 0, 0, subject);
        eq(questions.owedWei(challenger), FLOOR, "closed before its deadline");
    }

    function test_Final_AnEscapeEndsNoQuestion() external {
        spendAndSettle(100);
        asksToLeave(2);
        vm.warp(block.timestamp + 7 days);
        bytes32 subject = _askFinal(Tree.payouts, 1);
        uint32 era = settlement.lanes(lane).era;
        settlement.escapeWithdraw(lane, consumer(2), 0, debits().prove(2));
        eq(settlement.lanes(lane).era, era + 1, "a new era");
        vm.warp(block.timestamp + ANSWER + 1);
        questions.close(lane, 0, 0, subject);
        eq(settlement.books(lane).bond, 0, "convicted");
    }

    // ------------------------------------------------------------------ without an answer

    function test_Close_AMissedAnswerConvicts() external {
        spendAndPost(100);
        bytes32 subject = _askReceipt(0);
        bytes24 hash = idOf(last);
        vm.warp(block.timestamp + ANSWER);
        refuses(IQuestions.TooEarly.selector);
        questions.close(lane, 1, hash, subject);
        vm.warp(block.timestamp + 1);
        refuses(IQuestions.DeadlinePassed.selector);
        questions.answerReceipt(lane, 1, last, 0, "", "", new bytes32[](0));
        vm.prank(stranger);
        questions.close(lane, 1, hash, subject);
        eq(settlement.owed(challenger), BOND / 2, "the asker is the accuser");
        eq(settlement.books(lane).bond, 0, "slashed");
        eq(questions.owedWei(challenger), FLOOR, "the fee comes back");
        eq(settlement.heads(lane).next, 1, "void");
    }

    function test_Close_TheSecondOfTheDeadlineIsInTime() external {
        spendAndPost(100);
        _askWords(Tree.payouts, 0, 0);
        vm.warp(block.timestamp + ANSWER);
        _answerWords(payouts(), Tree.payouts, 0, 0);
        eq(settlement.batches(lane, 1).open, 0, "answered");
    }

    /// @dev F5, F12.
    function test_Close_AQuestionEndsWithItsBatch_AndShieldsOrKillsNoOther() external {
        _postDebit(100); // nobody signed it
        Header memory h = last;
        bytes32 mandate = _askMandate(1, 100); // by an accomplice, say
        bytes32 receipt = _askReceipt(0);
        convict(1);
        rise();
        post(); // the same batch again
        eq(settlement.batches(lane, 1).open, 0, "nothing is open about it");
        bytes32 again = _askMandate(1, 100);
        vm.assertFalse(again != mandate, "the same subject");
        vm.warp(block.timestamp + ANSWER + 1);
        questions.close(lane, 1, idOf(h), mandate);
        questions.close(lane, 1, idOf(h), receipt);
        eq(settlement.books(lane).bond, BOND, "the old ones only close");
        eq(questions.owedWei(challenger), 2 * FLOOR, "for their fees");
        questions.close(lane, 1, idOf(last), again);
        eq(settlement.books(lane).bond, 0, "the new one convicts");
    }

    function test_Close_AfterTheWindow_TheBatchFallsFirst() external {
        spendAndPost(100);
        bytes32 subject = _askReceipt(0);
        vm.warp(settlement.batches(lane, 1).until);
        refuses(ISettlement.WindowClosed.selector);
        questions.close(lane, 1, idOf(last), subject);
        settlement.finalize(lane, 1, last);
        eq(settlement.books(lane).bond, 0, "no batch with an open question becomes final");
        questions.close(lane, 1, idOf(last), subject);
        eq(questions.owedWei(challenger), FLOOR, "the fee comes back");
        eq(settlement.owed(challenger), 0, "who does not accuse in time gets no reward");
    }

    function test_Close_AnAnswerToAFallenBatchPaysNobodyButTheAsker() external {
        spendAndPost(100);
        _askWords(Tree.payouts, 0, 0);
        convict(1);
        vm.fee(100 gwei);
        vm.prank(operator);
        bool done = questions.answerWords(lane, 1, last, Tree.payouts, 0, 0, new bytes32[](0), new bytes32[](0));
        vm.assertFalse(done, "closed");
        eq(questions.owedWei(challenger), FLOOR, "the asker");
        eq(questions.owedWei(operator), 0, "not the answerer");
    }

    // ------------------------------------------------------------------ fees

    function test_Fees_TwiceTheDearestAnswer_AndTheRestOwedBack() external {
        spendAndPost(100);
        vm.fee(50 gwei);
        uint256 fee = questions.feeAt(IQuestions.Kind.words, 50 gwei);
        eq(fee, 100 gwei * questions.gasOf(IQuestions.Kind.words), "twice");
        eq(questions.feeAt(IQuestions.Kind.words, 1), FLOOR, "at least the floor");
        vm.startPrank(challenger);
        refuses(IQuestions.FeeTooSmall.selector);
        questions.askWords{value: fee - 1}(lane, 1, last, Tree.payouts, 0, 0);
        questions.askWords{value: fee + 5}(lane, 1, last, Tree.payouts, 0, 0);
        vm.stopPrank();
        eq(questions.owedWei(challenger), 5, "the rest");
        vm.fee(20 gwei);
        _answerWordsAs(operator, payouts(), Tree.payouts, 0, 0);
        eq(questions.owedWei(operator), 20 gwei * questions.gasOf(IQuestions.Kind.words), "the answer's price");
        questions.collectWei(challenger);
        questions.collectWei(operator);
        eq(address(questions).balance, fee - 20 gwei * questions.gasOf(IQuestions.Kind.words), "the rest is nobody's");
    }

    function test_Fees_AnAnswererGetsAtMostTheFee() external {
        spendAndPost(100);
        vm.fee(50 gwei);
        uint256 fee = questions.feeAt(IQuestions.Kind.words, 50 gwei);
        vm.prank(challenger);
        questions.askWords{value: fee}(lane, 1, last, Tree.payouts, 0, 0);
        vm.fee(5000 gwei);
        _answerWordsAs(operator, payouts(), Tree.payouts, 0, 0);
        eq(questions.owedWei(operator), fee, "the fee");
    }

    function test_Fees_ADataFeeIsPaidTwiceByTheAsker_AndOnceToTheAnswerer() external {
        _dataFee = 1 ether;
        deployAround();
        populate();
        questions = IQuestions(settlement.questions());
        spendAndPost(100);
        vm.fee(0);
        eq(questions.feeAt(IQuestions.Kind.words, 0), 2 ether, "twice");
        eq(questions.feeAt(IQuestions.Kind.words, 5e14), 455e18 + 2 ether, "and twice the gas");
        // whole gwei, rounded up
        eq(questions.feeAt(IQuestions.Kind.words, 2441), 2 ether + 3 gwei, "rounded up");
        vm.prank(challenger);
        questions.askWords{value: 2 ether}(lane, 1, last, Tree.payouts, 0, 0);
        _answerWordsAs(operator, payouts(), Tree.payouts, 0, 0);
        eq(questions.owedWei(operator), 1 ether, "once");
    }

    /// @dev F4: whoever refuses wei, or calls back, harms itself.
    function test_Fees_NobodyThatRefusesOrCallsBackStopsAVerdict() external {
        spendAndPost(100);
        Refuser refuser = new Refuser();
        vm.deal(address(refuser), 1 ether);
        refuser.call{value: 0}(address(questions), 2 * FLOOR, abi.encodeCall(questions.askReceipt, (lane, 1, last, 0)));
        vm.warp(block.timestamp + ANSWER + 1);
        questions.close(lane, 1, idOf(last), questions.subjectOfReceipt(0));
        eq(settlement.books(lane).bond, 0, "convicted");
        eq(questions.owedWei(address(refuser)), 2 * FLOOR, "owed");
        refuses(IQuestions.PaymentRefused.selector);
        questions.collectWei(address(refuser));
        refuser.repent(questions);
        vm.deal(address(questions), 10 * FLOOR); // others' money
        questions.collectWei(address(refuser));
        eq(address(refuser).balance, 1 ether, "once, though it calls back");
        refuses(IQuestions.NothingOwed.selector);
        questions.collectWei(address(refuser));
    }

    function test_RevertWhen_AFloorIsOutOfRange() external {
        IMaker maker = makerOf("Questions");
        bytes memory code = codeOf("Questions");
        refuses(IQuestions.FloorOutOfRange.selector);
        maker.make(address(settlement), code, abi.encode(uint256(0), uint256(0)));
        refuses(IQuestions.FloorOutOfRange.selector);
        maker.make(address(settlement), code, abi.encode(uint256(1001 ether), uint256(0)));
        refuses(IQuestions.FloorOutOfRange.selector);
        maker.make(address(settlement), code, abi.encode(uint256(1), uint256(1001 ether)));
    }

    function testFuzz_Fees_WhatIsOwedAndOpenIsAlwaysHeld(uint256 seed) external {
        spendAndPost(100);
        Sparse memory p = payouts();
        uint256 open;
        for (uint256 i; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.fee(seed % 300 gwei);
            uint8 depth = uint8((seed >> 64) % 3);
            bytes32 question = questions.questionOf(lane, 1, idOf(last), questions.subjectOfWords(Tree.payouts, depth, 0));
            IQuestions.Question memory q = questions.questions(question);
            if (q.asker == address(0)) {
                uint256 fee = questions.feeAt(IQuestions.Kind.words, seed % 300 gwei);
                vm.prank(challenger);
                questions.askWords{value: fee + (seed >> 128) % 1 ether}(lane, 1, last, Tree.payouts, depth, 0);
                open += fee;
            } else {
                _answerWordsAs(operator, p, Tree.payouts, depth, 0);
                open -= uint256(q.feeGwei) * 1 gwei;
            }
            uint256 owed = questions.owedWei(challenger) + questions.owedWei(operator);
            vm.assertGe(address(questions).balance, owed + open, "held");
        }
    }

    // ------------------------------------------------------------------ many at once

    function test_Multicall_PassesOverWhatIsClosedOrWrong() external {
        spendAndPost(100);
        _askWords(Tree.payouts, 0, 0);
        _askWords(Tree.debits, 0, 0);
        _askWords(Tree.debits, 1, 0);
        bytes[] memory calls = new bytes[](5);
        calls[0] = _wordsCall(payouts(), Tree.payouts, 0, 0);
        calls[1] = calls[0]; // closed by then
        calls[2] = _wordsCall(payouts(), Tree.debits, 0, 0); // wrong
        calls[3] = _wordsCall(debits(), Tree.debits, 1, 0);
        calls[4] = abi.encodeCall(questions.askWords, (lane, 1, last, Tree.payouts, 0, 0)); // without a fee
        vm.fee(1 gwei);
        vm.prank(operator);
        bool[] memory done = questions.multicall(calls);
        vm.assertTrue(done[0] && done[1] && !done[2] && done[3] && !done[4], "passed over");
        eq(settlement.batches(lane, 1).open, 1, "two answered");
        eq(questions.owedWei(operator), 2 gwei * questions.gasOf(IQuestions.Kind.words), "each paid once");
    }

    // ------------------------------------------------------------------ gas

    function test_Gas_TheDearestWords() external {
        // 256 lines below the tallest lines tree, 31 levels of parties over 20 of runs
        Sparse memory t = _fullWords(51, 256);
        spend(1, 1, uint64(Trees.sumOf(t.root())));
        Header memory h = nextHeader();
        (h.linesRoot, h.heights) = (t.root(), h.heights | (uint48(20) << 40) | (uint48(31) << 32));
        post(h);
        _askWords(Tree.lines, 43, 0);
        _measure(IQuestions.Kind.words, _wordsCall(t, Tree.lines, 43, 0));
    }

    function test_Gas_TheDearestReceipt() external {
        (Receipt memory r, bytes memory terms) = _largestReceipt();
        Sparse memory t = _treeOf(r, 24, 5);
        _postReceipts(t, 1 << 24);
        _askReceipt(5);
        bytes memory record = PlainReceipts.encode(r);
        _measure(
            IQuestions.Kind.receipt, abi.encodeCall(questions.answerReceipt, (lane, 1, last, 5, record, terms, t.prove(5)))
        );
    }

    function test_Gas_TheDearestMandate() external {
        vm.prank(consumer(1));
        keys.setSessionKey(vm.addr(SESSION_KEY));
        _postDebit(100);
        _askMandate(1, 100);
        bytes memory signature = voucher(SESSION_KEY, lane, consumer(1), type(uint64).max);
        _measure(
            IQuestions.Kind.mandate,
            abi.encodeCall(questions.answerMandate, (lane, 1, last, _debit(1, 100), type(uint64).max, signature))
        );
    }

    function test_Gas_TheDearestFinalWord() external {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[1] = Trees.payoutLeaf(lane, 1, payee(1), 100);
        Sparse memory p = Trees.dense(leaves, 31);
        spend(1, 1, 100);
        post(headerOver(p, debits()));
        finalizeLast();
        _askFinal(Tree.payouts, 1);
        _measure(
            IQuestions.Kind.finalWord,
            abi.encodeCall(questions.answerFinal, (lane, Tree.payouts, 1, leaves[1], p.prove(1)))
        );
    }

    /// @dev Two headers, two paths of 31 levels, and a fee with change.
    function test_Gas_TheDearestQuestion() external {
        bytes32[] memory leaves = new bytes32[](3);
        leaves[2] = Trees.debitLeaf(lane, 2, consumer(2), 100);
        Sparse memory before = Trees.dense(leaves, 31);
        spend(2, 1, 100);
        post(headerOver(payouts(), before));
        _void = last;
        leaves[1] = Trees.debitLeaf(lane, 1, consumer(1), 100);
        Sparse memory d = Trees.dense(leaves, 31);
        spend(1, 1, 100);
        post(headerOver(payouts(), d));
        bytes memory call_ = abi.encodeCall(
            questions.askMandate, (lane, 2, last, _debit(1, 100), d.prove(1), _void, bytes32(0), before.prove(1))
        );
        uint256 spent = _gasOf(call_, 1 ether);
        emit Measured(IQuestions.Kind.mandate, spent, call_.length);
        vm.assertLe(spent, 300_000, "gas");
    }

    // ------------------------------------------------------------------ helpers: batches

    /// @dev Some words at the first and last places of a tree.
    function _someWords(uint256 height, uint256 seed, uint256 count) private pure returns (Sparse memory t) {
        uint256 width = 1 << height;
        if (count > width) count = width;
        (t.height, t.places, t.words) = (height, new uint256[](count), new bytes32[](count));
        for (uint256 i; i < count; ++i) {
            t.places[i] = i < count / 2 ? i : width - count + i;
            t.words[i] = Trees.mark(keccak256(abi.encode(seed, i)), 1 + uint256(uint8(seed >> i)));
        }
    }

    function _fullWords(uint256 height, uint256 count) private pure returns (Sparse memory t) {
        (t.height, t.places, t.words) = (height, new uint256[](count), new bytes32[](count));
        for (uint256 i; i < count; ++i) {
            (t.places[i], t.words[i]) = (i, Trees.mark(keccak256(abi.encode(i)), 7));
        }
    }

    /// @dev The next batch with this tree of receipts, and as many calls.
    function _postReceipts(Sparse memory t, uint256 calls) private {
        spend(1, 1, uint64(Trees.sumOf(t.root())));
        Header memory h = nextHeader();
        uint48 runsHeight = calls > 16 ? 20 : 0;
        (h.receiptsRoot, h.gatewaysRoot) = (t.root(), bytes32(calls));
        h.heights |= uint48(t.height) | (runsHeight << 40);
        post(h);
    }

    /// @dev Consumer 1 is debited more, and the batch posted. Keeps the header before.
    function _postDebit(uint64 amount) private {
        spend(1, 1, amount);
        _void = last;
        post();
    }

    function _debitsWere(uint64 one, uint64 two) private view returns (Sparse memory) {
        uint64[] memory amounts = new uint64[](CONSUMERS + 1);
        (amounts[1], amounts[2]) = (one, two);
        return debitsOf(amounts);
    }

    /// @dev One more batch becomes final, in which consumer 2 spent.
    function _settleBeside(uint64 amount) private {
        uint256 time = block.timestamp;
        spend(2, 2, amount);
        settle();
        // back before the deadline: only the final tree has changed
        vm.warp(time + 1);
    }

    function _payIn(uint256 who, uint64 amount) private {
        token.transfer(consumer(who), amount);
        bytes32 nonce = keccak256(abi.encode(who, amount));
        uint256 never = type(uint256).max;
        bytes memory signature = authorization(consumerKey(who), false, lane, amount, 0, never, nonce);
        consumers.depositFromInbox(lane, consumer(who), amount, 0, never, nonce, signature);
    }

    function _stakeFor(address who, uint64 amount) private {
        token.approve(address(vault), amount);
        vault.stakeFor(who, amount);
    }

    // ------------------------------------------------------------------ helpers: receipts

    /// @dev All fifteen meters at their most, and the longest terms. What the terms say does not matter here.
    function _largestReceipt() private view returns (Receipt memory r, bytes memory terms) {
        terms = new bytes(2_679);
        for (uint256 i; i < terms.length; ++i) {
            terms[i] = 0xff;
        }
        r.callId = keccak256("call");
        (r.parent, r.requestDigest, r.responseDigest) = (~r.callId, keccak256("request"), keccak256("response"));
        (r.lane, r.gateway, r.consumer, r.terms) = (lane, operator, consumer(1), keccak256(terms));
        (r.seq, r.epoch, r.subcallTotal, r.price) = (~uint64(1), ~uint64(2), ~uint64(3), ~uint64(4));
        (r.subcalls, r.charge, r.end, r.endedAt) = (63, 77, 4, ~uint64(5));
        r.units = new Unit[](15);
        for (uint8 i; i < 15; ++i) {
            r.units[i] = Unit(i, 2 ** 40 - 1);
        }
    }

    function _treeOf(Receipt memory r, uint256 height, uint256 place) private view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](place + 1);
        leaves[place] = Trees.receiptLeaf(lane, Receipts.hash(r), r.charge);
        return Trees.dense(leaves, height);
    }

    // ------------------------------------------------------------------ helpers: questions

    function _askWords(Tree tree, uint256 depth, uint256 position) private returns (bytes32 subject) {
        uint64 id = idOfLast();
        vm.prank(challenger);
        questions.askWords{value: FLOOR}(lane, id, last, tree, uint8(depth), uint64(position));
        return questions.subjectOfWords(tree, uint8(depth), uint64(position));
    }

    function _askReceipt(uint64 place) private returns (bytes32 subject) {
        uint64 id = idOfLast();
        vm.prank(challenger);
        questions.askReceipt{value: FLOOR}(lane, id, last, place);
        return questions.subjectOfReceipt(place);
    }

    /// @dev Asks for the mandate of consumer 1's debit in the last batch.
    function _askMandate(uint64 id, uint64 cumulative) private returns (bytes32 subject) {
        uint64 grownFrom = uint64(Trees.sumOf(_void.debitRoot));
        if (last.prev == 0) {
            _sendMandate(id, _debit(1, cumulative), debits().prove(1), 0, new bytes32[](0));
        } else {
            _askMandateFrom(grownFrom, cumulative);
        }
        return questions.subjectOfMandate(_debit(1, cumulative));
    }

    function _askMandateFrom(uint64 from, uint64 cumulative) private {
        uint64 id = idOfLast();
        bytes32 before = Trees.debitLeaf(lane, 1, consumer(1), from);
        _sendMandate(id, _debit(1, cumulative), debits().prove(1), before, _debitsWere(from, 0).prove(1));
    }

    /// @dev Asks for a mandate in the last batch; the one before is `_void`.
    function _sendMandate(
        uint64 id,
        IQuestions.Debit memory debit,
        bytes32[] memory path,
        bytes32 before,
        bytes32[] memory beforePath
    ) private {
        bytes memory call_ = abi.encodeCall(
            questions.askMandate, (lane, id, last, debit, path, _void, before, beforePath)
        );
        address target = address(questions);
        vm.prank(challenger);
        (bool ok, bytes memory said) = target.call{value: FLOOR}(call_);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(said, 0x20), mload(said))
        }
    }

    /// @dev The same, refused.
    function _refusesMandate(
        bytes4 selector,
        IQuestions.Debit memory debit,
        bytes32[] memory path,
        bytes32 before,
        bytes32[] memory beforePath
    ) private {
        uint64 id = idOfLast();
        refuses(selector);
        _sendMandate(id, debit, path, before, beforePath);
    }

    function _debit(uint32 who, uint64 cumulative) private pure returns (IQuestions.Debit memory) {
        return IQuestions.Debit(who, consumer(who), cumulative);
    }

    function _askFinal(Tree tree, uint32 index) private returns (bytes32 subject) {
        vm.prank(challenger);
        questions.askFinal{value: FLOOR}(lane, tree, index);
        return questions.subjectOfFinal(tree, index);
    }

    function _wordsOf(Sparse memory t, uint256 depth, uint256 position) private pure returns (bytes32[] memory words) {
        uint256 levels = t.height - depth;
        if (levels > 8) levels = 8;
        words = new bytes32[](1 << levels);
        for (uint256 i; i < words.length; ++i) {
            words[i] = t.node(depth + levels, (position << levels) + i);
        }
    }

    function _wordsCall(Sparse memory t, Tree tree, uint256 depth, uint256 position)
        private
        view
        returns (bytes memory)
    {
        bytes32[] memory words = _wordsOf(t, depth, position);
        bytes32[] memory path = t.proveNode(depth, position);
        uint64 id = idOfLast();
        return abi.encodeCall(questions.answerWords, (lane, id, last, tree, uint8(depth), uint64(position), words, path));
    }

    function _answerWords(Sparse memory t, Tree tree, uint256 depth, uint256 position) private {
        _answerWordsAs(address(this), t, tree, depth, position);
    }

    function _answerWordsAs(address who, Sparse memory t, Tree tree, uint256 depth, uint256 position) private {
        bytes memory call_ = _wordsCall(t, tree, depth, position);
        address target = address(questions);
        vm.prank(who);
        (bool ok, bytes memory said) = target.call(call_);
        vm.assertTrue(ok && abi.decode(said, (bool)), "words");
    }

    function _refusesWords(uint8 depth, uint64 position, bytes32[] memory words, bytes32[] memory path, bytes4 selector)
        private
    {
        refuses(selector);
        questions.answerWords(lane, 1, last, Tree.receipts, depth, position, words, path);
    }

    function _answerMandate(uint64 cumulative, bytes memory signature, uint64 cumMax) private {
        uint64 id = idOfLast();
        bool done = questions.answerMandate(lane, id, last, _debit(1, cumulative), cumMax, signature);
        vm.assertTrue(done, "answered");
        eq(settlement.batches(lane, id).open, 0, "answered");
    }

    function _refusesVoucher(uint64 cumulative, bytes memory signature) private {
        refuses(IQuestions.SignatureInvalid.selector);
        questions.answerMandate(lane, 1, last, _debit(1, cumulative), cumulative, signature);
    }

    /// @dev What the call costs as a transaction of its own: storage cold, no refund, every byte of calldata as dear as
    /// can be. It is within what the kind is said to cost, and not far from it.
    function _measure(IQuestions.Kind kind, bytes memory call_) private {
        uint256 spent = _gasOf(call_, 0);
        uint256 least = 21_000 + 40 * call_.length; // EIP-7623
        if (spent < least) spent = least;
        emit Measured(kind, spent, call_.length);
        vm.assertLe(spent, questions.gasOf(kind), "gas");
        vm.assertLe(questions.gasOf(kind), spent * 105 / 100, "and not far from it");
        vm.assertLe(call_.length, 64 * 1024, "calldata");
    }

    function _gasOf(bytes memory call_, uint256 value) private returns (uint256) {
        vm.cool(address(questions));
        vm.cool(address(settlement));
        vm.cool(address(keys));
        vm.fee(1 gwei);
        address target = address(questions);
        uint256 start = gasleft();
        (bool ok,) = target.call{value: value}(call_);
        uint256 spent = start - gasleft();
        vm.assertTrue(ok, "done");
        return 21_000 + 16 * call_.length + spent;
    }

    event Measured(IQuestions.Kind kind, uint256 gas, uint256 calldataBytes);

    /// @dev The first `length` words, or zeros after them.
    function _cut(bytes32[] memory words, uint256 length) private pure returns (bytes32[] memory out) {
        out = new bytes32[](length);
        for (uint256 i; i < length && i < words.length; ++i) {
            out[i] = words[i];
        }
    }
}

/// @dev Asks, and refuses wei until it repents; then calls back for vm.
contract Refuser {
    IQuestions private _questions;

    function call(address target, uint256 value, bytes calldata call_) external payable {
        (bool ok,) = target.call{value: value}(call_);
        require(ok);
    }

    function repent(IQuestions questions) external {
        _questions = questions;
    }

    receive() external payable {
        require(address(_questions) != address(0), "refused");
        try _questions.collectWei(address(this)) {} catch {}
    }
}
