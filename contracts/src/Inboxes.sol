// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IAuthorizations} from "./interfaces/IAuthorizations.sol";
import {IInboxes} from "./interfaces/IInboxes.sol";
import {LaneInbox} from "./LaneInbox.sol";
import {Signatures} from "./Signatures.sol";

/// @title Inboxes
/// @notice See IInboxes, the manual. Made by Settlement.
contract Inboxes is IInboxes {
    using SafeERC20 for IERC20;

    bytes32 private constant AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    IERC20 private immutable _token;
    address private immutable _settlement;
    /// @dev Payments already booked, whoever submitted them: else one could be booked twice, with another payer's money.
    mapping(bytes32 authorization => bool) private _booked;

    constructor(IERC20 token) {
        _token = token;
        _settlement = msg.sender;
    }

    /// @inheritdoc IInboxes
    function inboxOf(uint32 lane) public view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(LaneInbox).creationCode, abi.encode(_token)));
        bytes32 hash = keccak256(abi.encodePacked(hex"ff", address(this), bytes32(uint256(lane)), code));
        return address(uint160(uint256(hash)));
    }

    /// @inheritdoc IInboxes
    function collect(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature,
        bool byOperator
    ) external {
        if (msg.sender != _settlement) revert NotSettlement(msg.sender);
        address inbox = inboxOf(lane);
        if (inbox.code.length == 0) new LaneInbox{salt: bytes32(uint256(lane))}(_token);
        bytes32 structHash =
            keccak256(abi.encode(AUTHORIZATION_TYPEHASH, account, inbox, amount, validAfter, validBefore, nonce));
        if (_booked[structHash]) revert AuthorizationUnusable(account, nonce);
        _booked[structHash] = true;
        if (!IAuthorizations(address(_token)).authorizationState(account, nonce)) {
            IAuthorizations(address(_token)).transferWithAuthorization(
                account, inbox, amount, validAfter, validBefore, nonce, signature
            );
        } else {
            _checkPaid(account, nonce, structHash, signature, byOperator);
        }
        _token.safeTransferFrom(inbox, _settlement, amount);
    }

    /// @dev The nonce is spent: by this very payment? AICoin keeps what spent it; for other tokens see `byOperator`.
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
