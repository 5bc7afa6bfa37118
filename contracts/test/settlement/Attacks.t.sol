// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../../src/Headers.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Court} from "../Court.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Wallet} from "../World.sol";

/// @dev Attacks that counters stop, whoever watches. Those that one subject stops stand with it.
contract AttacksTest is Base {
    using Trees for Sparse;

    address private thief = vm.addr(666);

    /// @dev F1: a lane of one's own, whose total moves from index to index; every claim but the first is somebody else's money.
    function test_F1_NobodyDrainsOthersFromALaneOfTheirOwn() external {
        uint256 victims = token.balanceOf(lane);
        (uint64 bond, uint64 x) = (20_000, 20_000);
        lane = openLane(thief, 0, ISettlement.Terms(WINDOW, ANSWER, 1, 1), bond);
        delete last;
        depositFor(thief, x);
        bytes32[] memory debit = new bytes32[](2);
        debit[1] = Trees.debitLeaf(lane, 1, thief, x);
        uint256 taken;
        for (uint32 i = 1; i < 53; ++i) {
            Sparse memory p = _at(i, thief, x);
            Header memory h = headerOver(p, Trees.dense(debit));
            vm.prank(thief);
            settlement.commit(lane, h, 0, noHeader());
            last = h;
            finalizeLast(); // nobody watches the thief's lane
            bytes32[] memory proof = p.prove(i);
            if (i > 1) refuses(ISettlement.AboveNet.selector);
            taken += settlement.claim(lane, i, thief, x, proof);
            uint256[] memory rows = new uint256[](1);
            rows[0] = (uint256(uint160(thief)) << 64) | x;
            proof = p.proveRange(i, 1);
            if (i > 1) refuses(ISettlement.AboveNet.selector);
            settlement.claimRange(lane, i, rows, proof);
        }
        eq(token.balanceOf(thief), x, "what it deposited, and no more");
        eq(victims, CONSUMERS * DEPOSIT, "the others' money");
        eq(token.balanceOf(address(settlement)), BOND + bond, "and the bonds");
    }

    /// @dev F3b: escape, lie, accuse oneself, bond again, debit the account that escaped. It costs half a bond.
    function test_F3b_SlashingOneselfCostsHalf() external {
        (uint64 bond, uint64 x) = (20_000, 15_000);
        lane = openLane(thief, 0, someTerms(), bond);
        delete last;
        depositFor(thief, x);
        vm.prank(thief);
        consumers.requestWithdraw(lane);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, thief, 0, new bytes32[](0));
        bytes32[] memory debit = new bytes32[](2);
        debit[1] = Trees.debitLeaf(lane, 1, thief, x);
        Header memory h = headerOver(_at(1, thief, x), Trees.dense(debit));
        vm.prank(thief);
        refuses(ISettlement.AboveNet.selector); // the money went home
        settlement.commit(lane, h, 0, noHeader());
        h = headerOver(_at(1, thief, 0), Trees.dense(new bytes32[](2)));
        vm.prank(thief);
        settlement.commit(lane, h, 0, noHeader());
        asReferee.convict(lane, 1, idOf(h), thief);
        settlement.collect(thief);
        vm.warp(block.timestamp + DAY);
        vm.startPrank(thief);
        settlement.addBond(lane, MIN_BOND);
        settlement.setActive(lane, true);
        h = headerOver(_at(1, thief, x), Trees.dense(debit));
        refuses(ISettlement.AboveNet.selector);
        settlement.commit(lane, h, 0, noHeader());
        settlement.setActive(lane, false);
        vm.warp(block.timestamp + 7 days);
        settlement.unbond(lane);
        vm.stopPrank();
        eq(token.balanceOf(thief), x + bond / 2, "half its bond is gone");
    }

    /// @dev F4: a question whose asker cannot be answered or paid freezes nobody: the batch falls with its window.
    function test_F4_AnOpenQuestionFreezesNoExit() external {
        leavesSoon(1);
        uint64 id = post();
        asQuestions.ask(lane, id, idOf(last));
        finalizeLast();
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
        eq(token.balanceOf(consumer(1)), DEPOSIT, "out");
    }

    /// @dev F10: a commit through another contract tells its header all the same.
    function test_F10_ACommitThroughAContractTellsItsHeader() external {
        Wallet wallet = new Wallet(operator);
        vm.prank(operator);
        settlement.setPoster(lane, address(wallet));
        Header memory h = nextHeader();
        vm.expectEmit(address(settlement));
        emit ISettlement.Committed(lane, 1, h, uint40(block.timestamp + WINDOW));
        wallet.call(address(settlement), abi.encodeCall(settlement.commit, (lane, h, 0, noHeader())));
    }

    function test_AFullLaneSaysSo() external {
        // its counter stands near the top of `_heads[lane]`, the third mapping
        bytes32 slot = keccak256(abi.encode(lane, uint256(2)));
        uint256 head = uint256(vm.load(address(settlement), slot));
        head = (head & ~(uint256(type(uint32).max) << 208)) | (uint256(type(uint32).max >> 1) - 1) << 208;
        vm.store(address(settlement), slot, bytes32(head));
        eq(settlement.heads(lane).consumers, (type(uint32).max >> 1) - 1, "one place is left");
        depositFor(stranger, 1);
        eq(settlement.accounts(lane, stranger).index, type(uint32).max >> 1, "the last");
        token.approve(address(consumers), 1);
        refuses(ISettlement.LaneFull.selector);
        consumers.deposit(lane, challenger, 1);
        depositFor(stranger, 1); // who is in it stays
    }

    function test_ADebitProofIsOfOneLane() external {
        spendAndSettle(100);
        bytes32[] memory proof = debits().prove(1);
        address other = openLane(stranger, 0);
        lane = other;
        depositFor(consumer(1), 500);
        asksToLeave(1);
        vm.warp(block.timestamp + 7 days);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.escapeWithdraw(other, consumer(1), 100, proof);
        settlement.escapeWithdraw(other, consumer(1), 0, proof); // no batch is final there: nothing to show
        eq(token.balanceOf(consumer(1)), 500, "its own");
    }

    function _at(uint32 index, address who, uint64 amount) private view returns (Sparse memory p) {
        bytes32[] memory leaves = new bytes32[](index + 1);
        leaves[index] = Trees.payoutLeaf(lane, index, who, amount);
        return Trees.dense(leaves);
    }
}

