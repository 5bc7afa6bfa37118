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
        History storage h = _histories[_place(subject, role, msg.sender)];
        uint32 now_ = epoch();
        uint32 last = h.fromEpoch;
        // while the last bid lives this may be a raise; a pending raise is not overtaken
        uint32 from = last != 0 && now_ < last + LIFE ? now_ + 2 : now_ + 1;
        _append(h, subject, role, Bid(ratioPpm, asks, from));
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
        History storage h = _histories[_place(subject, role, msg.sender)];
        bytes24 expected = _link(before, previous);
        if (h.hash != expected) revert HistoryUnknown(h.hash, expected);
        bool raises = ratioPpm > previous.ratioPpm;
        for (uint256 i; i < 6; ++i) {
            raises = raises || asks[i] > previous.asks[i];
        }
        if (raises) revert RaisesAnAsk();
        uint32 next = epoch() + 1;
        _append(h, subject, role, Bid(ratioPpm, asks, previous.fromEpoch > next ? previous.fromEpoch : next));
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

    function _append(History storage h, bytes32 subject, uint8 role, Bid memory bid) private {
        if (role == 0 || role > LAST_ROLE) revert RoleUnknown(role);
        if (bid.ratioPpm > MAX_RATIO_PPM) revert RatioTooLarge(bid.ratioPpm, MAX_RATIO_PPM);
        for (uint256 i; i < 6; ++i) {
            if (bid.asks[i] > MAX_ASK) revert AskTooLarge(bid.asks[i], MAX_ASK);
        }
        (h.hash, h.fromEpoch) = (_link(h.hash, bid), bid.fromEpoch);
        emit BidPlaced(subject, role, msg.sender, bid.ratioPpm, bid.asks, bid.fromEpoch, bid.fromEpoch + LIFE);
    }

    function _place(bytes32 subject, uint8 role, address party) private pure returns (bytes32) {
        return keccak256(abi.encode(subject, role, party));
    }

    function _link(bytes24 before, Bid memory bid) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(before, bid)));
    }
}
