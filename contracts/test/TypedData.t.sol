// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Receipts} from "../src/Receipts.sol";
import {Vm} from "./Vm.sol";

/// @dev EIP-712 digests are byte for byte `ledger.core.values.typed_data`'s: tests/vectors/typed_data.json.
contract TypedDataTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public IS_TEST = true;

    function test_SharedVectorsHold() external view {
        string memory json = vm.readFile("../tests/vectors/typed_data.json");
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Tollway"),
                keccak256("1"),
                vm.parseJsonUint(json, ".chainId"),
                vm.parseJsonAddress(json, ".contract")
            )
        );
        vm.assertEq(separator, vm.parseJsonBytes32(json, ".separator"), "separator");
        bytes32 voucher = keccak256(
            abi.encode(
                keccak256("Voucher(uint32 lane,address account,uint64 cumMax)"),
                vm.parseJsonUint(json, ".voucher.lane"),
                vm.parseJsonAddress(json, ".voucher.account"),
                vm.parseJsonUint(json, ".voucher.cumMax")
            )
        );
        vm.assertEq(_digest(separator, voucher), vm.parseJsonBytes32(json, ".voucher.digest"), "voucher");
        for (uint256 i; i < 4; ++i) {
            string memory one = string.concat(".receipts[", vm.toString(i), "]");
            bytes memory words = vm.parseJsonBytes(json, string.concat(one, ".words"));
            bytes32 hash = Receipts.hash(abi.decode(words, (Receipts.Receipt)));
            vm.assertEq(hash, vm.parseJsonBytes32(json, string.concat(one, ".hash")), "receipt");
            vm.assertEq(_digest(separator, hash), vm.parseJsonBytes32(json, string.concat(one, ".digest")), "digest");
        }
    }

    function _digest(bytes32 separator, bytes32 hash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, hash));
    }
}
