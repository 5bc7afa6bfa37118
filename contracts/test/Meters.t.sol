// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, METERS, Meters} from "../src/Meters.sol";
import {LibrariesHarness} from "./LibrariesHarness.sol";
import {World} from "./World.sol";

/// @dev The table of meters, and what asks make of a unit of each.
contract MetersTest is World {
    LibrariesHarness private lib;

    function setUp() external {
        lib = libraries();
    }

    function test_TheTableIsTheOneOfTheMechanism() external view {
        uint256[METERS] memory scales =
            [uint256(1), 1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 1, 1, 1, 1e6, 1e3, 1e9, 1e6];
        uint256[METERS] memory coarser = [uint256(15), 15, 1, 1, 15, 4, 1, 4, 15, 15, 15, 15, 15, 15, 15];
        for (uint256 m; m < METERS; ++m) {
            eq(lib.weight(m) * scales[m], 1e9, "scale");
            eq(lib.coarser(m), coarser[m], "coarser");
        }
    }

    function test_ACoarserMeterHasTheSameScale_AndNoneAboveIt() external view {
        for (uint256 m; m < METERS; ++m) {
            uint256 other = lib.coarser(m);
            if (other == Meters.NONE) continue;
            eq(lib.weight(other), lib.weight(m), "scale");
            eq(lib.coarser(other), Meters.NONE, "one step");
        }
    }

    function test_AUnitPaysItsOwnAsk_ElseTheCoarserMeters() external view {
        Ask[] memory asks = new Ask[](3);
        (asks[0], asks[1], asks[2]) = (Ask(1, 10), Ask(2, 0), Ask(5, 7));
        uint256[METERS] memory rates = lib.rates(asks);
        uint256[METERS] memory expected = [uint256(0), 10, 0, 10, 0, 7, 10, 0, 0, 0, 0, 0, 0, 0, 0];
        vm.assertEq(keccak256(abi.encode(rates)), keccak256(abi.encode(expected)), "rates");
    }

    function test_RevertWhen_AsksAreUnknown_OutOfOrder_OrTooLarge() external {
        refuses(Meters.MeterUnknown.selector);
        lib.weight(METERS);
        refuses(Meters.MeterUnknown.selector);
        lib.coarser(METERS);
        refuses(Meters.MeterUnknown.selector);
        lib.rates(asksOf(1, 10, 15, 1));
        refuses(Meters.AsksMalformed.selector);
        lib.rates(asksOf(1, 10, 1, 1));
        refuses(Meters.AsksMalformed.selector);
        lib.rates(asksOf(1, 10, 0, 1));
        refuses(Meters.AsksMalformed.selector);
        lib.rates(asksOf(1, 10, 2, 1 << 63));
    }
}
