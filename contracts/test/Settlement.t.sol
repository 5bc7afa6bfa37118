// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Base} from "./Base.sol";
import {BlacklistToken, FeeToken, HookToken, MockToken, WeiToken} from "./Tokens.sol";
import {Trees} from "./Trees.sol";

/// @dev The life of a lane: bond, deposit, commit, finalize, claim, withdraw, escape. Disputes: Disputes.t.sol.
contract SettlementTest is Base {
    // ------------------------------------------------------------------ bonds

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

    // ------------------------------------------------------------------ deposits

    function test_Deposit_IndexesConsumersFromOne() external view {
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            eq(settlement.accounts(lane, consumer(i)).index, i, "index");
            eq(settlement.accounts(lane, consumer(i)).deposited, DEPOSIT, "deposited");
        }
        eq(settlement.lanes(lane).net, CONSUMERS * DEPOSIT, "net");
    }

    function test_RevertWhen_ADepositIsNothingOrForNobodyOrNowhere() external {
        refuses(ISettlement.ZeroAmount.selector);
        settlement.deposit(lane, stranger, 0);
        refuses(ISettlement.ZeroAddress.selector);
        settlement.deposit(lane, address(0), 1);
        refuses(ISettlement.LaneInactive.selector);
        settlement.deposit(99, stranger, 1);
    }

    function test_DepositWithPermit_SurvivesAFrontRunPermit() external {
        (address owner, uint256 deadline) = (consumer(1), block.timestamp + 1);
        token.transfer(owner, 500);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(consumerKey(1), _permitDigest(owner, 500, deadline));
        domain().permit(owner, address(settlement), 500, deadline, v, r, s); // the front-runner's
        vm.prank(owner);
        settlement.depositWithPermit(lane, owner, 500, deadline, v, r, s);
        eq(settlement.accounts(lane, owner).deposited, DEPOSIT + 500, "deposited");
    }

    function test_DepositWithPermit_TakesOnlyFromItsCaller() external {
        (address owner, uint256 deadline) = (consumer(1), block.timestamp + 1);
        token.transfer(owner, 500);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(consumerKey(1), _permitDigest(owner, 500, deadline));
        vm.prank(stranger);
        vm.expectRevert();
        settlement.depositWithPermit(lane, stranger, 500, deadline, v, r, s);
        eq(token.balanceOf(owner), 500, "kept");
    }

    function test_DepositWithAuthorization_LandsWhereItsNonceSays() external {
        bytes memory signature = _funded(1, 700, lane, "salt");
        vm.prank(stranger);
        settlement.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        eq(settlement.accounts(lane, consumer(1)).deposited, DEPOSIT + 700, "deposited");
        refuses(bytes4(keccak256("AuthorizationSpent(address,bytes32)")));
        settlement.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
    }

    function test_RevertWhen_AnAuthorizationIsRedirectedOrFrontRun() external {
        bytes memory signature = _funded(1, 700, lane, "salt");
        uint32 other = openLane(stranger);
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.depositWithAuthorization(other, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.depositWithAuthorization(lane, consumer(2), 700, 0, block.timestamp + 1, "salt", signature);
        bytes32 nonce = keccak256(abi.encode(lane, consumer(1), bytes32("salt")));
        vm.prank(stranger);
        refuses(bytes4(keccak256("CallerIsNotPayee(address,address)")));
        auth().receiveWithAuthorization(
            consumer(1), address(settlement), 700, 0, block.timestamp + 1, nonce, signature
        );
    }

    function test_RevertWhen_ASignatureIsMalleableOrShort() external {
        bytes32 nonce = keccak256(abi.encode(lane, consumer(1), bytes32("salt")));
        token.transfer(consumer(1), 700);
        bytes memory signature = authorization(
            consumerKey(1), true, address(settlement), 700, 0, block.timestamp + 1, nonce
        );
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.depositWithAuthorization(
            lane, consumer(1), 700, 0, block.timestamp + 1, "salt", highS(signature)
        );
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", short(signature));
    }

    function test_DepositFromInbox_TakesAPlainTransfer_AlsoWhenSubmittedByAnother() external {
        address inbox = inboxOf(lane);
        bytes memory signature = _plain(1, inbox, 300, "a");
        settlement.depositFromInbox(lane, consumer(1), 300, 0, block.timestamp + 1, "a", signature);
        signature = _plain(1, inbox, 400, "b");
        vm.prank(stranger);
        auth().transferWithAuthorization(consumer(1), inbox, 400, 0, block.timestamp + 1, "b", signature);
        settlement.depositFromInbox(lane, consumer(1), 400, 0, block.timestamp + 1, "b", signature);
        eq(settlement.accounts(lane, consumer(1)).deposited, DEPOSIT + 700, "deposited");
        eq(token.balanceOf(inbox), 0, "inbox is empty");
    }

    function test_RevertWhen_AnInboxPaymentIsBookedTwiceOrWithAnothersMoney() external {
        address inbox = inboxOf(lane);
        bytes memory mine = _plain(1, inbox, 300, "a");
        settlement.depositFromInbox(lane, consumer(1), 300, 0, block.timestamp + 1, "a", mine);
        // somebody else's payment waits in the inbox
        bytes memory theirs = _plain(2, inbox, 300, "b");
        auth().transferWithAuthorization(consumer(2), inbox, 300, 0, block.timestamp + 1, "b", theirs);
        refuses(bytes4(keccak256("AuthorizationUnusable(address,bytes32)")));
        settlement.depositFromInbox(lane, consumer(1), 300, 0, block.timestamp + 1, "a", mine);
        // the same nonce, spent on a transfer to oneself
        bytes memory toSelf = _plain(3, consumer(3), 300, "c");
        auth().transferWithAuthorization(consumer(3), consumer(3), 300, 0, block.timestamp + 1, "c", toSelf);
        bytes memory toInbox = _plain(3, inbox, 300, "c");
        refuses(bytes4(keccak256("AuthorizationUnusable(address,bytes32)")));
        settlement.depositFromInbox(lane, consumer(3), 300, 0, block.timestamp + 1, "c", toInbox);
    }

    function test_RevertWhen_TheTokenTakesAFee() external {
        FeeToken coin = new FeeToken();
        deployAround(address(coin));
        coin.mint(operator, 2 * BOND);
        vm.startPrank(operator);
        coin.approve(address(settlement), BOND);
        refuses(ISettlement.AmountNotReceived.selector);
        settlement.openLane(WINDOW, ANSWER, BOND);
        vm.stopPrank();
    }

    function test_RevertWhen_TheTokenHasMoreThanNineDecimals() external {
        address coin = address(new WeiToken());
        vm.expectRevert();
        this.deployAroundExternally(coin);
    }

    function deployAroundExternally(address coin) external {
        deployAround(coin);
    }

    function test_C6_AThirdPartysDepositNeverChangesExitState() external {
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        uint40 requested = settlement.accounts(lane, consumer(1)).requestedAt;
        vm.warp(block.timestamp + NOTICE + 1);
        depositFor(consumer(1), 5);
        eq(settlement.accounts(lane, consumer(1)).requestedAt, requested, "still leaving");
        settle();
        settlement.withdraw(lane, consumer(1), 0, Trees.prove(debitLeaves(), 1));
        eq(token.balanceOf(consumer(1)), DEPOSIT + 5, "left with all");
    }

    // ------------------------------------------------------------------ commits

    function test_C1_RevertWhen_TotalsDiffer() external {
        spend(1, 1, 100);
        ISettlement.Header memory h = nextHeader();
        h.receiptsRoot = bytes32(uint256(99));
        _refusesCommit(h, ISettlement.TotalsDiffer.selector);
        h = nextHeader();
        h.debitRoot = bytes32(uint256(99));
        _refusesCommit(h, ISettlement.TotalsDiffer.selector);
        h = nextHeader();
        h.linesRoot = bytes32(uint256(199));
        _refusesCommit(h, ISettlement.LinesDiffer.selector);
    }

    function test_RevertWhen_ABatchDoesNotFollowTheOneBefore() external {
        post();
        ISettlement.Header memory h = nextHeader();
        h.prev = bytes32(uint256(1));
        _refusesCommit(h, ISettlement.PreviousHeaderWrong.selector);
        h = nextHeader();
        h.firstCall = 0;
        _refusesCommit(h, ISettlement.FirstCallWrong.selector);
    }

    function test_C2_RevertWhen_TheTotalIsAboveWhatTheLaneHolds() external {
        uint32 other = lane;
        lane = openLane(stranger); // another lane's money must not help
        depositFor(consumer(1), 1_000);
        uint64 held = uint64(1_000 + BOND);
        debited[1] = held + 1;
        earned[1] = held + 1;
        ISettlement.Header memory h = nextHeader();
        vm.prank(stranger);
        refuses(ISettlement.Insolvent.selector);
        settlement.commit(lane, h, NONE, noHeader());
        eq(settlement.lanes(other).net, CONSUMERS * DEPOSIT, "untouched");
    }

    function test_RevertWhen_TooManyBatchesPend() external {
        for (uint256 i; i < 128; ++i) post();
        _refusesCommit(nextHeader(), ISettlement.TooManyPending.selector);
    }

    function test_Commit_FinalizesAnOlderBatchWhenItIsRipe_AndPassesOverWhenNot() external {
        spend(1, 1, 100);
        uint64 first = post();
        ISettlement.Header memory older = last;
        spend(1, 2, 50);
        ISettlement.Header memory newer = nextHeader();
        vm.prank(operator);
        settlement.commit(lane, newer, first, older); // not ripe
        eq(settlement.head(lane).finalized, 0, "passed over");
        last = newer;
        vm.warp(block.timestamp + WINDOW);
        newer = nextHeader();
        vm.prank(operator);
        settlement.commit(lane, newer, first, older);
        eq(settlement.head(lane).finalized, 1, "final");
        eq(settlement.head(lane).next, 4, "posted");
    }

    function test_CommitWithData_ChecksTheDigest() external {
        ISettlement.Header memory h = nextHeader();
        h.dataRef = sha256("file");
        vm.startPrank(operator);
        refuses(ISettlement.DataMismatch.selector);
        settlement.commitWithData(lane, h, NONE, noHeader(), "another");
        settlement.commitWithData(lane, h, NONE, noHeader(), "file");
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ finality

    function test_C4_RevertWhen_AFinalizationComesEarlyOrOutOfOrderOrWithAnotherHeader() external {
        uint64 first = post();
        ISettlement.Header memory h = last;
        uint64 second = post();
        refuses(ISettlement.WindowOpen.selector);
        settlement.finalize(lane, first, h);
        vm.warp(block.timestamp + WINDOW);
        ISettlement.Header memory newer = last;
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, second, newer);
        refuses(ISettlement.HeaderUnknown.selector);
        settlement.finalize(lane, first, newer);
        settlement.finalize(lane, first, h);
        settlement.finalize(lane, second, newer);
        refuses(ISettlement.OutOfOrder.selector);
        settlement.finalize(lane, second, newer);
    }

    // ------------------------------------------------------------------ claims

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

    // ------------------------------------------------------------------ exits

    function test_C5_AWithdrawalNeedsAFinalBatchPostedAfterTheRequestAndItsNotice() external {
        spend(1, 1, 100);
        post();
        ISettlement.Header memory before = last;
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 100, new bytes32[](2));
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE);
        spend(1, 1, 30); // served before the operator saw the request
        post();
        ISettlement.Header memory within = last;
        vm.warp(block.timestamp + 1);
        spend(1, 1, 7);
        post();
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, before);
        settlement.finalize(lane, 2, within);
        refuses(ISettlement.NoFinalBatchSince.selector);
        settlement.withdraw(lane, consumer(1), 130, new bytes32[](2));
        settlement.finalize(lane, 3, last);
        bytes32[] memory proof = Trees.prove(debitLeaves(), 1);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 130, proof); // an older debit
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(1), 0, proof); // none
        settlement.withdraw(lane, consumer(1), 137, proof);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 137, "the rest");
        refuses(ISettlement.NotRequested.selector);
        settlement.withdraw(lane, consumer(1), 137, proof);
    }

    function test_Withdraw_OfAnAccountBeyondTheTreesWidth() external {
        for (uint256 i = 4; i <= 9; ++i) depositFor(consumer(i), 50);
        spend(1, 1, 100);
        vm.prank(consumer(9));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        settle();
        bytes32[] memory ofZero = Trees.prove(debitLeaves(), 0);
        bytes32[] memory ofOne = Trees.prove(debitLeaves(), 1);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.withdraw(lane, consumer(9), 0, ofOne);
        settlement.withdraw(lane, consumer(9), 0, ofZero);
        eq(token.balanceOf(consumer(9)), 50, "all of it");
    }

    function test_RequestWithdrawFor_IsRelayedOnceAndInTime() external {
        bytes32 typehash = keccak256("RequestWithdraw(uint32 lane,address account,uint256 nonce,uint256 deadline)");
        uint256 deadline = block.timestamp + 1;
        bytes32 digest = tollwayDigest(keccak256(abi.encode(typehash, lane, consumer(1), 0, deadline)));
        bytes memory signature = signed(consumerKey(1), digest);
        bytes memory forged = signed(consumerKey(2), digest);
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, forged);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, signature);
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, signature);
        vm.warp(deadline + 1);
        refuses(ISettlement.SignatureExpired.selector);
        settlement.requestWithdrawFor(lane, consumer(1), deadline, signature);
        vm.prank(stranger);
        refuses(ISettlement.NotRequested.selector);
        settlement.requestWithdraw(lane);
    }

    function test_SessionKeys_AreSetRevokedAndRelayed() external {
        vm.startPrank(consumer(1));
        settlement.setSessionKey(stranger, false);
        vm.assertFalse(settlement.speaksFor(consumer(1), stranger), "never was one");
        settlement.setSessionKey(stranger, true);
        vm.assertTrue(settlement.sessionKey(consumer(1), stranger), "active");
        settlement.setSessionKey(stranger, false);
        vm.stopPrank();
        vm.assertFalse(settlement.sessionKey(consumer(1), stranger), "revoked");
        vm.assertTrue(settlement.speaksFor(consumer(1), stranger), "but it was one");
        bytes32 typehash =
            keccak256("SetSessionKey(address account,address key,bool active,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(abi.encode(typehash, consumer(2), stranger, true, 0, block.timestamp));
        bytes memory signature = signed(consumerKey(2), tollwayDigest(hash));
        settlement.setSessionKeyFor(consumer(2), stranger, true, block.timestamp, signature);
        vm.assertTrue(settlement.sessionKey(consumer(2), stranger), "relayed");
        refuses(ISettlement.SignatureInvalid.selector);
        settlement.setSessionKeyFor(consumer(2), stranger, true, block.timestamp, signature);
    }

    function test_Escape_FromAnOperatorThatVanished() external {
        spend(1, 1, 100);
        settle();
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        bytes32[] memory proof = Trees.prove(debitLeaves(), 1);
        refuses(ISettlement.TooEarly.selector);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        refuses(ISettlement.NotRequested.selector);
        settlement.escapeWithdraw(lane, consumer(2), 0, proof);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(1), 100, proof);
        eq(token.balanceOf(consumer(1)), DEPOSIT - 100, "escaped");
    }

    function test_RevertWhen_AnEscapeComesWithABatchPending() external {
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + 7 days);
        post();
        refuses(ISettlement.BatchesPending.selector);
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
    }

    function test_Escape_TheBondPaysWhatTheAccountHadSpent_WhenTheOperatorReturns() external {
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            vm.prank(consumer(i));
            settlement.requestWithdraw(lane);
        }
        vm.warp(block.timestamp + 7 days);
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            settlement.escapeWithdraw(lane, consumer(i), 0, new bytes32[](0));
        }
        eq(settlement.lanes(lane).net, 0, "all gone");
        spend(1, 1, 400); // it had been served before the operator vanished
        settle();
        eq(settlement.lanes(lane).bond, BOND - 400, "the bond paid");
        eq(settlement.claim(lane, 1, payee(1), 400, Trees.prove(payoutLeaves(), 1)), 400, "the payee is paid");
    }

    function test_LaneMigration_AConsumerTakesItsRestToAnotherLane() external {
        spend(1, 1, 100);
        vm.prank(consumer(1));
        settlement.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        settle();
        settlement.withdraw(lane, consumer(1), 100, Trees.prove(debitLeaves(), 1));
        uint32 next = openLane(operator);
        vm.startPrank(consumer(1));
        token.approve(address(settlement), DEPOSIT - 100);
        settlement.deposit(next, consumer(1), DEPOSIT - 100);
        vm.stopPrank();
        eq(settlement.accounts(next, consumer(1)).index, 1, "first there");
        eq(settlement.lanes(next).net, DEPOSIT - 100, "moved");
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

    function deployFor(MockToken coin) internal returns (MockToken) {
        coin.mint(address(this), 1e15);
        token = coin;
        deployAround(address(coin));
        lane = openLane(operator);
        for (uint256 i = 1; i <= PAYEES; ++i) registry.registerPayee(payee(i));
        for (uint256 i = 1; i <= CONSUMERS; ++i) depositFor(consumer(i), DEPOSIT);
        return coin;
    }

    function rows(uint256 start, uint256 count) internal view returns (bytes32[] memory made) {
        made = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            uint64 amount = earned[start + i];
            if (amount != 0) made[i] = bytes32((uint256(uint160(payee(start + i))) << 64) | amount);
        }
    }

    function _refusesCommit(ISettlement.Header memory h, bytes4 selector) private {
        vm.prank(operator);
        refuses(selector);
        settlement.commit(lane, h, NONE, noHeader());
    }

    function _funded(uint256 i, uint64 amount, uint32 lane_, bytes32 salt) private returns (bytes memory) {
        token.transfer(consumer(i), amount);
        bytes32 nonce = keccak256(abi.encode(lane_, consumer(i), salt));
        return authorization(consumerKey(i), true, address(settlement), amount, 0, block.timestamp + 1, nonce);
    }

    function _plain(uint256 i, address to, uint64 amount, bytes32 nonce) private returns (bytes memory) {
        token.transfer(consumer(i), amount);
        return authorization(consumerKey(i), false, to, amount, 0, block.timestamp + 1, nonce);
    }

    function _permitDigest(address owner, uint256 amount, uint256 deadline) private view returns (bytes32) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(
            abi.encode(typehash, owner, address(settlement), amount, domain().nonces(owner), deadline)
        );
        return keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), hash));
    }
}
