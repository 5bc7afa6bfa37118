// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";

/// @dev A lane opens, pauses and closes.
contract BondsTest is Base {
    function test_OpenLane_HoldsTheBond() external view {
        ISettlement.Lane memory l = settlement.lanes(lane);
        vm.assertEq(l.operator, operator, "operator");
        vm.assertTrue(l.active, "active");
        eq(l.bond, BOND, "bond");
        eq(token.balanceOf(address(settlement)), BOND + CONSUMERS * DEPOSIT, "held");
    }

    function test_RevertWhen_TheBondIsBelowTheMinimum() external {
        refuses(ISettlement.BondTooSmall.selector);
        settlement.openLane(WINDOW, ANSWER, MIN_BOND - 1);
    }

    function test_RevertWhen_TimesAreOutOfRange() external {
        refuses(ISettlement.TimesOutOfRange.selector);
        settlement.openLane(WINDOW, 0, BOND);
        refuses(ISettlement.TimesOutOfRange.selector);
        settlement.openLane(31 days, ANSWER, BOND);
    }

    function test_RevertWhen_AStrangerRunsTheLane() external {
        refuses(ISettlement.NotOperator.selector);
        settlement.setActive(lane, false);
        refuses(ISettlement.NotOperator.selector);
        settlement.unbond(lane);
        ISettlement.Header memory h = nextHeader();
        refuses(ISettlement.NotOperator.selector);
        settlement.commit(lane, h, NONE, noHeader());
        refuses(ISettlement.LaneUnknown.selector);
        settlement.addBond(99, 1);
    }

    function test_Unbond_PaysAfterTheDelayWithNothingPending() external {
        post();
        vm.startPrank(operator);
        refuses(ISettlement.LaneBusy.selector);
        settlement.unbond(lane);
        settlement.setActive(lane, false);
        refuses(ISettlement.BatchesPending.selector);
        settlement.unbond(lane);
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, last);
        refuses(ISettlement.TooEarly.selector);
        settlement.unbond(lane);
        vm.warp(block.timestamp + 7 days);
        settlement.unbond(lane);
        eq(token.balanceOf(operator), BOND, "bond is back");
        refuses(ISettlement.BondTooSmall.selector);
        settlement.setActive(lane, true);
        settlement.addBond(lane, MIN_BOND);
        settlement.setActive(lane, true);
        vm.stopPrank();
    }

    function test_C6_APauseStopsCommitsAndDepositsOnly() external {
        spend(1, 1, 100);
        uint64 id = post();
        vm.prank(consumer(2));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        uint64 second = post();
        vm.prank(operator);
        settlement.setActive(lane, false);
        token.approve(address(settlement), 1);
        refuses(ISettlement.LaneInactive.selector);
        settlement.deposit(lane, consumer(1), 1);
        ISettlement.Header memory h = nextHeader();
        vm.prank(operator);
        refuses(ISettlement.LaneInactive.selector);
        settlement.commit(lane, h, NONE, noHeader());
        vm.warp(block.timestamp + WINDOW);
        ISettlement.Header memory first = last;
        first.prev = 0;
        first.firstCall = 0;
        first.receiptsRoot = bytes32(uint256(100));
        first.linesRoot = bytes32(uint256(200));
        settlement.finalize(lane, id, first);
        settlement.finalize(lane, second, last);
        settlement.claim(lane, 1, payee(1), 100, Trees.prove(payoutLeaves(), 1));
        settlement.withdraw(lane, consumer(2), 0, Trees.prove(debitLeaves(), 2));
        eq(token.balanceOf(consumer(2)), DEPOSIT, "left");
    }
}
