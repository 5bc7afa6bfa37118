// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {METERS, Meters, Unit} from "./Meters.sol";
import {Deduction, Line, Reading, Terms} from "./Terms.sol";

/// @title Prices: the priced-ratio rule
/// @notice In integers, as `ledger.core.pricing.price` says it, to the atom:
///
///     F      = ceil(sum over meters of ask * units / scale), units of a finer meter without an ask in the coarser one
///     pay(P) = ceil(ratio * P / 10^6) + F                                                                  of each line
///     P      = the least number with sum of pay(P) + subcallTotal <= P
///
/// Of listed terms P is the list price; the seller's line gets what the others leave, at least its own pay. A deduction
/// then takes the sponsor's line apart.
library Prices {
    uint256 private constant PPM = Terms.PPM;
    /// @dev A sponsor keeps at least a tenth of its line.
    uint256 private constant DEDUCTION_CAP_PPM = 900_000;
    /// @dev The part of a slot's price for the surface that showed it; the rest is the treasury's.
    uint256 private constant SURFACE_PPM = 700_000;

    /// @notice What a call comes to. `sound` is false when the terms are malformed, or allow no price for these units: no
    /// honest receipt names them. `amounts` are in the order of `Terms.payee`, and sum to the charge.
    struct Split {
        bool sound;
        uint256 price;
        uint256 charge;
        uint256[] amounts;
    }

    /// @notice Prices a call of these units whose sub-calls cost `subcallTotal`.
    function split(Reading memory t, Unit[] memory units, uint256 subcallTotal) internal pure returns (Split memory s) {
        if (t.lines.length == 0) return s;
        uint256[] memory fixeds = fixedParts(t, units);
        uint256 asked = subcallTotal;
        for (uint256 i; i < fixeds.length; ++i) {
            if (fixeds[i] > Meters.MAX_ATOMS) return s;
            asked += fixeds[i];
        }
        s.price = t.listed ? t.listPrice : _leastPrice(t, asked);
        if (s.price > Meters.MAX_ATOMS) return s;
        bool covered;
        (covered, s.amounts) = _pays(t, fixeds, subcallTotal, s.price);
        if (!covered) return s;
        s.charge = s.price - subcallTotal;
        if (t.deducted) s.charge -= _deduct(t, s.amounts);
        s.sound = true;
    }

    /// @notice What each payee gets of a call that cost `price`, whether or not that is the price of these terms: a wrong
    /// price has a proof of its own. Takes no iteration. Empty for malformed terms.
    function pays(Reading memory t, Unit[] memory units, uint256 subcallTotal, uint256 price)
        internal
        pure
        returns (uint256[] memory amounts)
    {
        if (t.lines.length == 0) return amounts;
        (, amounts) = _pays(t, fixedParts(t, units), subcallTotal, price);
        if (t.deducted) _deduct(t, amounts);
    }

    /// @notice What one payee, by its number, gets of a call that cost `price`.
    function pays(Reading memory t, Unit[] memory units, uint256 subcallTotal, uint256 price, uint256 payee)
        internal
        pure
        returns (uint256)
    {
        return pays(t, units, subcallTotal, price)[payee];
    }

    /// @notice What one party gets, in all its roles together, of a call that cost `price`.
    function paysTo(Reading memory t, Unit[] memory units, uint256 subcallTotal, uint256 price, address party)
        internal
        pure
        returns (uint256 total)
    {
        uint256[] memory amounts = pays(t, units, subcallTotal, price);
        for (uint256 i; i < amounts.length; ++i) {
            if (Terms.payee(t, i) == party) total += amounts[i];
        }
    }

    /// @notice F of each line: exact over the common scale, rounded up once.
    function fixedParts(Reading memory t, Unit[] memory units) internal pure returns (uint256[] memory fixeds) {
        (uint256[METERS] memory weighed, uint256 finer) = _weigh(units);
        uint256[METERS] memory rates; // of the line at hand, where `asked` has the meter's bit
        fixeds = new uint256[](t.lines.length);
        for (uint256 i; i < fixeds.length; ++i) {
            (uint256 total, uint256 asked) = _ask(t.lines[i], weighed, rates);
            uint256 waiting = finer & ~asked;
            for (uint256 m; waiting >> m != 0; ++m) {
                if (waiting >> m & 1 == 0) continue;
                uint256 other = Meters.coarser(m);
                if (asked >> other & 1 != 0) total += rates[other] * weighed[m];
            }
            fixeds[i] = (total + Meters.COMMON_SCALE - 1) / Meters.COMMON_SCALE;
        }
    }

    /// @dev What a line asks for units of the meters it names, over the common scale; writes its rates, and a bit for each.
    /// In assembly, because nothing else runs as often: 240 times for the largest terms, at half the gas. `Terms.read` has
    /// compared every meter with METERS. 15 products of an ask below 2^63 with units below 2^64, weighed by at most 10^9,
    /// fit 256 bits.
    function _ask(Line line, uint256[METERS] memory weighed, uint256[METERS] memory rates)
        private
        pure
        returns (uint256 total, uint256 asked)
    {
        (uint256 cursor, uint256 end) = line.askRange();
        assembly ("memory-safe") {
            for {} lt(cursor, end) { cursor := add(cursor, 9) } {
                let word := calldataload(cursor)
                let meter := byte(0, word)
                let price := and(shr(184, word), 0xffffffffffffffff)
                asked := or(asked, shl(meter, 1))
                meter := shl(5, meter)
                mstore(add(rates, meter), price)
                total := add(total, mul(price, mload(add(weighed, meter))))
            }
        }
    }

    /// @dev Units by meter over the common scale, and a bit for each that another meter may count.
    function _weigh(Unit[] memory units) private pure returns (uint256[METERS] memory weighed, uint256 finer) {
        for (uint256 i; i < units.length; ++i) {
            uint256 meter = units[i].meter;
            weighed[meter] += units[i].count * Meters.weight(meter);
            if (Meters.coarser(meter) != Meters.NONE) finer |= 1 << meter;
        }
    }

    /// @dev The least fixed point, or the first step above MAX_ATOMS. The lines' ratios sum to at most 900,000.
    function _leastPrice(Reading memory t, uint256 asked) private pure returns (uint256 price) {
        uint256 count;
        uint256 ratio;
        uint256[] memory ratios = new uint256[](t.lines.length);
        for (uint256 i; i < ratios.length; ++i) {
            uint256 one = t.lines[i].ratioPpm();
            if (one == 0) continue;
            ratios[count++] = one;
            ratio += one;
        }
        // the real-valued solution, floored, is never above the least fixed point; each step goes up to at most there
        price = asked * PPM / (PPM - ratio);
        while (price <= Meters.MAX_ATOMS) {
            uint256 total = asked;
            unchecked {
                // ratio * price is below 2^84
                for (uint256 i; i < count; ++i) {
                    total += (ratios[i] * price + PPM - 1) / PPM;
                }
            }
            if (total == price) return price;
            price = total;
        }
    }

    /// @dev Each line's amount before a deduction. `covered` is false when the list price is below what the lines bid.
    function _pays(Reading memory t, uint256[] memory fixeds, uint256 subcallTotal, uint256 price)
        private
        pure
        returns (bool covered, uint256[] memory amounts)
    {
        amounts = new uint256[](Terms.payees(t));
        uint256 total = subcallTotal;
        for (uint256 i; i < fixeds.length; ++i) {
            amounts[i] = (t.lines[i].ratioPpm() * price + PPM - 1) / PPM + fixeds[i];
            total += amounts[i];
        }
        covered = total <= price;
        if (t.listed) {
            uint256 others = total - amounts[t.seller];
            amounts[t.seller] = price > others ? price - others : 0;
        }
    }

    /// @dev Takes the sponsor's line apart, rounding down. Returns the part of the commission that the consumer does not pay.
    function _deduct(Reading memory t, uint256[] memory amounts) private pure returns (uint256 rebate) {
        Deduction memory d = t.deduction;
        uint256 line = amounts[d.sponsor];
        uint256 cap = line * DEDUCTION_CAP_PPM / PPM;
        uint256 commission = d.curator == address(0) ? 0 : _min(line * d.offerPpm / PPM, cap);
        uint256 promotion = d.surface == address(0) ? 0 : _min(d.promotion, cap - commission);
        uint256 first = t.lines.length;
        amounts[d.sponsor] = line - commission - promotion;
        amounts[first] = commission * d.keepPpm / PPM;
        amounts[first + 1] = promotion * SURFACE_PPM / PPM;
        amounts[first + 2] = promotion - amounts[first + 1];
        return commission - amounts[first];
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
