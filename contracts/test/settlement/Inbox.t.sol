// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IConsumers} from "../../src/interfaces/IConsumers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {DollarToken} from "../Tokens.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev Payments by x402.
abstract contract Payments is Base {
    bytes32 internal constant NONCE = bytes32(uint256(9));

    function _until() internal pure returns (uint256) {
        return 1_900_000_000;
    }

    function _paid(uint256 who, uint64 amount, bytes32 nonce) internal returns (bytes memory) {
        token.transfer(consumer(who), amount);
        return authorization(consumerKey(who), false, lane, amount, 0, _until(), nonce);
    }

    function _books(uint256 who, uint64 amount, bytes32 nonce, bytes memory signature) internal {
        consumers.depositFromInbox(lane, consumer(who), amount, 0, _until(), nonce, signature);
    }
}

/// @dev x402: a plain transfer authorization to the lane's address, booked by whoever brings it.
contract InboxTest is Payments {
    function test_DepositFromInbox_BooksWhatItSubmits() external {
        bytes memory signature = _paid(5, 700, NONCE);
        vm.prank(stranger);
        _books(5, 700, NONCE, signature);
        ISettlement.Account memory a = settlement.accounts(lane, consumer(5));
        eq(a.deposited, 700, "deposited");
        eq(a.paidIn, 700, "as good as a voucher for as much");
        eq(token.balanceOf(lane), CONSUMERS * DEPOSIT + 700, "at the lane");
    }

    function test_DepositFromInbox_BooksWhatSomebodyElseSubmitted() external {
        bytes memory signature = _paid(5, 700, NONCE);
        auth().transferWithAuthorization(consumer(5), lane, 700, 0, _until(), NONCE, signature);
        vm.prank(stranger);
        _books(5, 700, NONCE, signature);
        eq(settlement.accounts(lane, consumer(5)).paidIn, 700, "booked");
    }

    function testFuzz_RevertWhen_APaymentIsBookedTwice(bool submitted) external {
        bytes memory signature = _paid(5, 700, NONCE);
        if (submitted) auth().transferWithAuthorization(consumer(5), lane, 700, 0, _until(), NONCE, signature);
        _books(5, 700, NONCE, signature);
        token.transfer(lane, 700); // as if somebody else's payment lay there
        refuses(IConsumers.AuthorizationUnusable.selector);
        _books(5, 700, NONCE, signature);
        vm.prank(operator);
        refuses(IConsumers.AuthorizationUnusable.selector);
        _books(5, 700, NONCE, signature);
    }

    function test_RevertWhen_ANonceWasSpentByAnotherPayment() external {
        bytes memory signature = _paid(5, 700, NONCE);
        bytes memory elsewhere = authorization(consumerKey(5), false, stranger, 700, 0, _until(), NONCE);
        auth().transferWithAuthorization(consumer(5), stranger, 700, 0, _until(), NONCE, elsewhere);
        token.transfer(lane, 700);
        address[2] memory callers = [operator, stranger];
        for (uint256 i; i < 2; ++i) {
            vm.prank(callers[i]);
            refuses(IConsumers.AuthorizationUnusable.selector);
            _books(5, 700, NONCE, signature);
        }
        bytes32 digest = keccak256(
            abi.encode(keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), consumer(6), NONCE)
        );
        digest = keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), digest));
        bytes memory cancel = signed(consumerKey(6), digest);
        auth().cancelAuthorization(consumer(6), NONCE, cancel);
        bytes memory cancelled = _paid(6, 700, NONCE);
        vm.prank(operator);
        refuses(IConsumers.AuthorizationUnusable.selector); // not even the operator books a payment that was taken back
        _books(6, 700, NONCE, cancelled);
    }

    function test_APlainTransferBelongsToNobody() external {
        token.transfer(lane, 700);
        eq(settlement.books(lane).net, CONSUMERS * DEPOSIT, "not booked");
        refuses(ISettlement.LaneInactive.selector);
        consumers.depositFromInbox(address(99), consumer(5), 700, 0, 1, NONCE, "");
    }

    /// @dev F27.
    function testFuzz_MoneyThatReachesAStoppedLaneCanLeave(bool fell) external {
        bytes memory signature = _paid(5, 700, NONCE);
        if (fell) {
            post();
            convict(1);
            delete last;
        } else {
            setActive(false);
        }
        auth().transferWithAuthorization(consumer(5), lane, 700, 0, _until(), NONCE, signature);
        vm.warp(block.timestamp + 365 days);
        _books(5, 700, NONCE, signature);
        asksToLeave(5);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(5), 0, new bytes32[](0));
        eq(token.balanceOf(consumer(5)), 700, "home");
    }

    /// @dev While the lane is active the account can deposit what is missing, and then book it.
    function testFuzz_LessThanALanesLeastLeavesAStoppedLane(uint64 least, uint64 amount) external {
        amount = 1 + amount % 10_000;
        ISettlement.Terms memory terms = someTerms();
        terms.minDeposit = least = amount + 1 + least % 10_000;
        lane = openLane(operator, "another", terms, BOND);
        bytes memory signature = _paid(5, amount, NONCE);
        auth().transferWithAuthorization(consumer(5), lane, amount, 0, _until(), NONCE, signature);
        refuses(ISettlement.DepositTooSmall.selector);
        _books(5, amount, NONCE, signature);
        setActive(false);
        _books(5, amount, NONCE, signature);
        asksToLeave(5);
        vm.warp(block.timestamp + 7 days);
        settlement.escapeWithdraw(lane, consumer(5), 0, new bytes32[](0));
        eq(token.balanceOf(consumer(5)), amount, "home");
    }
}

