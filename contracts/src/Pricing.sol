// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title One call's price and shares, from its terms' bytes
/// @notice The priced-ratio rule in integers, as `ledger/core/pricing.py` says it: a line gets
/// `ceil(ratio * P / 10^6) + ceil(asks . units)`, and the price P is the least at which that is enough for every line.
/// Terms: version(1) flags(1) seller(1) listPrice(8) subject(32) count(1), then per line party(20) role(1) ratioPpm(3)
/// asks(6 x 8), then if flags has 2: sponsor(1) curator(20) offerPpm(3) keepPpm(3) promotion(8) surface(20) treasury(20).
library Pricing {
    uint256 private constant PPM = 1_000_000;
    uint256 private constant MAX_RATIOS_PPM = 900_000;
    uint256 private constant CARVE_CAP_PPM = 900_000;
    uint256 private constant SURFACE_PPM = 700_000;
    uint256 private constant MAX_ATOMS = uint64(type(int64).max);
    uint256 private constant MAX_LINES = 64;
    uint256 private constant LAST_ROLE = 8;
    uint256 private constant HEADER = 44;
    uint256 private constant LINE = 72;
    uint256 private constant CARVE = 75;
    uint8 private constant LISTED = 1;
    uint8 private constant CARVED = 2;

    /// @notice What a call comes to. `sound` is false when the terms are malformed, or allow no price for these units:
    /// no honest receipt names them.
    struct Split {
        bool sound;
        uint256 price;
        uint256 charge;
        address[] payees;
        uint256[] amounts;
    }

    /// @notice One line of terms, as placed.
    struct Line {
        address party;
        uint8 role;
        uint24 ratioPpm;
        uint64[6] asks;
    }

    /// @notice Prices a call of these units, with `passed` atoms of sub-calls as one more line.
    function split(bytes memory terms, uint64[6] memory units, uint256 passed) internal pure returns (Split memory s) {
        (bool formed, uint256 count) = _form(terms);
        if (!formed) return s;
        bool carved = uint8(terms[1]) & CARVED != 0;
        uint256[] memory ratios = new uint256[](count);
        uint256[] memory fixeds = new uint256[](count);
        s.payees = new address[](carved ? count + 3 : count);
        s.amounts = new uint256[](s.payees.length);
        for (uint256 i; i < count; ++i) {
            Line memory l = line(terms, i);
            s.payees[i] = l.party;
            ratios[i] = l.ratioPpm;
            fixeds[i] = _fixed(l.asks, units);
            if (fixeds[i] > MAX_ATOMS) return s;
        }
        if (!_price(s, terms, ratios, fixeds, passed)) return s;
        s.charge = s.price - passed;
        if (carved) _carve(s, terms, HEADER + LINE * count);
        s.sound = true;
    }

    /// @notice A line of well-formed terms.
    function line(bytes memory terms, uint256 i) internal pure returns (Line memory l) {
        uint256 start = HEADER + LINE * i;
        l.party = address(uint160(_number(terms, start, 20)));
        l.role = uint8(_number(terms, start + 20, 1));
        l.ratioPpm = uint24(_number(terms, start + 21, 3));
        for (uint256 m; m < 6; ++m) {
            l.asks[m] = uint64(_number(terms, start + 24 + 8 * m, 8));
        }
    }

    /// @notice What the terms are of: a model, a capsule.
    function subject(bytes memory terms) internal pure returns (bytes32) {
        return bytes32(_number(terms, 11, 32));
    }

    /// @notice Lines of the terms; 0 when they are malformed.
    function lines(bytes memory terms) internal pure returns (uint256 count) {
        bool formed;
        (formed, count) = _form(terms);
        if (!formed) count = 0;
    }

    /// @dev One meaning, one spelling: exactly what `ledger.core.bids.decode` accepts.
    function _form(bytes memory terms) private pure returns (bool, uint256 count) {
        if (terms.length < HEADER || uint8(terms[0]) != 1) return (false, 0);
        uint8 flags = uint8(terms[1]);
        count = uint8(terms[43]);
        bool carved = flags & CARVED != 0;
        uint256 listPrice = _number(terms, 3, 8);
        uint256 seller = uint8(terms[2]);
        if (
            flags > (LISTED | CARVED) || count == 0 || count > MAX_LINES
                || terms.length != HEADER + LINE * count + (carved ? CARVE : 0) || seller >= count || listPrice > MAX_ATOMS
                || (flags & LISTED == 0 && (listPrice != 0 || seller != 0))
        ) return (false, count);
        uint256 ratios;
        for (uint256 i; i < count; ++i) {
            Line memory l = line(terms, i);
            if (l.role == 0 || l.role > LAST_ROLE) return (false, count);
            ratios += l.ratioPpm;
            for (uint256 m; m < 6; ++m) {
                if (l.asks[m] > MAX_ATOMS) return (false, count);
            }
        }
        return (ratios <= MAX_RATIOS_PPM && (!carved || _carveFormed(terms, HEADER + LINE * count, count)), count);
    }

    function _carveFormed(bytes memory terms, uint256 start, uint256 count) private pure returns (bool) {
        return uint8(terms[start]) < count && _number(terms, start + 21, 3) <= PPM && _number(terms, start + 24, 3) <= PPM
            && _number(terms, start + 27, 8) <= MAX_ATOMS;
    }

    /// @dev Summed exactly over 10^9, the largest scale; rounded up once.
    function _fixed(uint64[6] memory asks, uint64[6] memory units) private pure returns (uint256) {
        uint256 total = uint256(asks[0]) * units[0] * 1e9;
        total += (uint256(asks[1]) * units[1] + uint256(asks[2]) * units[2] + uint256(asks[5]) * units[5]) * 1e3;
        total += uint256(asks[3]) * units[3] * 1e6 + uint256(asks[4]) * units[4];
        return (total + 1e9 - 1) / 1e9;
    }

    function _price(
        Split memory s,
        bytes memory terms,
        uint256[] memory ratios,
        uint256[] memory fixeds,
        uint256 passed
    ) private pure returns (bool) {
        if (uint8(terms[1]) & LISTED != 0) {
            s.price = _number(terms, 3, 8);
            uint256 seller = uint8(terms[2]);
            uint256 others = _payAll(s.amounts, ratios, fixeds, s.price) + passed - s.amounts[seller];
            if (s.price < others || s.price - others < s.amounts[seller]) return false;
            s.amounts[seller] = s.price - others;
            return true;
        }
        uint256 asked = passed;
        uint256 ratio;
        for (uint256 i; i < ratios.length; ++i) {
            asked += fixeds[i];
            ratio += ratios[i];
        }
        // the real-valued solution, floored, is never above the least fixed point; each step goes up to at most there
        s.price = asked * PPM / (PPM - ratio);
        while (true) {
            uint256 total = _payAll(s.amounts, ratios, fixeds, s.price) + passed;
            if (total > MAX_ATOMS) return false;
            if (total == s.price) return true;
            s.price = total;
        }
        return false;
    }

    function _payAll(uint256[] memory amounts, uint256[] memory ratios, uint256[] memory fixeds, uint256 price)
        private
        pure
        returns (uint256 total)
    {
        for (uint256 i; i < ratios.length; ++i) {
            amounts[i] = (ratios[i] * price + PPM - 1) / PPM + fixeds[i];
            total += amounts[i];
        }
    }

    /// @dev Takes the sponsor's line apart; the consumer pays no rebate.
    function _carve(Split memory s, bytes memory terms, uint256 start) private pure {
        uint256 sponsor = uint8(terms[start]);
        uint256 last = s.payees.length;
        s.payees[last - 3] = address(uint160(_number(terms, start + 1, 20)));
        s.payees[last - 2] = address(uint160(_number(terms, start + 35, 20)));
        s.payees[last - 1] = address(uint160(_number(terms, start + 55, 20)));
        uint256 cap = s.amounts[sponsor] * CARVE_CAP_PPM / PPM;
        uint256 commission;
        if (s.payees[last - 3] != address(0)) {
            commission = _min(s.amounts[sponsor] * _number(terms, start + 21, 3) / PPM, cap);
        }
        uint256 promotion = s.payees[last - 2] == address(0) ? 0 : _min(_number(terms, start + 27, 8), cap - commission);
        s.amounts[sponsor] -= commission + promotion;
        s.amounts[last - 3] = commission * _number(terms, start + 24, 3) / PPM;
        s.amounts[last - 2] = promotion * SURFACE_PPM / PPM;
        s.amounts[last - 1] = promotion - s.amounts[last - 2];
        s.charge -= commission - s.amounts[last - 3];
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    /// @dev A big-endian number of at most 32 bytes. The caller has checked the length.
    function _number(bytes memory data, uint256 start, uint256 size) private pure returns (uint256 value) {
        for (uint256 i; i < size; ++i) {
            value = (value << 8) | uint8(data[start + i]);
        }
    }
}
