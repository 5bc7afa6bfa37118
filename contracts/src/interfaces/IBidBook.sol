// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask} from "../Meters.sol";
import {Role} from "../Roles.sol";
import {IEpochs} from "./IEpochs.sol";

/// @title BidBook: standing bids, and when they enter
/// @notice A bid is a ratio of the price and asks per meter. Whoever bids, for a role on a subject, has one bid at a time:
/// it holds from the epoch it enters until a later one enters. A resource role's bid lapses after LIFE epochs: silence is
/// exit. A value role's stands until it is replaced.
///
/// When a bid enters, counted from the last epoch whose books are closed (IEpochs):
/// - the next epoch: a first bid, one after the last has lapsed, and one that raises nothing, if the bidder shows the bid
///   it replaces (`lowerBid`);
/// - one epoch later: any other, so that everybody has an epoch's notice of a raise.
/// A bid that enters with the last one replaces it, so there is at most one bid an epoch.
///
/// The chain keeps one slot for each bid: its hash, its epoch, its number. The bids are in the events. Whoever has one can
/// prove it, or that there was none, in constant size (`inForce`).
interface IBidBook is IEpochs {
    /// @notice A bid, as it is hashed. Asks ascend by meter.
    struct Bid {
        uint24 ratioPpm;
        Ask[] asks;
        uint32 fromEpoch;
    }

    /// @notice `party` bids, for `role` on `subject`, from epoch `fromEpoch` on. Of two events with the same number, the
    /// later one counts.
    event BidPlaced(
        bytes32 indexed subject,
        address indexed party,
        Role role,
        uint24 ratioPpm,
        Ask[] asks,
        uint32 fromEpoch,
        uint32 number
    );

    error RoleUnknown(Role role);
    error RatioTooLarge(uint24 ratioPpm, uint24 max);
    /// @notice The bid shown is not the one that was placed.
    error BidUnknown(bytes24 expected, bytes24 given);
    error RaisesTheRatio(uint24 ratioPpm, uint24 previous);
    /// @notice Units of this meter would pay more: by an ask of their own, or in a coarser meter for want of one.
    error RaisesAnAsk(uint256 meter);

    /// @notice The caller bids. A first bid gives it a payee index, so that it can be paid.
    function placeBid(bytes32 subject, Role role, uint24 ratioPpm, Ask[] calldata asks) external;

    /// @notice The caller bids no more than `previous`, its last bid. Enters at the next epoch, or with `previous` if that
    /// enters later still.
    function lowerBid(bytes32 subject, Role role, uint24 ratioPpm, Ask[] calldata asks, Bid calldata previous) external;

    /// @notice True when `bid`, number `number` of this bidder here, was in force in an epoch; false when none was, because
    /// the first came later (`number` 0) or number `number` had lapsed: then `bid` is not looked at. Reverts when neither
    /// is so, and for an epoch whose books are open: an answer never changes.
    function inForce(bytes32 subject, Role role, address party, uint64 epoch, uint32 number, Bid calldata bid)
        external
        view
        returns (bool);

    /// @notice The bidder's last bid here: its hash, the epoch it enters, and its number, which is how many there are.
    function lastBid(bytes32 subject, Role role, address party)
        external
        view
        returns (bytes24 hash, uint32 fromEpoch, uint32 number);

    /// @notice Epochs that a resource role's bid holds.
    function LIFE() external view returns (uint32);
}
