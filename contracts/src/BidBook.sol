// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Epochs} from "./Epochs.sol";
import {Entry, History} from "./Histories.sol";
import {Ask, METERS, Meters} from "./Meters.sol";
import {Role, Roles} from "./Roles.sol";
import {IBidBook} from "./interfaces/IBidBook.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title BidBook
/// @notice See IBidBook, the manual.
contract BidBook is IBidBook, Epochs {
    using Roles for Role;

    /// @inheritdoc IBidBook
    uint32 public constant LIFE = 24;

    IRegistry public immutable registry;

    mapping(bytes32 place => History) private _bids;

    /// @dev Bids and owners keep the same epochs.
    constructor(IRegistry registry_) Epochs(registry_.epochSeconds(), registry_.freeze()) {
        registry = registry_;
    }

    /// @inheritdoc IBidBook
    function placeBid(bytes32 subject, Role role, uint24 ratioPpm, Ask[] calldata asks) external {
        History storage bids = _bids[_place(subject, role, msg.sender)];
        Entry memory last = bids.last;
        uint32 frozen = frozenEpoch();
        bool first = last.number == 0 || (role.lapses() && frozen >= last.fromEpoch + LIFE);
        Bid memory bid = Bid(ratioPpm, asks, first ? frozen + 1 : frozen + 2);
        Meters.check(bid.asks);
        _put(bids, subject, role, bid);
        if (last.number == 0) registry.registerPayee(msg.sender);
    }

    /// @inheritdoc IBidBook
    function lowerBid(bytes32 subject, Role role, uint24 ratioPpm, Ask[] calldata asks, Bid calldata previous) external {
        History storage bids = _bids[_place(subject, role, msg.sender)];
        Bid memory before = previous;
        _check(bids.last, before);
        uint32 next = frozenEpoch() + 1;
        Bid memory bid = Bid(ratioPpm, asks, before.fromEpoch > next ? before.fromEpoch : next);
        if (ratioPpm > before.ratioPpm) revert RaisesTheRatio(ratioPpm, before.ratioPpm);
        uint256[METERS] memory paid = Meters.rates(bid.asks);
        uint256[METERS] memory paidBefore = Meters.rates(before.asks);
        for (uint256 m; m < METERS; ++m) {
            if (paid[m] > paidBefore[m]) revert RaisesAnAsk(m);
        }
        _put(bids, subject, role, bid);
    }

    /// @inheritdoc IBidBook
    function inForce(bytes32 subject, Role role, address party, uint64 epoch, uint32 number, Bid calldata bid)
        external
        view
        returns (bool)
    {
        if (epoch > frozenEpoch()) revert EpochOpen(epoch, frozenEpoch());
        Entry memory entry = _bids[_place(subject, role, party)].find(epoch, number);
        if (number == 0 || (role.lapses() && epoch >= entry.fromEpoch + LIFE)) return false;
        _check(entry, bid);
        return true;
    }

    /// @inheritdoc IBidBook
    function lastBid(bytes32 subject, Role role, address party) external view returns (bytes24, uint32, uint32) {
        Entry memory last = _bids[_place(subject, role, party)].last;
        return (last.what, last.fromEpoch, last.number);
    }

    function _put(History storage bids, bytes32 subject, Role role, Bid memory bid) private {
        if (role == Role.none) revert RoleUnknown(role);
        if (bid.ratioPpm > role.maxRatioPpm()) revert RatioTooLarge(bid.ratioPpm, role.maxRatioPpm());
        uint32 number = bids.put(_hash(bid), bid.fromEpoch);
        emit BidPlaced(subject, msg.sender, role, bid.ratioPpm, bid.asks, bid.fromEpoch, number);
    }

    function _check(Entry memory entry, Bid memory bid) private pure {
        bytes24 given = _hash(bid);
        if (given != entry.what) revert BidUnknown(entry.what, given);
    }

    function _hash(Bid memory bid) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(bid)));
    }

    function _place(bytes32 subject, Role role, address party) private pure returns (bytes32) {
        return keccak256(abi.encode(subject, role, party));
    }
}
