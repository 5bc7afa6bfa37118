// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Inboxes: where plain x402 payments to a lane arrive
/// @notice x402's `exact` scheme signs an ERC-3009 *transfer* to an address, naming no lane. Each lane has its own
/// address for that, known before anything is deployed there. Only Settlement collects from it.
interface IInboxes {
    /// @notice This payment was booked already, or its nonce was spent by something else.
    error AuthorizationUnusable(address account, bytes32 nonce);
    /// @notice `account` did not sign this payment.
    error SignatureInvalid(address account);
    error NotSettlement(address caller);

    /// @notice A lane's inbox.
    function inboxOf(uint32 lane) external view returns (address);

    /// @notice Submits the authorization unless somebody did already, and sends its `amount` to Settlement, once.
    /// @param byOperator The lane's operator asks. For a token that does not keep what spent a nonce, money that somebody
    /// else brought could be another payer's: the operator, who reads the token's log, must say whose it is.
    function collect(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature,
        bool byOperator
    ) external;
}
