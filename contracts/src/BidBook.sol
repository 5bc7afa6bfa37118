// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";

/// @title BidBook
/// @notice See IBidBook, the manual.
contract BidBook is IBidBook {
    /// @notice Epochs a bid holds without being renewed.
    uint32 public constant LIFE = 24;
    uint24 public constant MAX_RATIO_PPM = 900_000;
    uint64 public constant MAX_ASK = uint64(type(int64).max);
    uint8 private constant LAST_ROLE = 8;

    /// @dev One slot.
    struct History {
        bytes24 hash;
        uint32 fromEpoch;
    }

    /// @inheritdoc IBidBook
    uint32 public immutable epochSeconds;

    mapping(bytes32 place => History) private _histories;

    constructor(uint32 epochSeconds_) {
        epochSeconds = epochSeconds_;
    }

    /// @inheritdoc IBidBook
    function placeBid(bytes32 subject, uint8 role, uint24 ratioPpm, uint64[6] calldata asks) external {
        bytes32 place = _place(subject, role, msg.sender);
        History memory h = _histories[place];
        uint32 now_ = epoch();
        // while the last bid lives this may be a raise; a pending raise is not overtaken
        h.fromEpoch = h.fromEpoch != 0 && now_ < h.fromEpoch + LIFE ? now_ + 2 : now_ + 1;
        _append(place, h, subject, role, ratioPpm, asks);
    }

    /// @inheritdoc IBidBook
    function lowerBid(
        bytes32 subject,
        uint8 role,
        uint24 ratioPpm,
        uint64[6] calldata asks,
        Bid calldata previous,
        bytes24 before
    ) external {
        bytes32 place = _place(subject, role, msg.sender);
        History memory h = _histories[place];
        bytes24 expected = _link(before, previous);
        if (h.hash != expected) revert HistoryUnknown(h.hash, expected);
        bool raises = ratioPpm > previous.ratioPpm;
        for (uint256 i; i < 6; ++i) {
            raises = raises || asks[i] > previous.asks[i];
        }
        if (raises) revert RaisesAnAsk();
        uint32 next = epoch() + 1;
        h.fromEpoch = previous.fromEpoch > next ? previous.fromEpoch : next;
        _append(place, h, subject, role, ratioPpm, asks);
    }

    /// @inheritdoc IBidBook
    function inForce(
        bytes32 subject,
        uint8 role,
        address party,
        uint32 epoch_,
        bytes24 before,
        Bid[] calldata bids
    ) external view returns (bool found, Bid memory bid) {
        bytes24 hash = before;
        for (uint256 i; i < bids.length; ++i) {
            if (bids[i].fromEpoch <= epoch_) (found, bid) = (epoch_ < bids[i].fromEpoch + LIFE, bids[i]);
            hash = _link(hash, bids[i]);
        }
        bytes24 expected = _histories[_place(subject, role, party)].hash;
        if (hash != expected) revert HistoryUnknown(expected, hash);
        // an earlier bid than those given may be in force unless they reach back to the beginning, or to the epoch
        if (before != 0 && (bids.length == 0 || bids[0].fromEpoch > epoch_)) revert HistoryUnknown(expected, before);
    }

    /// @inheritdoc IBidBook
    function history(bytes32 subject, uint8 role, address party) external view returns (bytes24, uint32) {
        History memory h = _histories[_place(subject, role, party)];
        return (h.hash, h.fromEpoch);
    }

    /// @inheritdoc IBidBook
    function epoch() public view returns (uint32) {
        return uint32(block.timestamp / epochSeconds); // fits until 2106 even with epochs of a second
    }

    /// @dev `h` comes with the epoch the new bid enters and the hash before it.
    function _append(
        bytes32 place,
        History memory h,
        bytes32 subject,
        uint8 role,
        uint24 ratioPpm,
        uint64[6] calldata asks
    ) private {
        if (role == 0 || role > LAST_ROLE) revert RoleUnknown(role);
        if (ratioPpm > MAX_RATIO_PPM) revert RatioTooLarge(ratioPpm, MAX_RATIO_PPM);
        uint64 bits = asks[0] | asks[1] | asks[2] | asks[3] | asks[4] | asks[5];
        if (bits > MAX_ASK) revert AskTooLarge(bits, MAX_ASK); // MAX_ASK is all ones: the or is above it if any is
        h.hash = bytes24(keccak256(abi.encode(h.hash, ratioPpm, asks, h.fromEpoch))); // as `_link` of the struct
        _histories[place] = h;
        emit BidPlaced(subject, msg.sender, role, ratioPpm, asks, h.fromEpoch);
    }

    function _place(bytes32 subject, uint8 role, address party) private pure returns (bytes32) {
        return keccak256(abi.encode(subject, role, party));
    }

    function _link(bytes24 before, Bid memory bid) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(before, bid)));
    }
}
