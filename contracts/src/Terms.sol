// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {load} from "./Calldata.sol";
import {Ask, METERS, Meters} from "./Meters.sol";
import {Role} from "./Roles.sol";

/// @notice One party's claim on the price, in one word: party 20 bytes, role 1, ratioPpm 3, number of asks 1, and 7 bytes
/// that say where in calldata its asks begin.
type Line is uint256;

using {party, role, ratioPpm, askRange, asks} for Line global;

/// @notice Terms as read. They are malformed when they have no lines.
struct Reading {
    bytes32 subject;
    Line[] lines;
    bool listed;
    uint256 listPrice;
    uint256 seller;
    bool deducted;
    Deduction deduction;
}

/// @notice What one line, the sponsor's, gives away: commission of a curator, price of a sponsored slot. A zero curator or
/// surface means that nobody referred, or showed, this call.
struct Deduction {
    uint256 sponsor;
    address curator;
    uint256 offerPpm;
    uint256 keepPpm;
    uint256 promotion;
    address surface;
    address treasury;
}

uint256 constant ASK_BYTES = 9;

/// @notice The payee.
function party(Line line) pure returns (address) {
    return address(uint160(Line.unwrap(line) >> 96));
}

/// @notice Why it is paid. A line is only made with a role that exists.
function role(Line line) pure returns (Role) {
    return Role(uint8(Line.unwrap(line) >> 88));
}

/// @notice Its ratio of the price.
function ratioPpm(Line line) pure returns (uint24) {
    return uint24(Line.unwrap(line) >> 64);
}

/// @notice Where in calldata its asks begin and end.
function askRange(Line line) pure returns (uint256 cursor, uint256 end) {
    unchecked {
        cursor = uint56(Line.unwrap(line)); // an offset in calldata, and at most 255 asks
        end = cursor + ASK_BYTES * uint8(Line.unwrap(line) >> 56);
    }
}

/// @notice Its asks.
function asks(Line line) pure returns (Ask[] memory all) {
    (uint256 cursor, uint256 end) = line.askRange();
    all = new Ask[]((end - cursor) / ASK_BYTES);
    for (uint256 i; cursor < end; cursor += ASK_BYTES) {
        uint256 word = load(cursor);
        all[i++] = Ask(uint8(word >> 248), uint64(word >> 184)); // a byte, and eight
    }
}

