// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Unit} from "../src/Meters.sol";
import {Receipt, Receipts} from "../src/Receipt.sol";
import {LibrariesHarness} from "./LibrariesHarness.sol";
import {PlainReceipts} from "./PlainReceipts.sol";
import {World} from "./World.sol";

/// @dev A receipt has one hash, EIP-712's, and one spelling.
contract ReceiptTest is World {
    LibrariesHarness private lib;

    function setUp() external {
        lib = libraries();
    }

    function test_TheHashIsEip712s_AndTheRecordIsTheFiles() external view {
        string memory json = vm.readFile("../tests/vectors/receipts.json");
        uint256 count = vm.parseJsonUint(json, ".count");
        for (uint256 i; i < count; ++i) {
            string memory one = string.concat(".receipts[", vm.toString(i), "]");
            Receipt memory r = abi.decode(vm.parseJsonBytes(json, string.concat(one, ".words")), (Receipt));
            vm.assertEq(lib.hash(r), vm.parseJsonBytes32(json, string.concat(one, ".hash")), one);
            bytes memory record = vm.parseJsonBytes(json, string.concat(one, ".record"));
            vm.assertEq(keccak256(abi.encode(lib.receiptOf(record))), keccak256(abi.encode(r)), one);
        }
        vm.assertGe(count, 4, "receipts");
    }

    function test_RevertWhen_UnitsDoNotAscend_OrACountIsZero_OrTooLarge() external {
        Receipt memory r = _receipt();
        r.units[1].meter = 1;
        _refused(r, 1);
        r.units[1].meter = 0;
        _refused(r, 1);
        r.units[1].meter = 15;
        _refused(r, 1);
        r = _receipt();
        r.units[0].count = 0;
        _refused(r, 0);
        r.units[0].count = 1 << 40;
        _refused(r, 0);
        r.units[0].count = (1 << 40) - 1;
        lib.hash(r);
    }

    function test_RevertWhen_ThereAreMoreThan63SubCalls_OrTheEndIsUnknown() external {
        Receipt memory r = _receipt();
        (r.subcalls, r.end) = (63, 4);
        lib.hash(r);
        r.end = 5;
        refuses(Receipts.EndUnknown.selector);
        lib.hash(r);
        (r.subcalls, r.end) = (64, 0);
        refuses(Receipts.SubcallsTooMany.selector);
        lib.hash(r);
    }

    function test_RevertWhen_AWordIsDirty() external view {
        bytes memory call_ = abi.encodeCall(lib.hash, (_receipt()));
        _must(call_, true, "clean");
        // lane, gateway, seq, consumer, epoch, subcalls, subcallTotal, price, charge, end, endedAt, by their words, and
        // the meter and count of the first unit: 17 words of the receipt and the number of units stand before them
        uint8[13] memory words = [2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 18, 19];
        for (uint256 i; i < words.length; ++i) {
            bytes memory dirty = bytes.concat(call_);
            dirty[4 + 32 * (1 + uint256(words[i]))] = 0x80; // selector, and the offset of the receipt
            _must(dirty, false, vm.toString(words[i]));
        }
    }

    function testFuzz_ARecordIsReadAsItWasWritten(Receipt calldata r, uint8 cut) external {
        Receipt memory written = r;
        if (written.units.length > 15) written.units = new Unit[](15);
        for (uint256 i; i < written.units.length; ++i) {
            written.units[i].count %= 1 << 40;
        }
        bytes memory record = PlainReceipts.encode(written);
        eq(record.length, 271 + 6 * written.units.length, "length");
        vm.assertEq(keccak256(abi.encode(lib.receiptOf(record))), keccak256(abi.encode(written)), "receipt");
        bytes memory longer = bytes.concat(record, hex"00");
        refuses(Receipts.RecordMalformed.selector);
        lib.receiptOf(longer);
        assembly ("memory-safe") {
            mstore(record, sub(mload(record), add(1, mod(cut, mload(record)))))
        }
        refuses(Receipts.RecordMalformed.selector);
        lib.receiptOf(record);
    }

    function testFuzz_AnotherUnitIsAnotherHash(uint8 meter, uint64 count) external view {
        Receipt memory r = _receipt();
        bytes32 before = lib.hash(r);
        (meter, count) = (2 + meter % 13, 1 + count % ((1 << 40) - 1));
        bool same = r.units[1].meter == meter && r.units[1].count == count;
        r.units[1] = Unit(meter, count);
        vm.assertTrue((lib.hash(r) == before) == same, "hash");
    }

    function _receipt() private view returns (Receipt memory r) {
        (r.lane, r.gateway, r.consumer, r.price, r.charge) = (maker, provider, stranger, 100, 90);
        r.units = new Unit[](2);
        (r.units[0], r.units[1]) = (Unit(1, 1_000), Unit(4, 7));
    }

    function _refused(Receipt memory r, uint256 index) private {
        vm.expectRevert(abi.encodeWithSelector(Receipts.UnitsMalformed.selector, index));
        lib.hash(r);
    }

    function _must(bytes memory call_, bool pass, string memory what) private view {
        (bool ok,) = address(lib).staticcall(call_);
        vm.assertTrue(ok == pass, what);
    }
}
