// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Bars} from "./Bars.sol";
import {IKeys} from "./interfaces/IKeys.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Signatures} from "./Signatures.sol";

/// @title Keys
/// @notice See IKeys, the manual. Made by Settlement.
contract Keys is IKeys, Nonces {
    /// @notice As many leaves as the tallest gateways tree has, less the empty one at 0.
    uint32 public constant MAX_GATEWAYS = 65_535;

    uint256 private constant MAX_URL = 200;

    bytes32 private constant SET_TYPEHASH =
        keccak256("SetSessionKey(address account,address key,uint256 nonce,uint256 deadline)");
    bytes32 private constant REVOKE_TYPEHASH =
        keccak256("RevokeSessionKey(address account,address key,uint256 nonce,uint256 deadline)");

    ISettlement private immutable _settlement;
    /// @notice Seconds a revoked gateway key still counts for.
    uint256 public immutable notice;
    /// @notice Seconds a revoked session key still counts for: as long as what it signed can be charged, however late that
    /// is posted, or posted again in the place of a batch that fell.
    uint256 public immutable sessionNotice;

    mapping(address account => mapping(address key => SessionKey)) private _sessionKeys;
    mapping(address lane => mapping(address key => Gateway)) private _gateways;
    /// @inheritdoc IKeys
    mapping(address lane => uint32) public gatewayCount;

    constructor(ISettlement settlement, uint32 day) {
        _settlement = settlement;
        notice = 2 * uint256(day);
        sessionNotice = notice + Bars.RECEIPT_LIFE;
    }

    // ------------------------------------------------------------------ a consumer's keys

    /// @inheritdoc IKeys
    function setSessionKey(address key) external {
        _set(msg.sender, key);
    }

    /// @inheritdoc IKeys
    function setSessionKeyFor(address account, address key, uint256 deadline, bytes calldata signature) external {
        _checkRelayed(SET_TYPEHASH, account, key, deadline, signature);
        _set(account, key);
    }

    /// @inheritdoc IKeys
    function revokeSessionKey(address key) external {
        _revoke(msg.sender, key);
    }

    /// @inheritdoc IKeys
    function revokeSessionKeyFor(address account, address key, uint256 deadline, bytes calldata signature) external {
        _checkRelayed(REVOKE_TYPEHASH, account, key, deadline, signature);
        _revoke(account, key);
    }

    // ------------------------------------------------------------------ a lane's gateways

    /// @inheritdoc IKeys
    function addGateway(address lane, address key) external returns (uint32 number) {
        _onlyOperator(lane);
        if (key == address(0)) revert ZeroAddress();
        if (_gateways[lane][key].number != 0) revert KeyUsed(key);
        number = gatewayCount[lane] + 1;
        if (number > MAX_GATEWAYS) revert LaneFull(lane);
        gatewayCount[lane] = number;
        _gateways[lane][key] = Gateway(number, uint40(block.timestamp), 0); // fits for 34,000 years, here and below
        emit GatewayAdded(lane, key, number);
    }

    /// @inheritdoc IKeys
    function revokeGateway(address lane, address key) external {
        _onlyOperator(lane);
        Gateway storage gateway = _gateways[lane][key];
        if (gateway.number == 0) revert KeyUnknown(key);
        if (gateway.revokedAt != 0) revert KeyUsed(key);
        gateway.revokedAt = uint40(block.timestamp);
        emit GatewayRevoked(lane, key, block.timestamp + notice);
    }

    /// @inheritdoc IKeys
    function setUrl(address lane, string calldata url) external {
        _onlyOperator(lane);
        if (bytes(url).length > MAX_URL) revert UrlTooLong(bytes(url).length);
        emit UrlSet(lane, url);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IKeys
    function speaksFor(address account, address key, uint256 time) external view returns (bool) {
        if (key == account) return key != address(0);
        SessionKey memory k = _sessionKeys[account][key];
        return k.setAt != 0 && _counts(k.revokedAt, sessionNotice, time);
    }

    /// @inheritdoc IKeys
    function signsFor(address lane, address key, uint256 time) external view returns (bool) {
        Gateway memory gateway = _gateways[lane][key];
        return gateway.number != 0 && _counts(gateway.revokedAt, notice, time);
    }

    /// @inheritdoc IKeys
    function sessionKeys(address account, address key) external view returns (SessionKey memory) {
        return _sessionKeys[account][key];
    }

    /// @inheritdoc IKeys
    function gateways(address lane, address key) external view returns (Gateway memory) {
        return _gateways[lane][key];
    }

    /// @inheritdoc IKeys
    function nonces(address account) public view override(IKeys, Nonces) returns (uint256) {
        return super.nonces(account);
    }

    // ------------------------------------------------------------------ inside

    function _set(address account, address key) private {
        if (key == address(0) || key == account) revert ZeroAddress();
        SessionKey storage k = _sessionKeys[account][key];
        if (k.setAt != 0) revert KeyUsed(key);
        k.setAt = uint40(block.timestamp);
        emit SessionKeySet(account, key);
    }

    function _revoke(address account, address key) private {
        SessionKey storage k = _sessionKeys[account][key];
        if (k.setAt == 0) revert KeyUnknown(key);
        if (k.revokedAt != 0) revert KeyUsed(key);
        k.revokedAt = uint40(block.timestamp);
        emit SessionKeyRevoked(account, key, block.timestamp + sessionNotice);
    }

    function _counts(uint40 revokedAt, uint256 noticed, uint256 time) private pure returns (bool) {
        return revokedAt == 0 || time < revokedAt + noticed;
    }

    function _onlyOperator(address lane) private view {
        address operator = _settlement.lanes(lane).operator;
        if (msg.sender != operator) revert NotOperator(msg.sender, operator);
    }

    function _checkRelayed(
        bytes32 typehash,
        address account,
        address key,
        uint256 deadline,
        bytes calldata signature
    ) private {
        if (block.timestamp > deadline) revert SignatureExpired(deadline, block.timestamp);
        bytes32 structHash = keccak256(abi.encode(typehash, account, key, _useNonce(account), deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", _settlement.DOMAIN_SEPARATOR(), structHash));
        if (!Signatures.valid(account, digest, signature)) revert SignatureInvalid(account);
    }
}
