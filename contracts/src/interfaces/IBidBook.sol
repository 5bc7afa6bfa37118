// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title BidBook: standing bids, and when they enter
/// @notice A bid is a ratio of the price and six asks (meter order: call, input token, output token, ms, byte, fuel). It
/// holds for `LIFE` epochs from the one it enters, or until a later bid enters: silence is exit. A first bid, or one after
/// silence, enters at the next epoch; so does a bid that raises nothing, if the bidder shows the bid it replaces
/// (`lowerBid`); any other enters one epoch later, so that everyone has an epoch's notice of a raise.
///
/// The chain keeps one word per bidder, role and subject: a hash over all its bids so far and the epoch the last one
/// enters. The bids themselves are in the events; anyone who has them can prove any past bid against the word.
interface IBidBook {
    /// @notice A bid as it stands in the history.
    struct Bid {
        uint24 ratioPpm;
        uint64[6] asks;
        uint32 fromEpoch;
    }

    /// @notice `party` bids, for `role` on `subject`, from epoch `fromEpoch` on, for `LIFE` epochs or until a later bid
    /// enters.
    event BidPlaced(
        bytes32 indexed subject, address indexed party, uint8 role, uint24 ratioPpm, uint64[6] asks, uint32 fromEpoch
    );

    error RoleUnknown(uint8 role);
    error RatioTooLarge(uint24 ratioPpm, uint24 max);
    error AskTooLarge(uint64 ask, uint64 max);
    error HistoryUnknown(bytes24 expected, bytes24 given);
    error RaisesAnAsk();

    /// @notice The caller bids. Enters at the next epoch if it has no live bid here, else at the one after.
    function placeBid(bytes32 subject, uint8 role, uint24 ratioPpm, uint64[6] calldata asks) external;

    /// @notice The caller bids no more than `previous`, its last bid. Enters at the next epoch, or with `previous` if that
    /// enters later still.
    /// @param before The history's hash before `previous` was placed.
    function lowerBid(
        bytes32 subject,
        uint8 role,
        uint24 ratioPpm,
        uint64[6] calldata asks,
        Bid calldata previous,
        bytes24 before
    ) external;

    /// @notice The bid in force at `epoch`, found in the end of a history: hash before it, then bids up to the last one.
    /// `found` is false when none was in force. Reverts with HistoryUnknown if this is not the end of the history.
    function inForce(
        bytes32 subject,
        uint8 role,
        address party,
        uint32 epoch,
        bytes24 before,
        Bid[] calldata bids
    ) external view returns (bool found, Bid memory bid);

    /// @notice Hash of a bidder's history and the epoch its last bid enters.
    function history(bytes32 subject, uint8 role, address party) external view returns (bytes24 hash, uint32 fromEpoch);
    /// @notice The epoch now.
    function epoch() external view returns (uint32);
    /// @notice Seconds of an epoch.
    function epochSeconds() external view returns (uint32);
}
