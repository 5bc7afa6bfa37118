// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuthorizations} from "../../src/interfaces/IAuthorizations.sol";
import {IConsumers} from "../../src/interfaces/IConsumers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {DollarToken, HookToken} from "../Tokens.sol";

/// @dev Money in: by approval, permit and authorization. It lies at the lane's address at once.
contract DepositsTest is Base {
    function test_Deposit_IndexesConsumersFromOne() external view {
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            eq(settlement.accounts(lane, consumer(i)).index, i, "index");
            eq(settlement.accounts(lane, consumer(i)).deposited, DEPOSIT, "deposited");
        }
        eq(settlement.heads(lane).consumers, CONSUMERS, "consumers");
        eq(settlement.books(lane).net, CONSUMERS * DEPOSIT, "net");
        eq(token.balanceOf(lane), CONSUMERS * DEPOSIT, "at the lane");
        eq(token.balanceOf(address(consumers)), 0, "nothing lies with Consumers");
    }

    function test_RevertWhen_ADepositIsNothingOrNowhere() external {
        refuses(ISettlement.ZeroAmount.selector);
        consumers.deposit(lane, stranger, 0);
        token.approve(address(consumers), 1);
        refuses(ISettlement.LaneInactive.selector);
        consumers.deposit(address(99), stranger, 1);
    }

    /// @dev So a million accounts of one atom cost their deposits.
    function testFuzz_RevertWhen_ANewAccountBringsLessThanTheLanesLeast(uint64 least, uint64 amount) external {
        least = uint64(1 + least % 1e9);
        amount = uint64(1 + amount % 2e9);
        ISettlement.Terms memory terms = someTerms();
        terms.minDeposit = least;
        lane = openLane(operator, "least", terms, BOND);
        token.approve(address(consumers), uint256(amount) + 1);
        if (amount < least) refuses(ISettlement.DepositTooSmall.selector);
        consumers.deposit(lane, stranger, amount);
        if (amount < least) return;
        consumers.deposit(lane, stranger, 1); // a known account brings what it likes
        eq(settlement.accounts(lane, stranger).deposited, uint256(amount) + 1, "both");
    }

    function test_RevertWhen_AnybodyButConsumersBooks() external {
        refuses(ISettlement.NotConsumers.selector);
        settlement.credit(lane, stranger, 1, true);
        refuses(ISettlement.NotConsumers.selector);
        settlement.request(lane, consumer(1), true);
    }

    function testFuzz_C7_NoBookingPassesWhatTheLaneHolds(uint64 amount) external {
        vm.assume(amount != 0 && amount < type(uint64).max - CONSUMERS * DEPOSIT);
        vm.prank(address(consumers));
        refuses(ISettlement.NotReceived.selector);
        settlement.credit(lane, stranger, amount, true);
    }

    function test_C6_AStrangersDepositChangesNoExit() external {
        asksToLeave(1);
        uint40 asked = settlement.accounts(lane, consumer(1)).requestedAt;
        vm.warp(block.timestamp + 100);
        token.approve(address(consumers), 5);
        consumers.deposit(lane, consumer(1), 5);
        eq(settlement.accounts(lane, consumer(1)).requestedAt, asked, "it leaves as before");
    }

    // ------------------------------------------------------------------ permits

    function test_DepositWithPermit_SurvivesAFrontRunPermit() external {
        (address owner, uint256 deadline) = (consumer(1), block.timestamp); // its last second
        token.transfer(owner, 500);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(consumerKey(1), _permitDigest(owner, 500, deadline));
        domain().permit(owner, address(consumers), 500, deadline, v, r, s); // the front-runner's
        vm.prank(owner);
        consumers.depositWithPermit(lane, owner, 500, deadline, v, r, s);
        eq(settlement.accounts(lane, owner).deposited, DEPOSIT + 500, "deposited");
    }

    function test_DepositWithPermit_TakesOnlyFromItsCaller() external {
        (address owner, uint256 deadline) = (consumer(1), block.timestamp + 1);
        token.transfer(owner, 500);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(consumerKey(1), _permitDigest(owner, 500, deadline));
        vm.prank(stranger);
        vm.expectRevert();
        consumers.depositWithPermit(lane, stranger, 500, deadline, v, r, s);
        eq(token.balanceOf(owner), 500, "kept");
    }

    // ------------------------------------------------------------------ authorizations

    function test_DepositWithAuthorization_LandsWhereItsNonceSays() external {
        bytes memory signature = _authorize(1, 700, lane, "salt");
        vm.prank(stranger);
        consumers.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        eq(settlement.accounts(lane, consumer(1)).deposited, DEPOSIT + 700, "deposited");
        eq(settlement.accounts(lane, consumer(1)).paidIn, 0, "a deposit is no payment");
        refuses(IAuthorizations.AuthorizationSpent.selector);
        consumers.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
    }

    function test_RevertWhen_AnAuthorizationIsRedirectedOrFrontRun() external {
        bytes memory signature = _authorize(1, 700, lane, "salt");
        address other = openLane(stranger, 0);
        refuses(IAuthorizations.SignatureInvalid.selector);
        consumers.depositWithAuthorization(other, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        refuses(IAuthorizations.SignatureInvalid.selector);
        consumers.depositWithAuthorization(lane, consumer(2), 700, 0, block.timestamp + 1, "salt", signature);
        refuses(ISettlement.LaneInactive.selector);
        consumers.depositWithAuthorization(stranger, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        bytes32 nonce = keccak256(abi.encode(lane, consumer(1), bytes32("salt")));
        vm.prank(stranger);
        refuses(IAuthorizations.CallerIsNotPayee.selector);
        auth().receiveWithAuthorization(consumer(1), lane, 700, 0, block.timestamp + 1, nonce, signature);
    }

    function test_RevertWhen_AnAuthorizationComesToAStoppedLane() external {
        bytes memory signature = _authorize(1, 700, lane, "salt");
        setActive(false);
        refuses(ISettlement.LaneInactive.selector);
        consumers.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        eq(token.balanceOf(consumer(1)), 700, "kept");
    }

    // ------------------------------------------------------------------ hostile tokens

    function test_RevertWhen_TheTokenTakesAFee() external {
        DollarToken coin = deployForDollar();
        coin.setFee(1);
        coin.approve(address(consumers), 1_000);
        vm.expectRevert(abi.encodeWithSelector(IConsumers.NotReceived.selector, 1_000, 999));
        consumers.deposit(lane, stranger, 1_000);
    }

    function test_RevertWhen_AnAuthorizationPaysATokensFee() external {
        DollarToken coin = deployForDollar();
        bytes memory signature = _authorize(1, 700, lane, "salt");
        coin.setFee(1);
        refuses(IConsumers.NotReceived.selector);
        consumers.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
        coin.setFee(0);
        consumers.depositWithAuthorization(lane, consumer(1), 700, 0, block.timestamp + 1, "salt", signature);
    }

    function testFuzz_ATokenThatCallsBackBooksNothingTwice(uint64 inner) external {
        HookToken coin = new HookToken();
        deployFor(coin);
        inner = uint64(1 + inner % 1_000);
        address who = consumer(1);
        coin.transfer(who, 1_000);
        coin.transfer(address(coin), 1_000); // the nested deposit comes from the token, with money of its own
        vm.prank(address(coin));
        coin.approve(address(consumers), 1_000);
        coin.onTransferTo(lane, address(consumers), abi.encodeCall(consumers.deposit, (lane, who, inner)));
        vm.startPrank(who);
        coin.approve(address(consumers), 1_000);
        vm.expectRevert(abi.encodeWithSelector(IConsumers.NotReceived.selector, 100, 100 + uint256(inner)));
        consumers.deposit(lane, who, 100);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ inside

    function _authorize(uint256 who, uint64 amount, address to, bytes32 salt) private returns (bytes memory) {
        token.transfer(consumer(who), amount);
        bytes32 nonce = keccak256(abi.encode(to, consumer(who), salt));
        return authorization(consumerKey(who), true, to, amount, 0, block.timestamp + 1, nonce);
    }

    function _permitDigest(address owner, uint256 value, uint256 deadline) private view returns (bytes32) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        uint256 nonce = domain().nonces(owner);
        bytes32 structHash = keccak256(abi.encode(typehash, owner, address(consumers), value, nonce, deadline));
        return keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), structHash));
    }
}
