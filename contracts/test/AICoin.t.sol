// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuthorizations} from "../src/interfaces/IAuthorizations.sol";
import {Base} from "./Base.sol";
import {Wallet} from "./World.sol";

/// @dev The token: authorizations with any nonce, once.
contract AICoinTest is Base {
    function testFuzz_Token_AnyNonceOnce_InBothSpellings(bytes32 nonce, uint32 amount, bool spelled) external {
        token.transfer(consumer(1), amount);
        bytes memory s = authorization(consumerKey(1), false, stranger, amount, 0, type(uint256).max, nonce);
        _transfer(amount, nonce, s, spelled);
        eq(token.balanceOf(stranger), amount, "moved");
        vm.assertTrue(auth().authorizationState(consumer(1), nonce), "spent");
        refuses(IAuthorizations.AuthorizationSpent.selector);
        _transfer(amount, nonce, s, spelled);
    }

    function test_Token_BothSpellingsMove() external {
        token.transfer(consumer(1), 7);
        _transfer(3, "n", authorization(consumerKey(1), false, stranger, 3, 0, type(uint256).max, "n"), true);
        bytes memory signature = authorization(consumerKey(1), true, stranger, 4, 0, type(uint256).max, "m");
        (bytes32 r, bytes32 s, uint8 v) = cut(signature);
        vm.prank(stranger);
        auth().receiveWithAuthorization(consumer(1), stranger, 4, 0, type(uint256).max, "m", v, r, s);
        eq(token.balanceOf(stranger), 7, "moved");
    }

    function test_RevertWhen_AnAuthorizationIsEarlyLateOrNotTheSigners() external {
        uint256 t = block.timestamp;
        bytes memory s = authorization(consumerKey(1), false, stranger, 0, t, t + 1, "n");
        refuses(IAuthorizations.AuthorizationNotValidNow.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, t, t + 1, "n", s);
        s = authorization(consumerKey(1), false, stranger, 0, 0, t, "n");
        refuses(IAuthorizations.AuthorizationNotValidNow.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, t, "n", s);
        s = authorization(consumerKey(1), false, stranger, 0, 0, t + 1, "n");
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(consumer(2), stranger, 0, 0, t + 1, "n", s);
        bytes memory respelled = highS(s);
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, t + 1, "n", respelled);
        vm.chainId(5);
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, t + 1, "n", s);
    }

    function test_Token_ACancelledNonceIsSpent() external {
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes32 hash = keccak256(abi.encode(typehash, consumer(1), bytes32("n")));
        bytes memory s =
            signed(consumerKey(1), keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), hash)));
        auth().cancelAuthorization(consumer(1), "n", s);
        vm.assertEq(auth().authorizationOf(consumer(1), "n"), bytes32(uint256(1)), "cancelled");
        bytes memory late = authorization(consumerKey(1), false, stranger, 0, 0, type(uint256).max, "n");
        refuses(IAuthorizations.AuthorizationSpent.selector);
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, type(uint256).max, "n", late);
    }

    /// @dev ERC-1271: a contract says itself what it signed, and what it did not.
    function test_Token_AContractSignsByItsOwnWord() external {
        address wallet = address(new Wallet(consumer(1)));
        token.transfer(wallet, 5);
        string memory fields =
            "WithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        bytes32 typehash = keccak256(bytes(string.concat("Transfer", fields)));
        uint256 never = type(uint256).max;
        bytes32 hash = keccak256(abi.encode(typehash, wallet, stranger, 5, 0, never, bytes32("n")));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), hash));
        refuses(IAuthorizations.SignatureInvalid.selector);
        auth().transferWithAuthorization(wallet, stranger, 5, 0, never, "n", signed(consumerKey(2), digest));
        refuses(IAuthorizations.SignatureInvalid.selector); // a contract that knows no signatures
        auth().transferWithAuthorization(address(token), stranger, 0, 0, never, "n", signed(consumerKey(1), digest));
        auth().transferWithAuthorization(wallet, stranger, 5, 0, never, "n", signed(consumerKey(1), digest));
        eq(token.balanceOf(stranger), 5, "moved");
    }

    // ------------------------------------------------------------------ helpers

    function _transfer(uint64 amount, bytes32 nonce, bytes memory signature, bool spelled) private {
        if (!spelled) {
            auth().transferWithAuthorization(consumer(1), stranger, amount, 0, type(uint256).max, nonce, signature);
            return;
        }
        (bytes32 r, bytes32 s, uint8 v) = cut(signature);
        auth().transferWithAuthorization(consumer(1), stranger, amount, 0, type(uint256).max, nonce, v, r, s);
    }
}
