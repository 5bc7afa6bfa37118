// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Something that holds from an epoch on, until the next entry. One slot; numbered from 1 in its history.
struct Entry {
    bytes24 what;
    uint32 fromEpoch;
    uint32 number;
}

/// @notice What held in which epoch. The last entry stands alone, so that adding one writes two slots.
struct History {
    Entry last;
    mapping(uint32 number => Entry) past;
}

using Histories for History global;

/// @title Histories: at most one entry an epoch, each provable for ever by its number
/// @notice Entry number k holds in epoch e exactly when `k.fromEpoch <= e`, and it is the last or the next one enters after
/// e. Before the first entry nothing holds: that is entry 0.
library Histories {
    /// @notice This is not the entry of that epoch: it holds from `from` until (not in) `until`, 0 for no end.
    error NotOfEpoch(uint64 epoch, uint32 from, uint32 until);
    error NumberUnknown(uint32 number, uint32 last);

    /// @notice Adds an entry. One that enters with the last replaces it; none enters before it. Returns its number.
    function put(History storage h, bytes24 what, uint32 fromEpoch) internal returns (uint32 number) {
        Entry memory last = h.last;
        number = last.number;
        if (number == 0 || fromEpoch != last.fromEpoch) {
            assert(number == 0 || fromEpoch > last.fromEpoch); // what is put enters after the frozen epoch, which never falls
            if (number != 0) h.past[number] = last;
            ++number;
        }
        h.last = Entry(what, fromEpoch, number);
    }

    /// @notice The entry that held in an epoch, by its number; entry 0 if none did. Reverts if it is another one.
    function find(History storage h, uint64 epoch, uint32 number) internal view returns (Entry memory entry) {
        Entry memory last = h.last;
        if (number > last.number) revert NumberUnknown(number, last.number);
        uint32 until;
        if (number == last.number) entry = last;
        else {
            entry = h.past[number];
            until = number + 1 == last.number ? last.fromEpoch : h.past[number + 1].fromEpoch;
        }
        if (epoch < entry.fromEpoch || (number != last.number && epoch >= until)) {
            revert NotOfEpoch(epoch, entry.fromEpoch, until);
        }
    }
}
