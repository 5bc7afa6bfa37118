// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask} from "../src/Meters.sol";
import {Vm} from "./Vm.sol";
import {LibrariesHarness} from "./LibrariesHarness.sol";

/// @dev What every test needs: the cheatcodes, contracts from their artifacts, assertions.
abstract contract World {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public IS_TEST = true;

    address internal maker = vm.addr(1);
    address internal provider = vm.addr(2);
    address internal stranger = vm.addr(3);

    /// @dev Creates a contract from its committed artifact.
    function create(string memory name, bytes memory arguments) internal returns (address made) {
        bytes memory code = bytes.concat(codeOf(name), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        require(made != address(0), name);
    }

    function codeOf(string memory name) internal view returns (bytes memory) {
        return vm.parseJsonBytes(vm.readFile(string.concat("artifacts/", name, ".json")), ".bytecode");
    }

    function libraries() internal returns (LibrariesHarness) {
        return LibrariesHarness(create("test/LibrariesHarness", ""));
    }

    function noAsks() internal pure returns (Ask[] memory) {}

    /// @dev An ask for calls.
    function asksOf(uint64 price) internal pure returns (Ask[] memory) {
        return asksOf(0, price);
    }

    function asksOf(uint8 meter, uint64 price) internal pure returns (Ask[] memory asks) {
        asks = new Ask[](1);
        asks[0] = Ask(meter, price);
    }

    function asksOf(uint8 meter, uint64 price, uint8 other, uint64 otherPrice)
        internal
        pure
        returns (Ask[] memory asks)
    {
        asks = new Ask[](2);
        (asks[0], asks[1]) = (Ask(meter, price), Ask(other, otherPrice));
    }

    function eq(uint256 left, uint256 right, string memory what) internal pure {
        vm.assertEq(left, right, what);
    }

    function refuses(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }
}

/// @dev A contract account that signs with a key (ERC-1271).
contract Wallet {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function call(address target, bytes calldata call_) external {
        (bool ok,) = target.call(call_);
        require(ok);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        return ecrecover(digest, uint8(signature[64]), r, s) == _owner ? bytes4(0x1626ba7e) : bytes4(0);
    }
}