/// @title Terms: what a call is priced from, as bytes named by their keccak256
/// @notice Version 2, integers big endian:
///
///     version u8 = 2 | flags u8 (1 listed, 2 deduction) | seller u8 | listPrice u64 | subject 32 | count u8
///     deduction, if flags has 2: sponsor u8 | curator 20 | offerPpm u24 | keepPpm u24 | promotion u64 | surface 20 | treasury 20
///     count lines: party 20 | role u8 | ratioPpm u24 | n u8 | n asks: meter u8 | price u64, meters ascending
///
/// At most 16 lines. One meaning has one spelling: what `ledger.core.catalog.bids.decode` accepts, and nothing else.
library Terms {
    uint256 internal constant MAX_LINES = 16;
    uint256 internal constant MAX_RATIOS_PPM = 900_000;
    uint256 internal constant PPM = 1_000_000;
    uint256 private constant VERSION = 2;
    uint256 private constant LISTED = 1;
    uint256 private constant DEDUCTED = 2;
    uint256 private constant HEADER_BYTES = 44;
    uint256 private constant DEDUCTION_BYTES = 75;
    uint256 private constant LINE_BYTES = 25;
    uint256 private constant LAST_ROLE = uint256(type(Role).max);

    /// @notice Reads terms. Malformed ones come back without lines.
    function read(bytes calldata terms) internal pure returns (Reading memory t) {
        if (terms.length < HEADER_BYTES) return t;
        uint256 start = _start(terms);
        uint256 word = load(start);
        uint256 flags = uint8(word >> 240);
        uint256 count = load(start + HEADER_BYTES - 1) >> 248;
        if (word >> 248 != VERSION || flags > LISTED + DEDUCTED || count == 0 || count > MAX_LINES) return t;
        (t.listed, t.deducted) = (flags & LISTED != 0, flags & DEDUCTED != 0);
        (t.seller, t.listPrice, t.subject) = (uint8(word >> 232), uint64(word >> 168), bytes32(load(start + 11)));
        if (t.seller >= count || t.listPrice > Meters.MAX_ATOMS) return t;
        if (!t.listed && (t.seller != 0 || t.listPrice != 0)) return t;
        uint256 cursor = start + HEADER_BYTES;
        if (t.deducted) {
            if (terms.length < HEADER_BYTES + DEDUCTION_BYTES) return t;
            t.deduction = _deduction(cursor);
            cursor += DEDUCTION_BYTES;
        }
        (bool formed, Line[] memory lines) = _lines(cursor, start + terms.length, count);
        if (formed && (!t.deducted || _mayDeduct(t.deduction, lines))) t.lines = lines;
    }

    /// @notice The number of payees: the lines, then curator, surface and treasury if something is deducted.
    function payees(Reading memory t) internal pure returns (uint256) {
        return t.deducted ? t.lines.length + 3 : t.lines.length;
    }

    /// @notice A payee, in that order.
    function payee(Reading memory t, uint256 i) internal pure returns (address) {
        uint256 lines = t.lines.length;
        if (i < lines) return t.lines[i].party();
        if (i == lines) return t.deduction.curator;
        return i == lines + 1 ? t.deduction.surface : t.deduction.treasury;
    }

    function _lines(uint256 cursor, uint256 end, uint256 count) private pure returns (bool, Line[] memory lines) {
        lines = new Line[](count);
        uint256 ratios;
        for (uint256 i; i < count; ++i) {
            if (cursor + LINE_BYTES > end) return (false, lines);
            uint256 head = load(cursor) >> 56; // 25 bytes
            cursor += LINE_BYTES;
            Line line = Line.wrap(head << 56 | cursor); // an offset in calldata fits 7 bytes
            uint256 role_ = uint8(head >> 32);
            if (role_ == 0 || role_ > LAST_ROLE) return (false, lines);
            ratios += line.ratioPpm();
            (, uint256 next) = line.askRange();
            if (next > end || !_ascend(cursor, next)) return (false, lines);
            (lines[i], cursor) = (line, next);
        }
        return (cursor == end && ratios <= MAX_RATIOS_PPM, lines);
    }

    /// @dev Asks from `cursor` to `end`: known meters, each above the one before, prices of at most 63 bits.
    function _ascend(uint256 cursor, uint256 end) private pure returns (bool) {
        unchecked {
            uint256 least; // the lowest meter that may come next
            uint256 bits; // of all prices together, and of the meters above them
            for (; cursor < end; cursor += ASK_BYTES) {
                uint256 ask = load(cursor) >> 184;
                uint256 meter = ask >> 64;
                if (meter < least) return false;
                least = meter + 1;
                bits |= ask;
            }
            return least <= METERS && uint64(bits) <= Meters.MAX_ATOMS;
        }
    }

    function _deduction(uint256 cursor) private pure returns (Deduction memory d) {
        uint256 word = load(cursor);
        (d.sponsor, d.curator) = (word >> 248, address(uint160(word >> 88)));
        (d.offerPpm, d.keepPpm) = (uint24(word >> 64), uint24(word >> 40));
        d.promotion = load(cursor + 27) >> 192;
        (d.surface, d.treasury) = (address(uint160(load(cursor + 35) >> 96)), address(uint160(load(cursor + 55) >> 96)));
    }

    function _mayDeduct(Deduction memory d, Line[] memory lines) private pure returns (bool) {
        if (d.sponsor >= lines.length || d.offerPpm > PPM || d.keepPpm > PPM || d.promotion > Meters.MAX_ATOMS) {
            return false;
        }
        Role sponsor = lines[d.sponsor].role();
        return sponsor != Role.gateway && sponsor != Role.protocol;
    }

    function _start(bytes calldata terms) private pure returns (uint256 start) {
        assembly {
            start := terms.offset
        }
    }
}
