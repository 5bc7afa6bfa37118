// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {IAuthorizations} from "./interfaces/IAuthorizations.sol";
import {IConsumers} from "./interfaces/IConsumers.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {LaneVault} from "./LaneVault.sol";
import {Signatures} from "./Signatures.sol";

/// @title Consumers
/// @notice See IConsumers, the manual. Made by Settlement.
contract Consumers is IConsumers, Nonces {
    using SafeERC20 for IERC20;

    bytes32 private constant REQUEST_TYPEHASH =
        keccak256("RequestWithdraw(address lane,address account,uint256 nonce,uint256 deadline)");
    bytes32 private constant CANCEL_TYPEHASH =
        keccak256("CancelWithdraw(address lane,address account,uint256 nonce,uint256 deadline)");
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    ISettlement private immutable _settlement;
    IERC20 private immutable _token;
    /// @dev x402 payments already booked, by the authorization's hash, whoever submitted them.
    mapping(bytes32 authorization => bool) private _booked;

    constructor(ISettlement settlement, IERC20 token) {
        _settlement = settlement;
        _token = token;
    }

    // ------------------------------------------------------------------ deposits

    /// @inheritdoc IConsumers
    function deposit(address lane, address account, uint64 amount) external {
        _take(lane, account, amount);
    }

    /// @inheritdoc IConsumers
    function depositWithPermit(
        address lane,
        address account,
        uint64 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Whoever front-runs the permit only spends it; the allowance is there and the pull below decides.
        try IERC20Permit(address(_token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _take(lane, account, amount);
    }

    /// @inheritdoc IConsumers
    function depositWithAuthorization(
        address lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external {
        _checkLane(lane);
        uint256 held = _token.balanceOf(lane);
        bytes32 nonce = keccak256(abi.encode(lane, account, salt));
        LaneVault(lane).receiveAuthorized(account, amount, validAfter, validBefore, nonce, signature);
        _checkReceived(lane, held, amount);
        _settlement.credit(lane, account, amount, false);
    }

    /// @inheritdoc IConsumers
    function depositFromInbox(
        address lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        address operator = _checkLane(lane);
        IAuthorizations coin = IAuthorizations(address(_token));
        bytes32 structHash =
            keccak256(abi.encode(TRANSFER_TYPEHASH, account, lane, amount, validAfter, validBefore, nonce));
        if (_booked[structHash]) revert AuthorizationUnusable(account, nonce);
        _booked[structHash] = true;
        if (!coin.authorizationState(account, nonce)) {
            uint256 held = _token.balanceOf(lane);
            coin.transferWithAuthorization(account, lane, amount, validAfter, validBefore, nonce, signature);
            _checkReceived(lane, held, amount);
        } else {
            _checkPaid(account, nonce, structHash, signature, msg.sender == operator);
        }
        _settlement.credit(lane, account, amount, true);
    }

    // ------------------------------------------------------------------ leaving

    /// @inheritdoc IConsumers
    function requestWithdraw(address lane) external {
        _settlement.request(lane, msg.sender, true);
    }

    /// @inheritdoc IConsumers
    function requestWithdrawFor(address lane, address account, uint256 deadline, bytes calldata signature) external {
        _checkRelayed(REQUEST_TYPEHASH, lane, account, deadline, signature);
        _settlement.request(lane, account, true);
    }

    /// @inheritdoc IConsumers
    function cancelWithdraw(address lane) external {
        _settlement.request(lane, msg.sender, false);
    }

    /// @inheritdoc IConsumers
    function cancelWithdrawFor(address lane, address account, uint256 deadline, bytes calldata signature) external {
        _checkRelayed(CANCEL_TYPEHASH, lane, account, deadline, signature);
        _settlement.request(lane, account, false);
    }

    /// @inheritdoc IConsumers
    function nonces(address account) public view override(IConsumers, Nonces) returns (uint256) {
        return super.nonces(account);
    }

    // ------------------------------------------------------------------ inside

    function _checkLane(address lane) private view returns (address operator) {
        operator = _settlement.lanes(lane).operator;
        if (operator == address(0)) revert ISettlement.LaneInactive(lane);
    }

    function _checkRelayed(
        bytes32 typehash,
        address lane,
        address account,
        uint256 deadline,
        bytes calldata signature
    ) private {
        if (block.timestamp > deadline) revert SignatureExpired(deadline, block.timestamp);
        bytes32 structHash = keccak256(abi.encode(typehash, lane, account, _useNonce(account), deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", _settlement.DOMAIN_SEPARATOR(), structHash));
        if (!Signatures.valid(account, digest, signature)) revert SignatureInvalid(account);
    }

    /// @dev Moves the caller's tokens to the lane. Refuses a token that takes a fee.
    function _take(address lane, address account, uint64 amount) private {
        uint256 held = _token.balanceOf(lane);
        _token.safeTransferFrom(msg.sender, lane, amount);
        _checkReceived(lane, held, amount);
        _settlement.credit(lane, account, amount, false);
    }

    function _checkReceived(address lane, uint256 held, uint256 amount) private view {
        uint256 received = _token.balanceOf(lane) - held;
        if (received != amount) revert NotReceived(amount, received);
    }

    /// @dev The nonce is spent: by this very payment? AICoin keeps what spent it; for other tokens the operator says so.
    function _checkPaid(address account, bytes32 nonce, bytes32 structHash, bytes calldata signature, bool byOperator)
        private
        view
    {
        try IAuthorizations(address(_token)).authorizationOf(account, nonce) returns (bytes32 spentBy) {
            if (spentBy != structHash) revert AuthorizationUnusable(account, nonce);
        } catch {
            if (!byOperator) revert AuthorizationUnusable(account, nonce);
            bytes32 separator = IERC20Permit(address(_token)).DOMAIN_SEPARATOR();
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", separator, structHash));
            if (!Signatures.valid(account, digest, signature)) revert SignatureInvalid(account);
        }
    }
}
