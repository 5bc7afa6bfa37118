// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, METERS} from "../src/Meters.sol";
import {Deduction, Reading} from "../src/Terms.sol";
import {LibrariesHarness} from "./LibrariesHarness.sol";
import {PlainLine, PlainPrices, PlainTerms} from "./PlainPrices.sol";
import {World} from "./World.sol";

/// @dev Terms are read as they were written, and have one spelling.
contract TermsTest is World {
    LibrariesHarness private lib;
    /// @dev Where the parts of `_terms()` begin.
    uint256 private constant DEDUCTION = 44;
    uint256 private constant LINES = 44 + 75;

    function setUp() external {
        lib = libraries();
    }

    function test_EveryFieldIsRead() external view {
        PlainTerms memory t = _terms();
        Reading memory r = lib.read(PlainPrices.encode(t));
        vm.assertEq(r.subject, t.subject, "subject");
        vm.assertTrue(r.listed && r.deducted, "flags");
        eq(r.seller, t.seller, "seller");
        eq(r.listPrice, t.listPrice, "list price");
        vm.assertEq(keccak256(abi.encode(r.deduction)), keccak256(abi.encode(t.deduction)), "deduction");
        eq(r.lines.length, t.lines.length, "lines");
        for (uint256 i; i < t.lines.length; ++i) {
            (address party, uint8 role, uint24 ratioPpm, Ask[] memory asks) = lib.line(PlainPrices.encode(t), i);
            bytes memory read = abi.encode(PlainLine(party, role, ratioPpm, asks));
            vm.assertEq(keccak256(read), keccak256(abi.encode(t.lines[i])), "line");
        }
    }

    function test_MalformedTermsHaveNoLines() external view {
        bytes memory good = PlainPrices.encode(_terms());
        _formed(good, true, "good");
        for (uint256 length; length < good.length; ++length) {
            bytes memory cut = bytes.concat(good);
            assembly ("memory-safe") {
                mstore(cut, length)
            }
            _formed(cut, false, "cut off");
        }
        _formed(bytes.concat(good, hex"00"), false, "too long");
        _spoilt(0, 0x01, "version");
        _spoilt(1, 0x07, "flags");
        _spoilt(1, 0x01, "no deduction by the flags");
        _spoilt(2, 0x03, "seller");
        _spoilt(3, 0x80, "list price");
        _spoilt(43, 0x00, "no lines");
        _spoilt(43, 0x02, "too few lines");
        _spoilt(43, 0x04, "too many lines");
        _spoilt(DEDUCTION, 0x03, "sponsor");
        _spoilt(DEDUCTION + 21, 0xff, "offer");
        _spoilt(DEDUCTION + 24, 0xff, "keep");
        _spoilt(DEDUCTION + 27, 0x80, "promotion");
        _spoilt(LINES + 20, 0x00, "no role");
        _spoilt(LINES + 20, 0x09, "role");
        _spoilt(LINES + 21, 0xff, "ratio");
        _spoilt(LINES + 24, 0x01, "too few asks");
        _spoilt(LINES + 24, 0x03, "too many asks");
        _spoilt(LINES + 25, 0x02, "a meter twice");
        _spoilt(LINES + 25, 0x03, "meters out of order");
        _spoilt(LINES + 25 + 9, 0x0f, "meter");
        _spoilt(LINES + 26, 0x80, "ask");
    }

    function test_ComposedTermsNameNoSeller_AndNoPrice() external view {
        PlainTerms memory t = _terms();
        (t.listed, t.seller, t.listPrice) = (false, 0, 0);
        _formed(PlainPrices.encode(t), true, "neither");
        t.seller = 1;
        _formed(PlainPrices.encode(t), false, "seller");
        (t.seller, t.listPrice) = (0, 1);
        _formed(PlainPrices.encode(t), false, "price");
    }

    function test_TheGatewaysAndTheProtocolsLineSponsorNothing() external view {
        for (uint8 role = 1; role < 9; ++role) {
            PlainTerms memory t = _terms();
            t.lines[1].role = role;
            _formed(PlainPrices.encode(t), role < 7, vm.toString(role));
        }
    }

    function test_ADeductionAtEachBound() external view {
        PlainTerms memory t = _terms();
        (t.deduction.offerPpm, t.deduction.keepPpm, t.deduction.promotion) = (1_000_000, 1_000_000, 2 ** 63 - 1);
        _formed(PlainPrices.encode(t), true, "all of the line, all of it kept, and the largest promotion");
        t.deduction.offerPpm += 1;
        _formed(PlainPrices.encode(t), false, "more than the line");
        (t.deduction.offerPpm, t.deduction.keepPpm) = (1_000_000, 1_000_001);
        _formed(PlainPrices.encode(t), false, "more than what is offered");
        (t.deduction.keepPpm, t.deduction.promotion) = (1_000_000, 2 ** 63);
        _formed(PlainPrices.encode(t), false, "above 63 bits");
    }

    function test_AtMost16Lines_AndRatiosOf900_000() external view {
        PlainTerms memory t;
        t.lines = new PlainLine[](16);
        for (uint256 i; i < 16; ++i) {
            t.lines[i] = PlainLine(maker, 1, 56_250, noAsks());
        }
        _formed(PlainPrices.encode(t), true, "16 of 56,250");
        t.lines[7].ratioPpm += 1;
        _formed(PlainPrices.encode(t), false, "900,001");
        t.lines = new PlainLine[](17);
        for (uint256 i; i < 17; ++i) {
            t.lines[i] = PlainLine(maker, 1, 0, noAsks());
        }
        _formed(PlainPrices.encode(t), false, "17");
    }

    function testFuzz_NoBytesMakeTheReadingFail(bytes calldata terms) external view {
        lib.read(terms);
        bytes memory changed = PlainPrices.encode(_terms());
        for (uint256 i; i < terms.length && i < changed.length; ++i) {
            if (uint8(terms[i]) < 32) changed[i] ^= terms[i];
        }
        lib.read(changed);
    }

    // ------------------------------------------------------------------ helpers

    function _terms() private view returns (PlainTerms memory t) {
        (t.subject, t.listed, t.seller, t.listPrice) = (keccak256("model"), true, 2, 123_456);
        t.deducted = true;
        t.deduction = Deduction(1, maker, 300_000, 400_000, 5_000, provider, stranger);
        t.lines = new PlainLine[](3);
        t.lines[0] = PlainLine(provider, 3, 0, new Ask[](2));
        (t.lines[0].asks[0], t.lines[0].asks[1]) = (Ask(1, 2_000_000), Ask(2, 2 ** 63 - 1));
        t.lines[1] = PlainLine(maker, 1, 100_000, new Ask[](METERS));
        for (uint8 m; m < METERS; ++m) {
            t.lines[1].asks[m] = Ask(m, uint64(m) * 1_000_003);
        }
        t.lines[2] = PlainLine(stranger, 8, 20_000, noAsks());
    }

    function _spoilt(uint256 index, bytes1 value, string memory what) private view {
        bytes memory terms = PlainPrices.encode(_terms());
        terms[index] = value;
        _formed(terms, false, what);
    }

    function _formed(bytes memory terms, bool formed, string memory what) private view {
        vm.assertTrue((lib.read(terms).lines.length != 0) == formed, what);
    }
}
