// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";
import {LibrariesHarness} from "./LibrariesHarness.sol";

/// @dev What every test of protocol 2 needs: the cheatcodes, contracts from their artifacts, assertions.
abstract contract World {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public IS_TEST = true;

    address internal maker = vm.addr(1);
    address internal provider = vm.addr(2);
    address internal stranger = vm.addr(3);

    /// @dev Creates a contract from its committed artifact.
    function create(string memory name, bytes memory arguments) internal returns (address made) {
        string memory json = vm.readFile(string.concat("artifacts/", name, ".json"));
        bytes memory code = bytes.concat(vm.parseJsonBytes(json, ".bytecode"), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        require(made != address(0), name);
    }

    function libraries() internal returns (LibrariesHarness) {
        return LibrariesHarness(create("test/LibrariesHarness", ""));
    }

    function eq(uint256 left, uint256 right, string memory what) internal pure {
        vm.assertEq(left, right, what);
    }

    function refuses(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }
}