/// @dev Attacks that a proof stops, with the real Referee: performed with every watcher awake.
contract ProvenAttacksTest is Court {
    using Trees for Sparse;

    /// @dev F2: every bit of `prev` is compared, so the header before can always be named.
    function testFuzz_F2_WhatPayeesEarnedCannotBeMovedUnseen(uint8 bit) external {
        spendAndPost(100);
        Header memory one = last;
        IJudge.Word memory before = IJudge.Word(Trees.payoutLeaf(lane, 1, payee(1), 100), payouts().prove(1));
        (earned[3], earned[1]) = (100, 0);
        Header memory two = nextHeader();
        Header memory forged = abi.decode(abi.encode(two), (Header));
        forged.prev ^= bytes24(uint192(1) << (bit % 192));
        refusesBatch(forged, ISettlement.PreviousHeaderWrong.selector);
        post(two);
        IJudge.Word memory afterwards = IJudge.Word(0, payouts().prove(1));
        vm.prank(challenger);
        referee.proveRegression(lane, 2, two, one, Tree.payouts, 1, before, afterwards);
        _fell();
    }

    /// @dev F3: an accomplice that escaped is debited again, by a voucher of its own. There is no exception for it.
    function test_F3_AnEscapedAccountIsNotDebitedAgain() external {
        asksToLeave(3);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(3), 0, new bytes32[](0));
        spend(3, 4, DEPOSIT); // payee 4 is the operator's
        uint64 id = post();
        IJudge.Word memory debit = _debit(3);
        vm.prank(challenger);
        referee.proveOverdraft(lane, id, last, consumer(3), debit);
        _fell();
    }

    /// @dev Poc8: two batches in one block. The first one's finality opens an exit in the very second the other's window
    /// closes. But the second is a lie from its first second: it raises a debit after request and notice.
    function testFuzz_Poc8_AnExitBetweenTwoFinalitiesIsProvenFromTheFirstSecond(uint256 wait) external {
        leavesSoon(3);
        post();
        Header memory one = last;
        IJudge.Word memory before = _debit(3);
        spend(3, 4, DEPOSIT);
        uint64 two = post();
        IJudge.Word memory afterwards = _debit(3);
        vm.warp(block.timestamp + wait % WINDOW);
        vm.prank(challenger);
        referee.proveDebitAfterExit(lane, two, last, one, consumer(3), before, afterwards);
        _fell();
    }

    /// @dev C10, Poc8's honest twin: what was served before the notice is in the first batch after it.
    function testFuzz_AnHonestBatchOfWhoLeavesConvictsNobody(uint256 wait, uint64 amount) external {
        amount = uint64(1 + amount % DEPOSIT);
        post();
        Header memory zero = last;
        IJudge.Word memory before = _debit(3);
        asksToLeave(3);
        vm.warp(block.timestamp + NOTICE);
        spend(3, 4, amount);
        vm.warp(block.timestamp + 1);
        uint64 id = post();
        IJudge.Word memory afterwards = _debit(3);
        vm.warp(block.timestamp + wait % (2 * uint256(WINDOW)));
        refuses(IJudge.NotProven.selector);
        referee.proveDebitAfterExit(lane, id, last, zero, consumer(3), before, afterwards);
        refuses(IJudge.NotProven.selector);
        referee.proveOverdraft(lane, id, last, consumer(3), afterwards);
        if (block.timestamp < settlement.batches(lane, id).until) return;
        settlement.finalize(lane, 1, zero);
        settlement.finalize(lane, id, last);
        takeRest(3);
        eq(token.balanceOf(consumer(3)), DEPOSIT - amount, "the rest");
    }

    function _debit(uint256 who) private view returns (IJudge.Word memory) {
        bytes32 word = Trees.debitLeaf(lane, uint32(who), consumer(who), debited[who]);
        return IJudge.Word(word, debits().prove(who));
    }

    function _fell() private view {
        eq(settlement.books(lane).bond, 0, "the bond is taken");
        eq(settlement.owed(challenger), BOND / 2, "half of it the accuser's");
        eq(settlement.heads(lane).next, settlement.heads(lane).finalized + 1, "all that pended is void");
    }
}
