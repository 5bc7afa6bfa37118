// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Owed: money is credited, and fetched by whoever wants it moved
/// @notice Nothing is pushed to a stranger, so that a party whose transfers fail stops nobody but itself.
interface IOwed {
    /// @notice `amount` more is owed to `party`.
    event Credited(address indexed party, uint256 amount);
    /// @notice `party` was paid what it was owed.
    event Collected(address indexed party, uint256 amount);

    error NothingOwed(address party);
    /// @notice The token brought another amount than was sent: it takes a fee, or calls back.
    error TokenTakesFees(uint256 expected, uint256 received);

    /// @notice Pays a party all it is owed. Anyone may call.
    function collect(address party) external returns (uint256 amount);

    /// @notice What a party is owed, in the token.
    function owed(address party) external view returns (uint256);
}
