// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, METERS, Unit} from "../src/Meters.sol";
import {Prices} from "../src/Prices.sol";
import {Receipt} from "../src/Receipt.sol";
import {Deduction} from "../src/Terms.sol";
import {LibrariesHarness} from "./LibrariesHarness.sol";
import {PlainLine, PlainPrices, PlainTerms} from "./PlainPrices.sol";
import {PlainReceipts} from "./PlainReceipts.sol";
import {World} from "./World.sol";

/// @dev The priced-ratio rule: by hand, by vectors of another page, by a plain twin, and what it costs.
contract PricesTest is World {
    uint64 private constant MAX_ATOMS = 2 ** 63 - 1;
    uint64 private constant MAX_UNITS = 2 ** 40 - 1;
    /// @dev What the next number is drawn from.
    uint256 private _seed;
    LibrariesHarness private lib;

    function setUp() external {
        lib = libraries();
    }

    // ------------------------------------------------------------------ by hand

    function test_AFractionOfAnAtomIsRoundedUp_OncePerLine() external view {
        // 3 input tokens at 1 atom a million and 1 ms at 1 atom a thousand: 3e-6 + 1e-3 atoms, one atom
        PlainTerms memory t = _oneLine(0, asksOf(1, 1, 12, 1));
        eq(lib.split(PlainPrices.encode(t), _units(1, 3, 12, 1), 0).price, 1, "one, not two");
        // 2,000,000 tokens at 3 atoms a million, and 1 more: 6 atoms and a bit
        t = _oneLine(0, asksOf(1, 3));
        eq(lib.split(PlainPrices.encode(t), _units(1, 2_000_000), 0).price, 6, "whole");
        eq(lib.split(PlainPrices.encode(t), _units(1, 2_000_001), 0).price, 7, "and a bit");
    }

    function test_FinerUnitsAreCountedInTheCoarserMeter_UnlessTheLineAsksForThem() external view {
        // 1,000,000 input and 500,000 cached tokens
        Unit[] memory units = _units(1, 1_000_000, 2, 500_000);
        eq(lib.split(PlainPrices.encode(_oneLine(0, asksOf(1, 10))), units, 0).price, 15, "as input");
        eq(lib.split(PlainPrices.encode(_oneLine(0, asksOf(1, 10, 2, 4))), units, 0).price, 12, "as cached");
        eq(lib.split(PlainPrices.encode(_oneLine(0, asksOf(1, 10, 2, 0))), units, 0).price, 10, "cached is free");
        eq(lib.split(PlainPrices.encode(_oneLine(0, asksOf(2, 4))), units, 0).price, 2, "input is free");
        eq(lib.split(PlainPrices.encode(_oneLine(0, asksOf(4, 4))), units, 0).price, 0, "all is free");
    }

    function test_ThePriceIsTheLeastThatPaysEveryBid() external view {
        // fixed 97 and three ratios: 97 / (1 - 0.03) = 100
        PlainTerms memory t = _oneLine(10_000, asksOf(0, 97));
        t.lines = _three(t.lines[0], 10_000, 10_000);
        Prices.Split memory s = lib.split(PlainPrices.encode(t), _units(0, 1), 0);
        eq(s.price, 100, "price");
        eq(s.amounts[0], 98, "ask and ratio");
        eq(s.amounts[1] + s.amounts[2], 2, "ratios");
        // ratios and no ask: free
        t.lines[0].asks = noAsks();
        s = lib.split(PlainPrices.encode(t), _units(0, 1), 0);
        vm.assertTrue(s.sound && s.price == 0, "free");
        // a sub-call of 1,000 is passed on: 1000 / 0.97 = 1030.9; each ratio's share is 10.31, rounded up to 11
        s = lib.split(PlainPrices.encode(t), _units(0, 1), 1_000);
        eq(s.price, 1_033, "with the sub-call");
        eq(s.charge, 33, "without it");
    }

    function test_AMillionthOfAnAtomIsRoundedUp() external view {
        // 3 ppm of 666,667 are 2.000001 atoms, so 666,665 and 2 do not suffice; of 666,668 they are 2.000004
        PlainTerms memory t = _oneLine(3, asksOf(0, 666_665));
        Prices.Split memory s = lib.split(PlainPrices.encode(t), _units(0, 1), 0);
        eq(s.price, 666_668, "price");
        eq(s.amounts[0], 666_668, "the line's");
        // an atom less asked: 3 ppm of 666,666 are 1.999998
        t.lines[0].asks[0].price -= 1;
        eq(lib.split(PlainPrices.encode(t), _units(0, 1), 0).price, 666_666, "just enough");
    }

    function test_OfAListedPrice_TheSellerGetsTheRest() external view {
        PlainTerms memory t = _oneLine(0, asksOf(0, 40));
        t.lines = _three(t.lines[0], 100_000, 50_000);
        (t.listed, t.seller, t.listPrice) = (true, 1, 1_000);
        Prices.Split memory s = lib.split(PlainPrices.encode(t), _units(0, 1), 200);
        vm.assertTrue(s.sound, "sound");
        eq(s.amounts[0], 40, "the first");
        eq(s.amounts[2], 50, "the third");
        eq(s.amounts[1], 1_000 - 200 - 90, "the seller, above its 100");
        t.listPrice = 284; // 40 + 29 + 15 + 200
        vm.assertTrue(lib.split(PlainPrices.encode(t), _units(0, 1), 200).sound, "just enough");
        t.listPrice = 282; // 40 + 29 + 15 + 200
        vm.assertFalse(lib.split(PlainPrices.encode(t), _units(0, 1), 200).sound, "too low");
    }

    function test_ADeductionComesOutOfTheSponsorsLineAlone() external view {
        PlainTerms memory t = _oneLine(0, asksOf(0, 1_001));
        t.deducted = true;
        t.deduction = Deduction(0, maker, 200_000, 250_000, 333, provider, stranger);
        Prices.Split memory s = lib.split(PlainPrices.encode(t), _units(0, 1), 0);
        eq(s.price, 1_001, "price");
        // commission 200 of 1001, of which 50 are kept and 150 given back; slot 333, of which 233 to the surface
        eq(s.charge, 851, "less what is given back");
        eq(s.amounts[0], 1_001 - 200 - 333, "sponsor");
        eq(s.amounts[1], 50, "curator");
        eq(s.amounts[2], 233, "surface");
        eq(s.amounts[3], 100, "treasury");
        t.deduction.promotion = 5_000;
        s = lib.split(PlainPrices.encode(t), _units(0, 1), 0);
        eq(s.amounts[0], 101, "keeps a tenth, rounded up");
        (t.deduction.curator, t.deduction.surface) = (address(0), address(0));
        s = lib.split(PlainPrices.encode(t), _units(0, 1), 0);
        eq(s.amounts[0], 1_001, "nobody referred, nobody showed");
    }

    function test_NoPriceIsAbove63Bits() external view {
        PlainTerms memory t = _oneLine(0, asksOf(0, MAX_ATOMS));
        vm.assertTrue(lib.split(PlainPrices.encode(t), _units(0, 1), 0).sound, "the most");
        vm.assertFalse(lib.split(PlainPrices.encode(t), _units(0, 2), 0).sound, "a fixed part above it");
        vm.assertFalse(lib.split(PlainPrices.encode(t), _units(0, 1), 1).sound, "a sum above it");
        t.lines = _three(t.lines[0], 1, 0);
        vm.assertFalse(lib.split(PlainPrices.encode(t), _units(0, 1), 0).sound, "a ratio above it");
    }

    // ------------------------------------------------------------------ by another page

    function test_SharedVectorsHold() external view {
        string memory json = vm.readFile("../tests/vectors/split_prices.json");
        uint256 count = vm.parseJsonUint(json, ".count");
        for (uint256 i; i < count; ++i) {
            string memory one = string.concat(".cases[", vm.toString(i), "]");
            Unit[] memory units = abi.decode(vm.parseJsonBytes(json, string.concat(one, ".units")), (Unit[]));
            bytes memory terms = vm.parseJsonBytes(json, string.concat(one, ".terms"));
            uint256 subcallTotal = vm.parseJsonUint(json, string.concat(one, ".subcall_total"));
            Prices.Split memory s = lib.split(terms, units, subcallTotal);
            bytes memory said = s.sound ? abi.encode(true, s.price, s.charge, s.amounts) : abi.encode(false);
            vm.assertEq(keccak256(said), keccak256(vm.parseJsonBytes(json, string.concat(one, ".split"))), one);
        }
        vm.assertGe(count, 100, "cases");
    }

    // ------------------------------------------------------------------ by a twin

    function testFuzz_APlainTwinSaysTheSame(uint256 seed) external {
        (PlainTerms memory t, Unit[] memory units, uint256 subcallTotal) = _draw(seed);
        (bool sound, uint256 price, uint256 charge, uint256[] memory amounts) =
            PlainPrices.split(t, units, subcallTotal);
        bytes memory terms = PlainPrices.encode(t);
        Prices.Split memory s = lib.split(terms, units, subcallTotal);
        vm.assertTrue(s.sound == sound, "sound");
        if (!sound) return;
        eq(s.price, price, "price");
        eq(s.charge, charge, "charge");
        vm.assertEq(keccak256(abi.encode(s.amounts)), keccak256(abi.encode(amounts)), "amounts");
        uint256 total;
        for (uint256 i; i < amounts.length; ++i) {
            total += amounts[i];
        }
        eq(total, charge, "the amounts are the charge");
        // with the price given, nothing else comes out
        uint256[] memory given = lib.pays(terms, units, subcallTotal, price);
        vm.assertEq(keccak256(abi.encode(given)), keccak256(abi.encode(amounts)), "as given");
    }

    function testFuzz_APriceIsTheLeast(uint256 seed) external {
        (PlainTerms memory t, Unit[] memory units, uint256 subcallTotal) = _draw(seed);
        (t.listed, t.seller, t.listPrice, t.deducted) = (false, 0, 0, false);
        for (uint256 i; i < t.lines.length; ++i) {
            for (uint256 a; a < t.lines[i].asks.length; ++a) {
                t.lines[i].asks[a].price %= 3;
            }
        }
        for (uint256 i; i < units.length; ++i) {
            units[i].count = 1 + units[i].count % 2;
        }
        Prices.Split memory s = lib.split(PlainPrices.encode(t), units, subcallTotal % 4);
        for (uint256 below; below < s.price; ++below) {
            uint256 total = subcallTotal % 4;
            for (uint256 i; i < t.lines.length; ++i) {
                total += PlainPrices.pay(t.lines[i], units, below);
            }
            vm.assertGe(total, below + 1, "a lower price pays everybody");
        }
    }

    // ------------------------------------------------------------------ a price as given

    function test_PaysTo_AddsAPartysRoles_AtAnyPrice() external view {
        PlainTerms memory t = _oneLine(0, asksOf(0, 40));
        t.lines = _three(t.lines[0], 100_000, 50_000);
        t.lines[2].party = t.lines[0].party;
        bytes memory terms = PlainPrices.encode(t);
        eq(lib.paysTo(terms, _units(0, 1), 0, 1_000, t.lines[0].party), 90, "40 and 50");
        eq(lib.paysTo(terms, _units(0, 1), 0, 1_000, t.lines[1].party), 100, "a tenth");
        eq(lib.paysTo(terms, _units(0, 1), 0, 1_000, stranger), 0, "no line");
        (t.listed, t.seller, t.listPrice) = (true, 1, 1_000);
        terms = PlainPrices.encode(t);
        eq(lib.paysTo(terms, _units(0, 1), 0, 500, t.lines[1].party), 500 - 65, "what the others leave");
        eq(lib.paysTo(terms, _units(0, 1), 480, 500, t.lines[1].party), 0, "nothing left is no error");
        terms[0] = 0x01;
        eq(lib.paysTo(terms, _units(0, 1), 0, 1_000, t.lines[1].party), 0, "malformed terms pay nobody");
    }

    // ------------------------------------------------------------------ gas

    /// @dev The worst: 16 lines, each with all asks, all units; ratios that take the most steps found.
    function test_TheLargestReceiptIsPricedBelow200_000Gas() external view {
        (bytes memory terms, Unit[] memory units) = _largest();
        (uint256 used, bytes memory answer) = _gas(abi.encodeCall(lib.split, (terms, units, 45)));
        vm.assertTrue(abi.decode(answer, (Prices.Split)).sound, "sound");
        vm.assertLe(used, 200_000, "gas");
    }

    /// @dev 16 such receipts, each with terms of its own, read, hashed and added up.
    function test_ARunOfTheLargestReceiptsFits() external view {
        (bytes memory terms, Unit[] memory units) = _largest();
        Receipt memory r;
        (r.terms, r.price, r.units) = (keccak256(terms), 1e12, units);
        (bytes[] memory records, bytes[] memory all) = (new bytes[](16), new bytes[](16));
        for (uint256 i; i < 16; ++i) {
            (records[i], all[i]) = (PlainReceipts.encode(r), terms);
        }
        bytes memory call_ = abi.encodeCall(lib.run, (records, all, maker));
        vm.assertLe(call_.length, 52_000, "bytes");
        (uint256 used,) = _gas(call_);
        vm.assertLe(used, 3_000_000, "gas");
    }

    // ------------------------------------------------------------------ helpers

    function _gas(bytes memory call_) private view returns (uint256 used, bytes memory answer) {
        uint256 before = gasleft();
        bool ok;
        (ok, answer) = address(lib).staticcall(call_);
        used = before - gasleft();
        require(ok, "call");
    }

    function _largest() private view returns (bytes memory, Unit[] memory units) {
        uint24[16] memory ratios = [
            uint24(53870), 28937, 9409, 8779, 107230, 70155, 90354, 141850, 21398, 41454, 109244, 32092, 157443, 17704, 3777, 6304
        ];
        PlainTerms memory t;
        (t.deducted, t.deduction) = (true, Deduction(0, maker, 200_000, 500_000, 7, provider, stranger));
        t.lines = new PlainLine[](16);
        for (uint256 i; i < 16; ++i) {
            t.lines[i] = PlainLine(i == 15 ? maker : address(uint160(i + 1)), 1, ratios[i], new Ask[](METERS));
            for (uint8 m; m < METERS; ++m) {
                t.lines[i].asks[m] = Ask(m, 0x0000000101010101);
            }
        }
        units = new Unit[](METERS);
        for (uint8 m; m < METERS; ++m) {
            units[m] = Unit(m, m == 0 || m > 7 && m < 11 ? 1 : 0xff);
        }
        return (PlainPrices.encode(t), units);
    }

    function _draw(uint256 seed) private returns (PlainTerms memory t, Unit[] memory units, uint256 subcallTotal) {
        _seed = seed;
        t.subject = bytes32(_random(type(uint256).max));
        t.lines = new PlainLine[](1 + _random(6));
        for (uint256 i; i < t.lines.length; ++i) {
            uint24 ratio = uint24(_random(3) == 0 ? 0 : _random(900_000 / t.lines.length + 1));
            t.lines[i] = PlainLine(address(uint160(1 + _random(3))), uint8(1 + _random(6)), ratio, _drawAsks());
        }
        if (_random(4) == 0) {
            (t.listed, t.seller, t.listPrice) = (true, uint8(_random(t.lines.length)), uint64(_amount()));
        }
        if (_random(3) == 0) {
            t.deducted = true;
            t.deduction.sponsor = _random(t.lines.length);
            (t.deduction.curator, t.deduction.surface) = (address(uint160(_random(2))), address(uint160(_random(2))));
            (t.deduction.offerPpm, t.deduction.keepPpm) = (_random(1_000_001), _random(1_000_001));
            (t.deduction.promotion, t.deduction.treasury) = (_amount(), stranger);
        }
        Ask[] memory meters = _drawAsks();
        units = new Unit[](meters.length);
        for (uint256 i; i < meters.length; ++i) {
            units[i] = Unit(meters[i].meter, uint64(1 + _random(_random(3) == 0 ? MAX_UNITS : 100_000)));
        }
        subcallTotal = _random(2) == 0 ? 0 : _amount();
    }

    function _drawAsks() private returns (Ask[] memory asks) {
        uint256 chosen = _random(1 << METERS) & _random(1 << METERS);
        uint256 count;
        for (uint256 bits = chosen; bits != 0; bits &= bits - 1) {
            ++count;
        }
        asks = new Ask[](count);
        for (uint256 m = METERS; m != 0; --m) {
            if (chosen >> m - 1 & 1 != 0) asks[--count] = Ask(uint8(m - 1), uint64(_amount()));
        }
    }

    /// @dev Amounts of every size, seldom the largest.
    function _amount() private returns (uint256) {
        uint256 size = _random(16);
        if (size == 0) return 0;
        return size == 15 ? _random(uint256(MAX_ATOMS) + 1) : _random(10 ** size);
    }

    function _random(uint256 below) private returns (uint256) {
        _seed = uint256(keccak256(abi.encode(_seed)));
        return _seed % below;
    }

    function _oneLine(uint24 ratioPpm, Ask[] memory asks) private view returns (PlainTerms memory t) {
        t.lines = new PlainLine[](1);
        t.lines[0] = PlainLine(provider, 3, ratioPpm, asks);
    }

    function _three(PlainLine memory first, uint24 second, uint24 third) private view returns (PlainLine[] memory lines) {
        lines = new PlainLine[](3);
        lines[0] = first;
        lines[1] = PlainLine(maker, 1, second, noAsks());
        lines[2] = PlainLine(stranger, 8, third, noAsks());
    }

    function _units(uint8 meter, uint64 count) private pure returns (Unit[] memory units) {
        units = new Unit[](1);
        units[0] = Unit(meter, count);
    }

    function _units(uint8 meter, uint64 count, uint8 other, uint64 otherCount)
        private
        pure
        returns (Unit[] memory units)
    {
        units = new Unit[](2);
        (units[0], units[1]) = (Unit(meter, count), Unit(other, otherCount));
    }
}
