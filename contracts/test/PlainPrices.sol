// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, METERS, Unit} from "../src/Meters.sol";
import {Deduction} from "../src/Terms.sol";

/// @dev Terms as a struct, and the same rule as `Prices` with nothing but checked arithmetic and tables written out.
struct PlainLine {
    address party;
    uint8 role;
    uint24 ratioPpm;
    Ask[] asks;
}

struct PlainTerms {
    bytes32 subject;
    bool listed;
    uint8 seller;
    uint64 listPrice;
    bool deducted;
    Deduction deduction;
    PlainLine[] lines;
}

library PlainPrices {
    uint256 private constant MAX_ATOMS = 2 ** 63 - 1;

    function encode(PlainTerms memory t) internal pure returns (bytes memory out) {
        uint8 flags = (t.listed ? 1 : 0) + (t.deducted ? 2 : 0);
        out = abi.encodePacked(uint8(2), flags, t.seller, t.listPrice, t.subject, uint8(t.lines.length));
        if (t.deducted) {
            Deduction memory d = t.deduction;
            out = bytes.concat(out, abi.encodePacked(uint8(d.sponsor), d.curator, uint24(d.offerPpm), uint24(d.keepPpm)));
            out = bytes.concat(out, abi.encodePacked(uint64(d.promotion), d.surface, d.treasury));
        }
        for (uint256 i; i < t.lines.length; ++i) {
            PlainLine memory l = t.lines[i];
            out = bytes.concat(out, abi.encodePacked(l.party, l.role, l.ratioPpm, uint8(l.asks.length)));
            for (uint256 a; a < l.asks.length; ++a) {
                out = bytes.concat(out, abi.encodePacked(l.asks[a].meter, l.asks[a].price));
            }
        }
    }

    function split(PlainTerms memory t, Unit[] memory units, uint256 subcallTotal)
        internal
        pure
        returns (bool sound, uint256 price, uint256 charge, uint256[] memory amounts)
    {
        if (t.listed) price = t.listPrice;
        else while (_total(t, units, subcallTotal, price) > price) price = _total(t, units, subcallTotal, price);
        uint256 total = _total(t, units, subcallTotal, price);
        amounts = new uint256[](t.lines.length + (t.deducted ? 3 : 0));
        if (total > price || price > MAX_ATOMS) return (false, 0, 0, amounts);
        for (uint256 i; i < t.lines.length; ++i) {
            amounts[i] = pay(t.lines[i], units, price);
        }
        if (t.listed) amounts[t.seller] += price - total;
        charge = price - subcallTotal;
        if (t.deducted) charge -= _deduct(t, amounts);
        sound = true;
    }

    /// @dev F by the definition: one meter after the other, each over its own scale made common.
    function fixedPart(PlainLine memory l, Unit[] memory units) internal pure returns (uint256) {
        uint256[METERS] memory scales =
            [uint256(1), 1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 1, 1, 1, 1e6, 1e3, 1e9, 1e6];
        uint256[METERS] memory coarser = [uint256(0), 1, 1, 1, 4, 4, 1, 4, 8, 9, 10, 11, 12, 13, 14];
        uint256[METERS] memory counted;
        for (uint256 i; i < units.length; ++i) {
            uint256 meter = units[i].meter;
            counted[_asks(l, meter) ? meter : coarser[meter]] += units[i].count;
        }
        uint256 sum;
        for (uint256 a; a < l.asks.length; ++a) {
            sum += l.asks[a].price * counted[l.asks[a].meter] * (1e9 / scales[l.asks[a].meter]);
        }
        return sum % 1e9 == 0 ? sum / 1e9 : sum / 1e9 + 1;
    }

    function pay(PlainLine memory l, Unit[] memory units, uint256 price) internal pure returns (uint256) {
        uint256 product = l.ratioPpm * price;
        return product / 1e6 + (product % 1e6 == 0 ? 0 : 1) + fixedPart(l, units);
    }

    function _total(PlainTerms memory t, Unit[] memory units, uint256 subcallTotal, uint256 price)
        private
        pure
        returns (uint256 total)
    {
        total = subcallTotal;
        for (uint256 i; i < t.lines.length; ++i) {
            total += pay(t.lines[i], units, price);
        }
    }

    function _deduct(PlainTerms memory t, uint256[] memory amounts) private pure returns (uint256 rebate) {
        Deduction memory d = t.deduction;
        uint256 whole = amounts[d.sponsor];
        uint256 most = whole * 9 / 10;
        uint256 commission = d.curator == address(0) ? 0 : whole * d.offerPpm / 1e6;
        if (commission > most) commission = most;
        uint256 promotion = d.surface == address(0) ? 0 : d.promotion;
        if (promotion > most - commission) promotion = most - commission;
        uint256 n = t.lines.length;
        amounts[d.sponsor] = whole - commission - promotion;
        amounts[n] = commission * d.keepPpm / 1e6;
        amounts[n + 1] = promotion * 7 / 10;
        amounts[n + 2] = promotion - amounts[n + 1];
        rebate = commission - amounts[n];
    }

    function _asks(PlainLine memory l, uint256 meter) private pure returns (bool) {
        for (uint256 a; a < l.asks.length; ++a) {
            if (l.asks[a].meter == meter) return true;
        }
        return false;
    }
}
