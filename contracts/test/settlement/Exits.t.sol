// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {IConsumers} from "../../src/interfaces/IConsumers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {DollarToken} from "../Tokens.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Wallet} from "../World.sol";

/// @dev Consumers leave, with the operator or without it.
contract ExitsTest is Base {
    using Trees for Sparse;

    function test_C5_AWithdrawalNeedsAFinalBatchClosedAfterTheRequestAndItsNotice() external {
        spendAndPost(100);
        Header memory one = last;
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 100, new bytes32[](2));
        asksToLeave(1);
        vm.warp(block.timestamp + NOTICE);
        spend(1, 1, 30); // served before the operator saw the request
        post();
        Header memory two = last;
        vm.warp(block.timestamp + 1);
        spendAndPost(7);
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, one);
        settlement.finalize(lane, 2, two);
        refuses(ISettlement.NoFinalBatchSince.selector);
        settlement.withdraw(lane, consumer(1), 130, new bytes32[](2));
        settlement.finalize(lane, 3, last);
        bytes32[] memory proof = debits().prove(1);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 130, proof); // an older debit
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 0, proof); // none
        vm.prank(stranger); // anybody brings it
        settlement.withdraw(lane, consumer(1), 137, proof);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 137, "the rest");
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 137, proof);
        ISettlement.Account memory a = settlement.accounts(lane, consumer(1));
        eq(a.withdrawn, DEPOSIT - 137, "withdrawn");
        eq(a.debitAtExit, 137, "what was debited before needs no mandate any more");
        eq(settlement.books(lane).net, CONSUMERS * DEPOSIT - (DEPOSIT - 137), "net");
    }

    /// @dev F16: a batch is judged by when it was closed, not by when it was posted.
    function test_ABatchClosedBeforeTheRequestAndPostedLateLetsNobodyOut() external {
        Header memory h = nextHeader();
        vm.warp(block.timestamp + 1);
        leavesSoon(1);
        post(h);
        finalizeLast();
        bytes32[] memory proof = debits().prove(1);
        refuses(ISettlement.NoFinalBatchSince.selector);
        settlement.withdraw(lane, consumer(1), 0, proof);
    }

    function test_WhoComesBackLeavesWithTheDifference() external {
        spend(1, 1, 100);
        _leaves(1);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 100, "first");
        depositFor(consumer(1), 1_000);
        spend(1, 1, 40);
        _leaves(1);
        eq(token.balanceOf(consumer(1)), DEPOSIT + 1_000 - 140, "all but what was debited");
        _leaves(1);
        eq(token.balanceOf(consumer(1)), DEPOSIT + 1_000 - 140, "and nothing is left");
    }

    function testFuzz_Withdraw_OfAnAccountBeyondTheTree(uint8 extra) external {
        extra = uint8(CONSUMERS) + 1 + extra % 12;
        for (uint256 i = CONSUMERS + 1; i <= extra; ++i) depositFor(consumer(i), 50);
        spend(1, 1, 100);
        leavesSoon(extra);
        settle(); // a tree of four places
        if (extra > 3) {
            settlement.withdraw(lane, consumer(extra), 0, new bytes32[](0));
        }
        eq(token.balanceOf(consumer(extra)), 50, "all of it");
    }

    function testFuzz_RevertWhen_AnAccountInTheTreeClaimsToBeBeyondIt(uint256 which) external {
        spend(1, 1, 100);
        which = 1 + which % CONSUMERS;
        leavesSoon(which);
        settle();
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(which), 0, new bytes32[](0));
        bytes32[] memory proof = debits().prove(0); // of another's zero word
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(which), 0, proof);
        takeRest(which);
    }

    function testFuzz_RevertWhen_ADebitIsForged(uint64 debit, uint256 word, uint256 bit) external {
        spend(1, 1, 100);
        spend(2, 1, 60);
        leavesSoon(1);
        settle();
        bytes32[] memory proof = debits().prove(1);
        vm.assume(debit != 100);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), debit, proof);
        proof[word % proof.length] ^= bytes32(uint256(1) << (bit % 256));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 100, proof);
        asksToLeave(2);
        proof = debits().prove(2);
        refuses(ISettlement.NoFinalBatchSince.selector);
        settlement.withdraw(lane, consumer(2), 60, proof);
    }

    function test_CancelWithdraw_StaysAndAsksAnewWhileTheNoticeRuns() external {
        asksToLeave(1);
        vm.prank(consumer(1));
        refuses(ISettlement.RequestUnchanged.selector);
        consumers.requestWithdraw(lane); // a request is not moved
        vm.warp(block.timestamp + NOTICE);
        vm.prank(consumer(1));
        consumers.cancelWithdraw(lane);
        vm.prank(consumer(1));
        refuses(ISettlement.RequestUnchanged.selector);
        consumers.cancelWithdraw(lane);
        vm.warp(block.timestamp + 1);
        settle();
        bytes32[] memory proof = debits().prove(1);
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 0, proof);
        asksToLeave(1);
        refuses(ISettlement.NoFinalBatchSince.selector);
        settlement.withdraw(lane, consumer(1), 0, proof); // the batch is older than the new request
        vm.prank(stranger);
        refuses(ISettlement.RequestUnchanged.selector);
        consumers.requestWithdraw(lane); // no account
    }

    /// @dev Poc8: what was left out of a batch because its account leaves must stay rightly left out.
    function test_RevertWhen_ARequestIsTakenBackAfterItsNotice() external {
        leavesSoon(1);
        vm.prank(consumer(1));
        refuses(ISettlement.RequestUnchanged.selector);
        consumers.cancelWithdraw(lane);
        settle();
        takeRest(1);
        eq(settlement.accounts(lane, consumer(1)).leftAt, last.closedAt, "what ended before is barred for good");
        depositFor(consumer(1), 5); // and it comes back if it likes
    }

    function test_RequestsAreRelayedOnceAndInTime() external {
        uint256 deadline = block.timestamp + 1;
        bytes memory request = _relay("RequestWithdraw", consumer(1), 1, 0, deadline);
        bytes memory forged = _relay("RequestWithdraw", consumer(1), 2, 0, deadline);
        bytes memory cancel = _relay("CancelWithdraw", consumer(1), 1, 1, deadline);
        refuses(IConsumers.SignatureInvalid.selector);
        consumers.requestWithdrawFor(lane, consumer(1), deadline, forged);
        refuses(IConsumers.SignatureInvalid.selector);
        consumers.cancelWithdrawFor(lane, consumer(1), deadline, request);
        vm.warp(deadline); // its last second
        consumers.requestWithdrawFor(lane, consumer(1), deadline, request);
        eq(consumers.nonces(consumer(1)), 1, "used");
        consumers.cancelWithdrawFor(lane, consumer(1), deadline, cancel);
        refuses(IConsumers.SignatureInvalid.selector);
        consumers.requestWithdrawFor(lane, consumer(1), deadline, request);
        vm.warp(deadline + 1);
        refuses(IConsumers.SignatureExpired.selector);
        consumers.requestWithdrawFor(lane, consumer(1), deadline, request);
        refuses(IConsumers.SignatureExpired.selector);
        consumers.cancelWithdrawFor(lane, consumer(1), deadline, cancel);
    }

    /// @dev A consumer may be a contract: it says itself what it signed (ERC-1271).
    function test_AContractsRequestsAreRelayedAtItsWord() external {
        address wallet = address(new Wallet(consumer(1)));
        depositFor(wallet, DEPOSIT);
        uint256 deadline = block.timestamp;
        bytes memory forged = _relay("RequestWithdraw", wallet, 2, 0, deadline);
        refuses(IConsumers.SignatureInvalid.selector);
        consumers.requestWithdrawFor(lane, wallet, deadline, forged);
        consumers.requestWithdrawFor(lane, wallet, deadline, _relay("RequestWithdraw", wallet, 1, 0, deadline));
        eq(consumers.nonces(wallet), 1, "requested");
        consumers.cancelWithdrawFor(lane, wallet, deadline, _relay("CancelWithdraw", wallet, 1, 1, deadline));
        eq(consumers.nonces(wallet), 2, "and taken back");
    }

    function test_RevertWhen_TheTokenRefusesWhoLeaves() external {
        DollarToken coin = deployForDollar();
        asksToLeave(1);
        leavesSoon(2);
        settle();
        coin.blacklist(consumer(1), true);
        bytes32[] memory proof = debits().prove(1);
        refuses(ISettlement.PaymentRefused.selector);
        settlement.withdraw(lane, consumer(1), 0, proof);
        takeRest(2); // nobody else waits for it
        coin.blacklist(consumer(1), false);
        takeRest(1);
    }

    function test_ATokenThatCallsBackLetsNobodyLeaveTwice() external {
        DollarToken coin = deployForDollar();
        leavesSoon(1);
        settle();
        bytes32[] memory proof = debits().prove(1);
        coin.onTransferTo(
            consumer(1), address(settlement), abi.encodeCall(settlement.withdraw, (lane, consumer(1), 0, proof))
        );
        takeRest(1);
        eq(coin.balanceOf(consumer(1)), DEPOSIT, "once");
    }

    /// @dev C2 at every exit. Nobody watched: a debit stands above its account's deposits, and the last one out waits.
    function test_C2_NoExitReachesWhatIsFinallyPaidOut() external {
        spend(1, 1, 2 * DEPOSIT); // twice what it has
        asksToLeave(1);
        asksToLeave(2);
        leavesSoon(3);
        settle();
        takeRest(1);
        eq(token.balanceOf(consumer(1)), 0, "nothing is left of nothing");
        takeRest(2);
        bytes32[] memory proof = debits().prove(3);
        refuses(ISettlement.AboveNet.selector);
        settlement.withdraw(lane, consumer(3), 0, proof);
        eq(settlement.claim(lane, 1, payee(1), 2 * DEPOSIT, payouts().prove(1)), 2 * DEPOSIT, "paid out of the lane");
    }

    function test_LaneMigration_AConsumerTakesItsRestToAnotherLane() external {
        spend(1, 1, 100);
        _leaves(1);
        address next = openLane(stranger, 0);
        vm.startPrank(consumer(1));
        token.approve(address(consumers), DEPOSIT - 100);
        consumers.deposit(next, consumer(1), DEPOSIT - 100);
        vm.stopPrank();
        eq(settlement.accounts(next, consumer(1)).index, 1, "first there");
        eq(settlement.books(next).net, DEPOSIT - 100, "moved");
    }

    // ------------------------------------------------------------------ inside

    function _leaves(uint256 who) private {
        leavesSoon(who);
        settle();
        takeRest(who);
    }

    function _relay(string memory what, address account, uint256 signer, uint256 nonce, uint256 deadline)
        private
        view
        returns (bytes memory)
    {
        string memory fields = "(address lane,address account,uint256 nonce,uint256 deadline)";
        bytes32 typehash = keccak256(bytes(string.concat(what, fields)));
        bytes32 structHash = keccak256(abi.encode(typehash, lane, account, nonce, deadline));
        return signed(consumerKey(signer), tollwayDigest(structHash));
    }
}
