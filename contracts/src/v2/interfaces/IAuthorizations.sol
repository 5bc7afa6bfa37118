// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ERC-3009 with plain random nonces, in both spellings of a signature (v, r, s and bytes), as USDC v2.2 has it
/// @notice A holder signs a transfer; anyone submits it. A nonce is any 32 bytes, used once per holder, in any order.
interface IAuthorizations {
    /// @notice `nonce` of `authorizer` is spent: by a transfer, a receive or a cancellation.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    /// @notice `authorizer` took an authorization back before it was used.
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    /// @notice The authorization may not be used at this time: only in (validAfter, validBefore).
    error AuthorizationNotValidNow(uint256 validAfter, uint256 validBefore, uint256 time);
    /// @notice The nonce is spent.
    error AuthorizationSpent(address authorizer, bytes32 nonce);
    /// @notice A receive authorization may only be submitted by its payee.
    error CallerIsNotPayee(address caller, address payee);
    /// @notice `account` did not sign this, in the one canonical spelling.
    error SignatureInvalid(address account);

    /// @notice True once the nonce is spent.
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);

    /// @notice What spent the nonce: the EIP-712 struct hash of the transfer or receive, 1 for a cancellation, 0 if
    /// unspent. Lets a contract tell a payment that somebody else submitted first from another payment.
    function authorizationOf(address authorizer, bytes32 nonce) external view returns (bytes32 structHash);

    /// @notice Moves `value` from `from` to `to` as `from` signed.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice As above, with the signature in three words.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Moves `value` from `from` to the caller, `to`, as `from` signed: nobody can submit it ahead of the payee.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice As above, with the signature in three words.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Spends a nonce without moving anything.
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external;

    /// @notice As above, with the signature in three words.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
}
