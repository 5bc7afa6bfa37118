// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Consumers: how a consumer comes into a lane, and asks to leave it
/// @notice Tokens go to the lane's own address at once; Settlement books them. Nothing ever lies here, and no function takes
/// tokens from an address that a caller names, except the caller itself or the signer of an authorization. What an account
/// takes back, it takes from Settlement (`withdraw`, `escapeWithdraw`).
interface IConsumers {
    error NotReceived(uint256 expected, uint256 received);
    error AuthorizationUnusable(address account, bytes32 nonce);
    error SignatureInvalid(address account);
    error SignatureExpired(uint256 deadline, uint256 time);

    // ------------------------------------------------------------------ deposits

    /// @notice Deposits the caller's tokens (by allowance) for `account`.
    function deposit(address lane, address account, uint64 amount) external;

    /// @notice Deposits with an ERC-2612 permit of the caller. A permit somebody else submitted first does no harm.
    function depositWithPermit(
        address lane,
        address account,
        uint64 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Deposits by the ERC-3009 receive authorization of `account` to the lane, whose nonce is
    /// `keccak256(abi.encode(lane, account, salt))`: whoever relays it, it can only land here.
    function depositWithAuthorization(
        address lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice Books a plain ERC-3009 transfer authorization of `account` to the lane's address, as x402's `exact` scheme
    /// makes them; submits it if nobody did. Also in a stopped lane, even below its least first deposit, so that the money
    /// can leave. At most what lies at the lane and is in no account. A token that does not keep what spent a nonce leaves
    /// the booking of what others submitted to the lane's operator.
    function depositFromInbox(
        address lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    // ------------------------------------------------------------------ leaving

    /// @notice The caller asks to leave the lane with what it has not spent.
    function requestWithdraw(address lane) external;

    /// @notice The same by the account's signature `RequestWithdraw(address lane,address account,uint256 nonce,uint256 deadline)`.
    function requestWithdrawFor(address lane, address account, uint256 deadline, bytes calldata signature) external;

    /// @notice The caller stays after all.
    function cancelWithdraw(address lane) external;

    /// @notice The same by the account's signature `CancelWithdraw(address lane,address account,uint256 nonce,uint256 deadline)`.
    function cancelWithdrawFor(address lane, address account, uint256 deadline, bytes calldata signature) external;

    /// @notice Next nonce of an account's relayed requests.
    function nonces(address account) external view returns (uint256);
}
