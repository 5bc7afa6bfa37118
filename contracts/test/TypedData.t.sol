// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LibrariesHarness} from "./LibrariesHarness.sol";
import {World} from "./World.sol";

/// @dev EIP-712 digests are byte for byte `ledger.core.values.typed_data`'s: tests/vectors/typed_data.json.
contract TypedDataTest is World {
    function test_SharedVectorsHold() external {
        LibrariesHarness lib = libraries();
        string memory json = vm.readFile("../tests/vectors/typed_data.json");
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Tollway"),
                keccak256("2"),
                vm.parseJsonUint(json, ".chainId"),
                vm.parseJsonAddress(json, ".contract")
            )
        );
        vm.assertEq(separator, vm.parseJsonBytes32(json, ".separator"), "separator");
        bytes32 voucher = keccak256(
            abi.encode(
                keccak256("Voucher(address lane,address account,uint64 cumMax)"),
                vm.parseJsonUint(json, ".voucher.lane"),
                vm.parseJsonAddress(json, ".voucher.account"),
                vm.parseJsonUint(json, ".voucher.cumMax")
            )
        );
        vm.assertEq(_digest(separator, voucher), vm.parseJsonBytes32(json, ".voucher.digest"), "voucher");
        for (uint256 i; i < 4; ++i) {
            string memory one = string.concat(".receipts[", vm.toString(i), "]");
            bytes memory record = vm.parseJsonBytes(json, string.concat(one, ".record"));
            bytes32 hash = lib.hash(lib.receiptOf(record));
            vm.assertEq(hash, vm.parseJsonBytes32(json, string.concat(one, ".hash")), "receipt");
            vm.assertEq(_digest(separator, hash), vm.parseJsonBytes32(json, string.concat(one, ".digest")), "digest");
        }
    }

    function _digest(bytes32 separator, bytes32 hash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, hash));
    }
}