/// @dev The same with a token that keeps no record of what spent a nonce, as USDC.
contract InboxOfADollarTest is Payments {
    using Trees for Sparse;

    DollarToken private coin;

    function makeToken() internal override returns (IERC20) {
        coin = aDollar();
        return coin;
    }

    function test_ItsSubmitterBooks() external {
        bytes memory signature = _paid(5, 700, NONCE);
        vm.prank(stranger);
        _books(5, 700, NONCE, signature);
        eq(settlement.accounts(lane, consumer(5)).paidIn, 700, "booked");
    }

    function test_TheOperatorBooksWhatOthersSubmitted() external {
        bytes memory signature = _paid(5, 700, NONCE);
        bytes memory forged = authorization(consumerKey(6), false, lane, 700, 0, _until(), NONCE);
        coin.transferWithAuthorization(consumer(5), lane, 700, 0, _until(), NONCE, signature);
        vm.prank(stranger);
        refuses(IConsumers.AuthorizationUnusable.selector);
        _books(5, 700, NONCE, signature);
        vm.prank(operator);
        refuses(IConsumers.SignatureInvalid.selector);
        _books(5, 700, NONCE, forged);
        vm.prank(operator);
        _books(5, 700, NONCE, signature);
        eq(settlement.accounts(lane, consumer(5)).paidIn, 700, "booked");
    }

    /// @dev C7. An operator with an accomplice's cancelled payments reaches at most what is in no account.
    function testFuzz_NoBookingReachesWhatIsInAnAccount(uint64 unbooked, uint64 amount) external {
        unbooked %= 10_000;
        amount = uint64(1 + amount % 20_000);
        spendAndSettle(400);
        settlement.claim(lane, 1, payee(1), 400, payouts().prove(1)); // paid money is no surplus
        coin.transfer(lane, unbooked);
        vm.prank(consumer(5));
        coin.cancelAuthorization(NONCE);
        bytes memory signature = _paid(5, amount, NONCE);
        vm.prank(operator);
        if (amount > unbooked) refuses(ISettlement.NotReceived.selector);
        _books(5, amount, NONCE, signature);
    }

    /// @dev FIELDS.md, what stays: the token says of a cancelled payment only that its nonce is spent.
    function test_TheOperatorCanBookACancelledPayment_OverOneThatOthersSubmitted() external {
        bytes memory signature = _paid(5, 700, NONCE);
        coin.transferWithAuthorization(consumer(5), lane, 700, 0, _until(), NONCE, signature);
        bytes memory cancelled = _paid(6, 700, NONCE);
        vm.prank(consumer(6));
        coin.cancelAuthorization(NONCE);
        vm.startPrank(operator);
        _books(6, 700, NONCE, cancelled);
        refuses(ISettlement.NotReceived.selector);
        _books(5, 700, NONCE, signature);
    }

    function test_RevertWhen_APaymentPaysATokensFee() external {
        coin.transfer(lane, 700); // what others sent must not fill the gap
        bytes memory signature = _paid(5, 700, NONCE);
        coin.setFee(1);
        refuses(IConsumers.NotReceived.selector);
        _books(5, 700, NONCE, signature);
    }
}
