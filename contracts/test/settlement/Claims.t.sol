// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {BlacklistToken, HookToken} from "../Tokens.sol";
import {Trees} from "../Trees.sol";

/// @dev Payees are paid, alone and in ranges.
contract ClaimsTest is Base {
    function test_Claim_PaysThePayeeInTheLeaf_AndAStaleClaimMovesNothing() external {
        spend(1, 1, 100);
        settle();
        bytes32[] memory proof = Trees.prove(payoutLeaves(), 1);
        vm.prank(stranger);
        eq(settlement.claim(lane, 1, payee(1), 100, proof), 100, "paid");
        eq(settlement.claim(lane, 1, payee(1), 100, proof), 0, "stale");
        eq(token.balanceOf(payee(1)), 100, "payee");
        eq(settlement.claimed(lane, 1), 100, "claimed");
        eq(settlement.claimed(lane, 2), 0, "a neighbour in the same slot");
        spend(1, 1, 11);
        settle();
        eq(settlement.claim(lane, 1, payee(1), 111, Trees.prove(payoutLeaves(), 1)), 11, "what is new");
    }

    function testFuzz_RevertWhen_AClaimIsForged(uint32 index, address to, uint64 cumulative) external {
        spend(1, 1, 100);
        settle();
        vm.assume(index != 1 || to != payee(1) || cumulative != 100);
        bytes32[] memory proof = Trees.prove(payoutLeaves(), index % 8);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, index, to, cumulative, proof);
    }

    function test_ClaimRange_PaysAll_AndAFrontRunClaimIsNotPaidTwice() external {
        spend(1, 1, 10);
        spend(1, 2, 20);
        spend(2, 4, 40);
        settle();
        settlement.claim(lane, 2, payee(2), 20, Trees.prove(payoutLeaves(), 2)); // the front-run
        eq(settlement.claimRange(lane, 1, 3, rows(1, 4), Trees.proveRange(payoutLeaves(), 1, 4)), 50, "the rest");
        eq(token.balanceOf(payee(1)), 10, "1");
        eq(token.balanceOf(payee(2)), 20, "2");
        eq(token.balanceOf(payee(4)), 40, "4");
    }

    /// @dev The plain twin of claimRange's assembly: one claim after the other.
    function testFuzz_ClaimRangeAgreesWithClaimsOneByOne(uint16[4] memory first, uint16[4] memory more, uint8 cut_)
        external
    {
        uint256 start = 1 + cut_ % 4;
        uint256 count = 1 + (cut_ / 4) % (5 - start);
        uint256 spent;
        for (uint256 i; i < 4; ++i) {
            spend(1, i + 1, first[i] % 1000);
            spent += first[i] % 1000;
        }
        settle();
        settlement.claimRange(lane, uint32(start), 3, rows(start, count), Trees.proveRange(payoutLeaves(), start, count));
        uint64[] memory had = new uint64[](5);
        for (uint256 i = start; i < start + count; ++i) had[i] = earned[i];
        for (uint32 i = 1; i <= 4; ++i) eq(settlement.claimed(lane, i), had[i], "claimed at first");
        for (uint256 i; i < 4; ++i) spend(2, i + 1, more[i] % 1000);
        settle();
        uint256 expected;
        for (uint256 i = 1; i <= 4; ++i) expected += earned[i] - had[i];
        eq(settlement.claimRange(lane, 1, 3, rows(1, 4), Trees.proveRange(payoutLeaves(), 1, 4)), expected, "paid");
        for (uint32 i = 1; i <= 4; ++i) {
            eq(settlement.claimed(lane, i), earned[i], "claimed");
            eq(token.balanceOf(payee(i)), earned[i], "received");
        }
    }

    function test_RevertWhen_ARangeIsForged() external {
        spend(1, 1, 10);
        settle();
        bytes32[] memory proof = Trees.proveRange(payoutLeaves(), 1, 4);
        bytes32[] memory forged = rows(1, 4);
        forged[1] = bytes32((uint256(uint160(stranger)) << 64) | 5);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, 3, forged, proof);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, 3, new bytes32[](0), proof);
    }

    function test_ClaimRange_PassesOverABlacklistedPayee_WhoCanClaimLater() external {
        BlacklistToken coin = new BlacklistToken();
        (, lane) = (deployFor(coin), 1);
        spend(1, 1, 10);
        spend(1, 2, 20);
        spend(1, 3, 30);
        settle();
        coin.blacklist(payee(2), true);
        eq(settlement.claimRange(lane, 1, 3, rows(1, 4), Trees.proveRange(payoutLeaves(), 1, 4)), 40, "others");
        eq(settlement.claimed(lane, 2), 0, "not taken");
        eq(settlement.claimed(lane, 3), 30, "its neighbour is");
        coin.blacklist(payee(2), false);
        eq(settlement.claim(lane, 2, payee(2), 20, Trees.prove(payoutLeaves(), 2)), 20, "later");
    }

    function test_ATokenThatCallsBackFindsTheBooksClosed() external {
        HookToken coin = new HookToken();
        deployFor(coin);
        spend(1, 1, 100);
        settle();
        bytes32[] memory proof = Trees.prove(payoutLeaves(), 1);
        coin.onTransferTo(
            payee(1), address(settlement), abi.encodeCall(settlement.claim, (lane, 1, payee(1), 100, proof))
        );
        settlement.claim(lane, 1, payee(1), 100, proof);
        eq(coin.balanceOf(payee(1)), 100, "once");
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        settle();
        proof = Trees.prove(debitLeaves(), 1);
        coin.onTransferTo(
            consumer(1), address(settlement), abi.encodeCall(settlement.withdraw, (lane, consumer(1), 100, proof))
        );
        settlement.withdraw(lane, consumer(1), 100, proof);
        eq(coin.balanceOf(consumer(1)), DEPOSIT - 100, "once");
    }

    // ------------------------------------------------------------------ helpers

    function rows(uint256 start, uint256 count) private view returns (bytes32[] memory made) {
        made = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            uint64 amount = earned[start + i];
            if (amount != 0) made[i] = bytes32((uint256(uint160(payee(start + i))) << 64) | amount);
        }
    }
}
