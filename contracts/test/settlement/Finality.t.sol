// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev C4: final means the window passed, nothing is open, in order. C11: every batch becomes final or void.
contract FinalityTest is Base {
    using Trees for Sparse;

    function testFuzz_C4_RevertWhen_AFinalizationComesEarlyOrOutOfOrderOrWithAnotherHeader(uint256 bit) external {
        spendAndPost(100);
        Header memory one = last;
        spend(2, 2, 30);
        post();
        vm.warp(block.timestamp + WINDOW - 1);
        refuses(ISettlement.WindowOpen.selector);
        settlement.finalize(lane, 1, one);
        vm.warp(block.timestamp + 1);
        uint64[4] memory wrong = [0, 2, 3, type(uint64).max];
        for (uint256 i; i < 4; ++i) {
            refuses(ISettlement.OutOfOrder.selector);
            settlement.finalize(lane, wrong[i], last);
        }
        Header memory forged = abi.decode(abi.encode(one), (Header));
        forged.dataRef ^= bytes32(uint256(1) << (bit % 256));
        refuses(ISettlement.HeaderUnknown.selector);
        settlement.finalize(lane, 1, forged);
        vm.prank(stranger); // anybody
        settlement.finalize(lane, 1, one);
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, 1, one);
        settlement.finalize(lane, 2, last);
        ISettlement.Head memory h = settlement.heads(lane);
        eq(h.finalized, 2, "both");
        eq(h.finalClosedAt, last.closedAt, "closed");
        eq(settlement.books(lane).settled, 130, "settled");
        (bytes32 payoutRoot, bytes32 debitRoot) = settlement.finalRoots(lane);
        vm.assertTrue(payoutRoot == last.payoutRoot && debitRoot == last.debitRoot, "roots");
    }

    function test_C4_AVoidBatchIsNeverFinal() external {
        spendAndPost(100);
        Header memory one = last;
        spendAndPost(100);
        convict(2); // also voids the first
        vm.warp(block.timestamp + 365 days);
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, 1, one);
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, 2, last);
        eq(settlement.books(lane).settled, 0, "nothing is final");
        rise();
        refuses(ISettlement.EraWrong.selector);
        vm.prank(operator);
        settlement.commit(lane, one, 1, one); // nor by way of a commit
    }

    function test_C4_AnOpenQuestionKeepsABatchFromFinality() external {
        spend(1, 1, 100);
        uint64 id = post();
        bytes24 hash = idOf(last);
        asQuestions.ask(lane, id, hash);
        asQuestions.ask(lane, id, hash);
        asQuestions.answer(lane, id, hash);
        finalizeLast();
        eq(settlement.heads(lane).next, 1, "one stayed open: it fell");
        eq(settlement.books(lane).bond, 0, "the bond is taken");
        eq(settlement.owed(treasury), BOND, "and there is no accuser");
    }

    function test_ABatchWhoseQuestionsAreAnsweredIsFinal() external {
        spend(1, 1, 100);
        uint64 id = post();
        asQuestions.ask(lane, id, idOf(last));
        asQuestions.answer(lane, id, idOf(last));
        finalizeLast();
        eq(settlement.heads(lane).finalized, id, "final");
    }

    /// @dev F7: a batch that the lane cannot pay any more falls; it does not stay for ever.
    function test_C11_ABatchAboveTheDepositsFalls() external {
        spend(1, 1, 100);
        leavesSoon(2);
        post(); // closed after the request: consumer 2 may leave when it is final
        Header memory one = last;
        spend(1, 1, DEPOSIT - 100);
        spend(2, 1, DEPOSIT);
        spend(3, 1, DEPOSIT); // and yet it is debited: a lie that nobody proves
        post();
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, one);
        bytes32[] memory proof = debitsOf(_after(100)).prove(2);
        settlement.withdraw(lane, consumer(2), 0, proof);
        eq(token.balanceOf(consumer(2)), DEPOSIT, "it left");
        Header memory next = nextHeader();
        vm.prank(operator);
        refuses(ISettlement.AboveNet.selector);
        settlement.commit(lane, next, 2, last); // passed over, and then what follows does not fit
        settlement.finalize(lane, 2, last);
        eq(settlement.heads(lane).next, 2, "void");
        eq(settlement.owed(treasury), BOND, "no accuser");
        eq(settlement.books(lane).settled, 100, "what was final stays");
    }

    function test_C11_AStoppedLanesBatchesBecomeFinalOrFall() external {
        spendAndPost(100);
        setActive(false);
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, last);
        eq(settlement.books(lane).settled, 100, "final");
    }

    // ------------------------------------------------------------------ what judges ask

    function testFuzz_RevertWhen_AnybodyButAJudgeSpeaks(address who) external {
        post();
        bytes24 hash = idOf(last);
        vm.assume(who != address(asQuestions) && who != address(asReferee) && who != address(asPrices));
        vm.startPrank(who);
        refuses(ISettlement.NotJudge.selector);
        settlement.ask(lane, 1, hash);
        refuses(ISettlement.NotJudge.selector);
        settlement.answer(lane, 1, hash);
        refuses(ISettlement.NotJudge.selector);
        settlement.convict(lane, 1, hash, who);
        refuses(ISettlement.NotJudge.selector);
        settlement.punish(lane, who);
    }

    function test_OnlyQuestionsAskAndAnswer() external {
        post();
        bytes24 hash = idOf(last);
        ISettlement[2] memory others = [asReferee, asPrices];
        for (uint256 i; i < 2; ++i) {
            refuses(ISettlement.NotJudge.selector);
            others[i].ask(lane, 1, hash);
            refuses(ISettlement.NotJudge.selector);
            others[i].answer(lane, 1, hash);
        }
    }

    function test_Ask_UntilTwoAnswerTimesBeforeTheEnd() external {
        uint64 id = post();
        bytes24 hash = idOf(last);
        uint256 until = settlement.batches(lane, id).until;
        vm.warp(until - 2 * ANSWER);
        asQuestions.ask(lane, id, hash);
        eq(settlement.batches(lane, id).until, until, "nothing extends it");
        vm.warp(until - 2 * ANSWER + 1);
        refuses(ISettlement.WindowClosed.selector);
        asQuestions.ask(lane, id, hash);
        asQuestions.answer(lane, id, hash);
        eq(settlement.batches(lane, id).open, 0, "answered");
    }

    function testFuzz_RevertWhen_AFinalOrUnknownOrOtherBatchIsAccused(bytes24 other) external {
        uint64 id = settle();
        bytes24 hash = idOf(last);
        vm.assume(other != hash);
        refuses(ISettlement.HeaderUnknown.selector);
        asReferee.convict(lane, id, hash, challenger); // final
        refuses(ISettlement.HeaderUnknown.selector);
        asQuestions.ask(lane, id, hash);
        post();
        refuses(ISettlement.HeaderUnknown.selector);
        asReferee.convict(lane, id + 1, other, challenger);
        refuses(ISettlement.HeaderUnknown.selector);
        asReferee.convict(lane, id + 2, 0, challenger);
        refuses(ISettlement.HeaderUnknown.selector);
        asReferee.convict(lane, id + 257, idOf(last), challenger); // the same slot of the ring
        refuses(ISettlement.HeaderUnknown.selector);
        asReferee.convict(address(99), 1, 0, challenger);
        eq(settlement.books(lane).bond, BOND, "an honest bond stays");
    }

    function test_RevertWhen_AnAccusationComesAfterTheWindow() external {
        uint64 id = post();
        bytes24 hash = idOf(last);
        vm.warp(settlement.batches(lane, id).until);
        refuses(ISettlement.WindowClosed.selector);
        asPrices.convict(lane, id, hash, challenger);
        vm.warp(block.timestamp - 1);
        asPrices.convict(lane, id, hash, challenger);
    }

    // ------------------------------------------------------------------ inside

    function _after(uint64 first) private pure returns (uint64[] memory amounts) {
        amounts = new uint64[](CONSUMERS + 1);
        amounts[1] = first;
    }
}
