// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {FeeToken, WeiToken} from "../Tokens.sol";
import {Trees} from "../Trees.sol";

/// @dev Money in: by approval, permit, authorization, inbox.
contract DepositsTest is Base {
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

    // ------------------------------------------------------------------ helpers

    function _funded(uint256 i, uint64 amount, uint32 lane_, bytes32 salt) private returns (bytes memory) {
        token.transfer(consumer(i), amount);
        bytes32 nonce = keccak256(abi.encode(lane_, consumer(i), salt));
        return authorization(consumerKey(i), true, address(settlement), amount, 0, block.timestamp + 1, nonce);
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
