// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {IStakeVault} from "../../src/interfaces/IStakeVault.sol";
import {Base} from "../Base.sol";
import {DollarToken} from "../Tokens.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev One rule for every fall: what is pending is void, half the bond is the accuser's and half the treasury's, a new era
/// begins, and the lane rests for a day.
contract FallsTest is Base {
    using Trees for Sparse;

    event Fell(address indexed lane, uint64 from, uint32 era, address accuser, uint64 bond);

    function test_C12_AFallVoidsAllThatPendsAndTakesTheBond() external {
        spendAndSettle(100);
        Header memory kept = last;
        spend(2, 2, 50);
        post();
        spend(3, 3, 20);
        uint64 id = post();
        bytes24 hash = idOf(last);
        vm.expectEmit(address(settlement));
        emit Fell(lane, 2, 2, challenger, BOND);
        asReferee.convict(lane, id, hash, challenger);
        ISettlement.Head memory h = settlement.heads(lane);
        eq(h.next, 2, "void");
        eq(h.total, 100, "what is final stays");
        eq(h.lastClosedAt, kept.closedAt, "closed");
        eq(settlement.books(lane).bond, 0, "taken");
        eq(settlement.owed(challenger), BOND / 2, "half to the accuser");
        eq(settlement.owed(treasury), BOND / 2, "half to the treasury");
        ISettlement.Lane memory l = settlement.lanes(lane);
        vm.assertTrue(!l.active && l.era == 2, "stopped, in a new era");
        eq(settlement.lives(lane).fellAt, block.timestamp, "fell");
        eq(settlement.lives(lane).stoppedAt, block.timestamp, "stopped");
        settlement.claim(lane, 1, payee(1), 100, payoutsOf(_first(100)).prove(1)); // claims go on
    }

    function test_AnOddBondsAtomIsTheTreasurys() external {
        lane = openLane(operator, "odd", someTerms(), MIN_BOND + 1);
        delete last;
        post();
        convict(1);
        eq(settlement.owed(challenger), MIN_BOND / 2, "rounded down");
        eq(settlement.owed(treasury), MIN_BOND / 2 + 1, "the rest");
    }

    /// @dev F3b: slashing oneself costs half, whoever one is.
    function test_C12_AnOperatorThatAccusesItselfLosesHalf() external {
        spendAndPost(100);
        bytes24 hash = idOf(last);
        asReferee.convict(lane, 1, hash, operator);
        settlement.collect(operator);
        eq(token.balanceOf(operator), BOND / 2, "half");
        refuses(ISettlement.NothingOwed.selector);
        settlement.collect(operator);
        settlement.collect(treasury);
        eq(token.balanceOf(address(settlement)), 0, "and nothing of it stays in reach");
    }

    /// @dev F4: an accuser that cannot be paid stops nobody.
    function test_AnAccuserThatTheTokenRefusesBlocksNothing() external {
        DollarToken coin = deployForDollar();
        coin.approve(address(vault), 500);
        vault.stakeFor(operator, 500);
        post();
        coin.blacklist(challenger, true);
        coin.blacklist(treasury, true);
        convict(1);
        asReferee.punish(lane, challenger);
        asReferee.punish(lane, challenger);
        vm.expectRevert();
        settlement.collect(challenger);
        coin.blacklist(challenger, false);
        settlement.collect(challenger);
        vault.collect(challenger);
        eq(coin.balanceOf(challenger), BOND / 2 + 250, "later");
    }

    function test_ALaneRestsForADayAfterAFall() external {
        post();
        convict(1);
        refuses(ISettlement.BondTooSmall.selector);
        setActive(true);
        addBond(MIN_BOND);
        vm.warp(block.timestamp + DAY - 1);
        refuses(ISettlement.TooEarly.selector);
        setActive(true);
        vm.warp(block.timestamp + 1);
        setActive(true);
        eq(settlement.lives(lane).activeSince, block.timestamp, "omissions count from here");
        delete last;
        eq(post(), 1, "the next batch takes the place of the void one");
        eq(last.era, 2, "in its era");
    }

    function test_AfterAFallTheLaneGoesOnFromWhatIsFinal() external {
        spendAndSettle(100);
        Header memory kept = last;
        spendAndPost(50);
        convict(2);
        rise();
        spend(2, 2, 5); // 50 was never settled: it is in the next batch
        last = kept;
        settle();
        eq(settlement.books(lane).settled, 155, "settled");
        eq(settlement.claim(lane, 1, payee(1), 150, payouts().prove(1)), 150, "paid");
    }

    /// @dev A question, an accusation and an answer end with the batch they are about.
    function test_WhatIsAskedEndsWithItsBatch() external {
        spendAndPost(100);
        bytes24 hash = idOf(last);
        asQuestions.ask(lane, 1, hash);
        convict(1);
        asQuestions.answer(lane, 1, hash); // does nothing
        rise();
        post(); // the same batch in the new era
        vm.assertTrue(idOf(last) != hash, "has another name");
        eq(settlement.batches(lane, 1).open, 0, "and no questions");
        refuses(ISettlement.HeaderUnknown.selector);
        asQuestions.convict(lane, 1, hash, challenger);
        asQuestions.answer(lane, 1, hash);
        eq(settlement.batches(lane, 1).open, 0, "still none");
    }

    // ------------------------------------------------------------------ offences

    function test_Punish_TakesBondAndStake() external {
        token.transfer(operator, 500);
        vm.startPrank(operator);
        token.approve(address(vault), 500);
        vault.stake(500);
        vm.stopPrank();
        spendAndPost(100);
        asReferee.punish(lane, challenger);
        eq(settlement.heads(lane).next, 1, "what pends is void");
        eq(settlement.owed(challenger), BOND / 2, "half the bond");
        eq(vault.stakes(operator).staked, 0, "the stake");
        eq(vault.owed(challenger), 250, "half of it");
        eq(vault.owed(treasury), 250, "and half");
    }

    /// @dev An offence is proven until its receipt is final: stake that began to leave with the offence is there to the end.
    function test_Punish_StakeThatLeavesOutlastsTheLongestWindow() external {
        lane = openLane(operator, bytes32(uint256(1)), ISettlement.Terms(30 days, ANSWER, 1, 1), BOND);
        token.transfer(operator, 500);
        vm.startPrank(operator);
        token.approve(address(vault), 500);
        vault.stake(500);
        vault.unbond(500);
        vm.stopPrank();
        vm.warp(block.timestamp + 7 days - 1); // a batch later than this comes after its consumers
        post();
        vm.warp(settlement.batches(lane, 1).until);
        refuses(IStakeVault.TooEarly.selector);
        vault.release(operator);
        asReferee.punish(lane, challenger);
        eq(vault.owed(challenger), 250, "half of the stake");
    }

    function test_Punish_OfAStoppedLaneTakesWhatIsThere() external {
        vm.startPrank(operator);
        settlement.setActive(lane, false);
        vm.warp(block.timestamp + 7 days);
        settlement.unbond(lane);
        vm.stopPrank();
        asQuestions.punish(lane, challenger);
        eq(settlement.owed(challenger), 0, "nothing was");
    }

    function test_AFallenBondIsNotTheOperatorsToTake() external {
        post();
        convict(1);
        vm.warp(block.timestamp + 7 days);
        vm.prank(operator);
        refuses(ISettlement.ZeroAmount.selector);
        settlement.unbond(lane);
    }

    /// @dev A lane is no hostage: each fall costs a bond, and who asked leaves in the gap after it.
    function test_AFallADayHoldsNobody() external {
        asksToLeave(1);
        uint256 start = block.timestamp;
        while (block.timestamp < start + 7 days) {
            delete last;
            post();
            bytes24 hash = idOf(last);
            asReferee.convict(lane, 1, hash, operator);
            vm.warp(block.timestamp + DAY);
            if (block.timestamp >= start + 7 days) break;
            addBond(MIN_BOND);
            setActive(true);
        }
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
        eq(token.balanceOf(consumer(1)), DEPOSIT, "out");
    }

    // ------------------------------------------------------------------ inside

    function _first(uint64 amount) private pure returns (uint64[] memory amounts) {
        amounts = new uint64[](PAYEES + 1);
        amounts[1] = amount;
    }
}
