// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Keys: who signs for whom and until when, and where a lane serves
/// @notice A consumer's session keys sign its vouchers; a lane's gateway keys sign its receipts. A key is set once, revoked
/// once, and never set again. It counts for what was closed before its revocation plus its notice, so that no old signature
/// turns against those who acted on it, and no leaked key signs for ever. A gateway key's notice is two `day`s: it carries
/// the bond. A session key's is a receipt's life more: an operator may post late, and after a fall it must, and what a
/// voucher covers it can then neither leave out nor charge without.
interface IKeys {
    /// @notice A session key of an account. Zero times: never.
    struct SessionKey {
        uint40 setAt;
        uint40 revokedAt;
    }

    /// @notice A gateway key of a lane. Its number is its place in every gateways tree; 0 is none.
    struct Gateway {
        uint32 number;
        uint40 addedAt;
        uint40 revokedAt;
    }

    event SessionKeySet(address indexed account, address indexed key);
    event SessionKeyRevoked(address indexed account, address indexed key, uint256 countsUntil);
    event GatewayAdded(address indexed lane, address indexed key, uint32 number);
    event GatewayRevoked(address indexed lane, address indexed key, uint256 countsUntil);

    /// @notice Where a lane serves. No term: its operator may change it.
    event UrlSet(address indexed lane, string url);

    error NotOperator(address caller, address operator);
    error KeyUsed(address key);
    error KeyUnknown(address key);
    error LaneFull(address lane);
    error UrlTooLong(uint256 length);
    error ZeroAddress();
    error SignatureInvalid(address account);
    error SignatureExpired(uint256 deadline, uint256 time);

    /// @notice Lets `key` sign vouchers as the caller.
    function setSessionKey(address key) external;

    /// @notice The same by the account's signature `SetSessionKey(address account,address key,uint256 nonce,uint256 deadline)` in
    /// Settlement's domain.
    function setSessionKeyFor(address account, address key, uint256 deadline, bytes calldata signature) external;

    /// @notice Stops `key`, for good. Serving stops at once; proofs count it for two `day`s and a receipt's life
    /// more, in which who fears its operator asks to leave.
    function revokeSessionKey(address key) external;

    /// @notice The same by the account's signature `RevokeSessionKey(address account,address key,uint256 nonce,uint256 deadline)`.
    function revokeSessionKeyFor(address account, address key, uint256 deadline, bytes calldata signature) external;

    /// @notice Lets `key` sign receipts of a lane; by its operator. Gives it the lane's next number.
    function addGateway(address lane, address key) external returns (uint32 number);

    /// @notice Stops a gateway key, for good; by the lane's operator.
    function revokeGateway(address lane, address key) external;

    /// @notice Says where a lane serves, in at most 200 bytes; by its operator.
    function setUrl(address lane, string calldata url) external;

    /// @notice True when `key` signed for `account` at `time`, in seconds: the account itself, or a session key in its time.
    function speaksFor(address account, address key, uint256 time) external view returns (bool);

    /// @notice True when `key` signed a lane's receipts at `time`, in seconds.
    function signsFor(address lane, address key, uint256 time) external view returns (bool);

    function sessionKeys(address account, address key) external view returns (SessionKey memory);
    function gateways(address lane, address key) external view returns (Gateway memory);
    /// @notice Gateway keys the lane ever had; also the highest number.
    function gatewayCount(address lane) external view returns (uint32);
    /// @notice Next nonce of an account's relayed requests.
    function nonces(address account) external view returns (uint256);
}
