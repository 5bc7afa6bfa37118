// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMaker} from "./interfaces/IMaker.sol";

/// @title Maker
/// @notice See IMaker, the manual.
contract Maker is IMaker {
    /// @inheritdoc IMaker
    bytes32 public immutable codeHash;

    mapping(bytes32 request => address) private _judges;

    constructor(bytes32 codeHash_) {
        codeHash = codeHash_;
    }

    /// @inheritdoc IMaker
    function make(address settlement, bytes calldata code, bytes calldata arguments) external returns (address judge) {
        bytes32 request = keccak256(abi.encode(settlement, arguments));
        judge = _judges[request];
        if (judge != address(0)) return judge;
        if (keccak256(code) != codeHash) revert CodeWrong(keccak256(code), codeHash);
        bytes memory whole = bytes.concat(code, abi.encode(settlement), arguments);
        assembly ("memory-safe") {
            judge := create(0, add(whole, 0x20), mload(whole))
            if iszero(judge) {
                returndatacopy(whole, 0, returndatasize())
                revert(whole, returndatasize())
            }
        }
        _judges[request] = judge;
    }

    /// @inheritdoc IMaker
    function judgeOf(address settlement, bytes calldata arguments) external view returns (address) {
        return _judges[keccak256(abi.encode(settlement, arguments))];
    }
}
