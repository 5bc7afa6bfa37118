// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Measured use: `count` units of one meter.
struct Unit {
    uint8 meter;
    uint64 count;
}

/// @notice What a line or a bid asks: `price` atoms for one scale of a meter's units. An ask of 0 is an ask.
struct Ask {
    uint8 meter;
    uint64 price;
}

/// @dev The number of meters. It grows with the table in `Meters`.
uint256 constant METERS = 15;

/// @title Meters: the units in which calls are sold
/// @notice A meter is known by its number. An ask buys one scale of its units: a million tokens, a gigabyte, a call.
/// Everything is summed over a common scale of 10^9, so a unit weighs 10^9 / scale: 10 to the power of the first digit
/// of its row below. A line without an ask for a finer meter counts its units in the coarser one, the second digit of
/// the row (f: none), so that no use is free by omission; the two have the same scale.
///
/// Another meter is another row, and one more in `METERS`.
library Meters {
    /// @dev One byte a meter.
    bytes32 private constant TABLE = hex"9f" // 0 call, scale 1
        hex"3f" // 1 input_token, 10^6
        hex"31" // 2 cached_input_token, 10^6, else input_token
        hex"31" // 3 cache_write_token, 10^6, else input_token
        hex"3f" // 4 output_token, 10^6
        hex"34" // 5 reasoning_token, 10^6, else output_token
        hex"31" // 6 input_audio_token, 10^6, else input_token
        hex"34" // 7 output_audio_token, 10^6, else output_token
        hex"9f" // 8 input_image, 1
        hex"9f" // 9 output_image, 1
        hex"9f" // 10 search, 1
        hex"3f" // 11 input_character, 10^6
        hex"6f" // 12 ms, 10^3
        hex"0f" // 13 byte, 10^9
        hex"3f"; // 14 fuel, 10^6

    /// @notice The scale that all asks are summed over.
    uint256 internal constant COMMON_SCALE = 1e9;
    /// @notice The most units of one meter in one receipt.
    uint64 internal constant MAX_UNITS = 2 ** 40 - 1;
    /// @notice The largest ask, and the largest amount of anything.
    uint64 internal constant MAX_ATOMS = uint64(type(int64).max);
    /// @notice `coarser` of a meter that has none.
    uint256 internal constant NONE = 15;

    error MeterUnknown(uint256 meter);
    error AsksMalformed(uint256 index);

    /// @notice A unit's weight: the common scale over the meter's.
    function weight(uint256 meter) internal pure returns (uint256) {
        return 10 ** (_row(meter) >> 4);
    }

    /// @notice The meter that counts these units on a line that does not ask for them; NONE if they are free there.
    function coarser(uint256 meter) internal pure returns (uint256) {
        return _row(meter) & 15;
    }

    /// @notice What asks make of a unit of each meter: its own ask, else the coarser meter's, else nothing.
    /// Reverts unless the asks ascend by meter and none is above MAX_ATOMS.
    function rates(Ask[] memory asks) internal pure returns (uint256[METERS] memory paid) {
        uint256 asked = check(asks);
        for (uint256 i; i < asks.length; ++i) {
            paid[asks[i].meter] = asks[i].price;
        }
        for (uint256 m; m < METERS; ++m) {
            uint256 other = coarser(m);
            // a coarser meter has none above it, so its own rate is final
            if (asked >> m & 1 == 0 && other != NONE) paid[m] = paid[other];
        }
    }

    /// @notice Reverts unless the asks ascend by meter and none is above MAX_ATOMS. Returns a bit for each meter asked.
    function check(Ask[] memory asks) internal pure returns (uint256 asked) {
        unchecked {
            for (uint256 i; i < asks.length; ++i) {
                Ask memory ask = asks[i];
                if (ask.meter >= METERS) revert MeterUnknown(ask.meter);
                if (asked >> ask.meter != 0 || ask.price > MAX_ATOMS) revert AsksMalformed(i);
                asked |= 1 << ask.meter;
            }
        }
    }

    function _row(uint256 meter) private pure returns (uint256) {
        if (meter >= METERS) revert MeterUnknown(meter);
        return uint8(TABLE[meter]);
    }
}
