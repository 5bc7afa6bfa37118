// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {load} from "./Calldata.sol";
import {Ask, METERS, Meters} from "./Meters.sol";

/// @notice An ancestor's claim on a descendant's price, as it grows over the paths that lead to it: a ratio, what a unit of
/// each meter pays, and a bit for each meter that some royalty names.
struct Royalty {
    uint256 ratioPpm;
    uint256[METERS] rates;
    uint256 asked;
}

/// @title Royalties: what a model grants its parents
/// @notice The preimage of a parent's `terms` (IRegistry), integers big endian, as the end of a line of terms:
///
///     ratioPpm u24 | n u8 | n asks: meter u8 | price u64, meters ascending
library Royalties {
    uint256 private constant HEADER_BYTES = 4;
    uint256 private constant ASK_BYTES = 9;
    uint256 private constant PPM = 1_000_000;

    /// @notice Reads a royalty; `formed` is false when it has another form, and no gateway serves such a model's children.
    function read(bytes calldata royalty) internal pure returns (bool formed, uint256 ratioPpm, Ask[] memory asks) {
        if (royalty.length < HEADER_BYTES) return (false, 0, asks);
        uint256 cursor;
        assembly {
            cursor := royalty.offset
        }
        uint256 head = load(cursor);
        ratioPpm = head >> 232;
        uint256 count = uint8(head >> 224);
        bool sized = royalty.length == HEADER_BYTES + ASK_BYTES * count;
        if (!sized || ratioPpm > PPM) return (false, 0, asks);
        cursor += HEADER_BYTES;
        asks = new Ask[](count);
        uint256 least; // the lowest meter that may come next
        for (uint256 i; i < count; ++i) {
            uint256 word = load(cursor + ASK_BYTES * i);
            asks[i] = Ask(uint8(word >> 248), uint64(word >> 184)); // a byte, and eight
            bool ascends = asks[i].meter >= least && asks[i].meter < METERS && asks[i].price <= Meters.MAX_ATOMS;
            if (!ascends) return (false, 0, asks);
            least = uint256(asks[i].meter) + 1;
        }
        formed = true;
    }

    /// @notice Raises `due` to the maximum with another royalty: of the ratios, and of what each meter's units pay.
    function raise(Royalty memory due, uint256 ratioPpm, Ask[] memory asks) internal pure {
        if (ratioPpm > due.ratioPpm) due.ratioPpm = ratioPpm;
        uint256[METERS] memory rates = Meters.rates(asks);
        for (uint256 m; m < METERS; ++m) {
            if (rates[m] > due.rates[m]) due.rates[m] = rates[m];
        }
        due.asked |= Meters.check(asks);
    }

    /// @notice The asks of a line that pays it.
    function asksOf(Royalty memory due) internal pure returns (Ask[] memory asks) {
        uint256 count;
        for (uint256 m; m < METERS; ++m) {
            count += (due.asked >> m) & 1;
        }
        asks = new Ask[](count);
        count = 0;
        for (uint256 m; m < METERS; ++m) {
            if ((due.asked >> m) & 1 != 0) asks[count++] = Ask(uint8(m), uint64(due.rates[m])); // a meter, an ask
        }
    }

    /// @notice True when a line of this ratio and these asks pays at least as much, whatever the units.
    function covers(uint256 ratioPpm, Ask[] memory asks, uint256 dueRatio, Ask[] memory dueAsks)
        internal
        pure
        returns (bool)
    {
        uint256[METERS] memory paid = Meters.rates(asks);
        uint256[METERS] memory due = Meters.rates(dueAsks);
        for (uint256 m; m < METERS; ++m) {
            if (paid[m] < due[m]) return false;
        }
        return ratioPpm >= dueRatio;
    }

    /// @notice True for a royalty that pays nothing, whatever the units.
    function isNothing(Royalty memory due) internal pure returns (bool) {
        uint256 bits = due.ratioPpm;
        for (uint256 m; m < METERS; ++m) {
            bits |= due.rates[m];
        }
        return bits == 0;
    }
}
