// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IKeys} from "../../src/interfaces/IKeys.sol";
import {Base} from "../Base.sol";
import {Wallet} from "../World.sol";

/// @dev Who signs for whom, and until when.
contract KeysTest is Base {
    address private key = vm.addr(777);

    // ------------------------------------------------------------------ a consumer's keys

    function testFuzz_SetSessionKey_SpeaksAsLongAsWhatItSignedCanBeCharged(uint256 time) external {
        time = block.timestamp + time % 60 days;
        vm.assertFalse(keys.speaksFor(consumer(1), key, time), "not yet");
        vm.startPrank(consumer(1));
        keys.setSessionKey(key);
        vm.assertTrue(keys.speaksFor(consumer(1), key, time), "it speaks");
        vm.assertFalse(keys.speaksFor(consumer(2), key, time), "for nobody else");
        vm.warp(block.timestamp + 3 days);
        keys.revokeSessionKey(key);
        uint256 until = block.timestamp + SESSION_NOTICE;
        vm.assertTrue(keys.speaksFor(consumer(1), key, time) == (time < until), "for its notice");
        vm.assertTrue(keys.speaksFor(consumer(1), key, until - 1), "to its last second");
        vm.assertFalse(keys.speaksFor(consumer(1), key, until), "no longer");
        vm.assertFalse(keys.speaksFor(consumer(1), key, block.timestamp + 365 days), "not for ever");
    }

    function testFuzz_AnAccountSpeaksForItself(address account, uint256 time) external view {
        vm.assertTrue(keys.speaksFor(account, account, time) == (account != address(0)), "always; nobody never");
    }

    function test_RevertWhen_ASessionKeyIsSetOrRevokedTwice() external {
        vm.startPrank(consumer(1));
        refuses(IKeys.KeyUnknown.selector);
        keys.revokeSessionKey(key);
        keys.setSessionKey(key);
        refuses(IKeys.KeyUsed.selector);
        keys.setSessionKey(key);
        keys.revokeSessionKey(key);
        vm.warp(block.timestamp + 1);
        refuses(IKeys.KeyUsed.selector);
        keys.revokeSessionKey(key); // would lengthen its notice
        vm.warp(block.timestamp + 365 days);
        refuses(IKeys.KeyUsed.selector);
        keys.setSessionKey(key); // never again
    }

    function test_RevertWhen_AKeyIsNobodyOrTheAccount() external {
        vm.startPrank(consumer(1));
        refuses(IKeys.ZeroAddress.selector);
        keys.setSessionKey(address(0));
        refuses(IKeys.ZeroAddress.selector);
        keys.setSessionKey(consumer(1));
    }

    function test_KeysAreRelayedOnceAndInTime() external {
        uint256 deadline = block.timestamp + 1;
        bytes memory set = _relay("SetSessionKey", consumer(1), 1, 0, deadline);
        bytes memory forged = _relay("SetSessionKey", consumer(1), 2, 0, deadline);
        bytes memory revoke = _relay("RevokeSessionKey", consumer(1), 1, 1, deadline);
        refuses(IKeys.SignatureInvalid.selector);
        keys.setSessionKeyFor(consumer(1), key, deadline, forged);
        refuses(IKeys.SignatureInvalid.selector);
        keys.revokeSessionKeyFor(consumer(1), key, deadline, set);
        keys.setSessionKeyFor(consumer(1), key, deadline, set);
        eq(keys.nonces(consumer(1)), 1, "used");
        refuses(IKeys.SignatureInvalid.selector);
        keys.setSessionKeyFor(consumer(1), key, deadline, set);
        keys.revokeSessionKeyFor(consumer(1), key, deadline, revoke);
        eq(keys.sessionKeys(consumer(1), key).revokedAt, block.timestamp, "revoked");
        vm.warp(deadline + 1);
        refuses(IKeys.SignatureExpired.selector);
        keys.setSessionKeyFor(consumer(1), key, deadline, set);
        refuses(IKeys.SignatureExpired.selector);
        keys.revokeSessionKeyFor(consumer(1), key, deadline, revoke);
    }

    /// @dev A consumer may be a contract: it says itself what it signed (ERC-1271).
    function test_AContractsKeysAreRelayedAtItsWord() external {
        address wallet = address(new Wallet(consumer(1)));
        uint256 deadline = block.timestamp;
        bytes memory forged = _relay("SetSessionKey", wallet, 2, 0, deadline);
        refuses(IKeys.SignatureInvalid.selector);
        keys.setSessionKeyFor(wallet, key, deadline, forged);
        keys.setSessionKeyFor(wallet, key, deadline, _relay("SetSessionKey", wallet, 1, 0, deadline));
        vm.assertTrue(keys.speaksFor(wallet, key, block.timestamp), "it speaks");
        keys.revokeSessionKeyFor(wallet, key, deadline, _relay("RevokeSessionKey", wallet, 1, 1, deadline));
        eq(keys.sessionKeys(wallet, key).revokedAt, block.timestamp, "revoked");
    }

    // ------------------------------------------------------------------ a lane's gateways

    function test_AddGateway_GivesTheNextNumberFromOne() external {
        vm.startPrank(operator);
        eq(keys.addGateway(lane, key), 1, "first");
        eq(keys.addGateway(lane, stranger), 2, "second");
        eq(keys.gatewayCount(lane), 2, "count");
        eq(keys.gateways(lane, key).addedAt, block.timestamp, "since");
        eq(keys.gateways(address(1), key).number, 0, "in no other lane");
    }

    /// @dev F26: a key that leaked and was revoked long ago signs nothing that is closed now.
    function testFuzz_ARevokedGatewayKeySignsForItsNoticeOnly(uint256 time) external {
        time = block.timestamp + time % 400 days;
        vm.startPrank(operator);
        keys.addGateway(lane, key);
        vm.assertTrue(keys.signsFor(lane, key, time), "it signs");
        vm.warp(block.timestamp + 3 days);
        keys.revokeGateway(lane, key);
        vm.assertTrue(keys.signsFor(lane, key, time) == (time < block.timestamp + 2 * DAY), "for its notice");
        vm.assertFalse(keys.signsFor(lane, stranger, time), "no stranger");
        refuses(IKeys.KeyUsed.selector);
        keys.revokeGateway(lane, key);
        refuses(IKeys.KeyUsed.selector);
        keys.addGateway(lane, key);
    }

    function test_RevertWhen_AStrangerManagesAGateway() external {
        vm.startPrank(stranger);
        refuses(IKeys.NotOperator.selector);
        keys.addGateway(lane, key);
        refuses(IKeys.NotOperator.selector);
        keys.revokeGateway(lane, key);
        refuses(IKeys.NotOperator.selector);
        keys.setUrl(lane, "https://example.org");
        vm.stopPrank();
        vm.startPrank(operator);
        refuses(IKeys.ZeroAddress.selector);
        keys.addGateway(lane, address(0));
        refuses(IKeys.KeyUnknown.selector);
        keys.revokeGateway(lane, key);
        refuses(IKeys.NotOperator.selector);
        keys.addGateway(address(99), key);
    }

    function test_RevertWhen_ALaneHasAllItsGateways() external {
        // 65,535 keys take a minute to add, so the counter is set: `gatewayCount` is Keys' third mapping, after Nonces' one
        vm.store(address(keys), keccak256(abi.encode(lane, uint256(3))), bytes32(uint256(65_534)));
        vm.startPrank(operator);
        eq(keys.addGateway(lane, key), 65_535, "the last");
        refuses(IKeys.LaneFull.selector);
        keys.addGateway(lane, stranger);
    }

    function test_SetUrl_TakesTwoHundredBytes() external {
        vm.startPrank(operator);
        keys.setUrl(lane, string(new bytes(200)));
        refuses(IKeys.UrlTooLong.selector);
        keys.setUrl(lane, string(new bytes(201)));
    }

    // ------------------------------------------------------------------ inside

    function _relay(string memory what, address account, uint256 signer, uint256 nonce, uint256 deadline)
        private
        view
        returns (bytes memory)
    {
        string memory fields = "(address account,address key,uint256 nonce,uint256 deadline)";
        bytes32 typehash = keccak256(bytes(string.concat(what, fields)));
        bytes32 structHash = keccak256(abi.encode(typehash, account, key, nonce, deadline));
        return signed(consumerKey(signer), tollwayDigest(structHash));
    }
}
