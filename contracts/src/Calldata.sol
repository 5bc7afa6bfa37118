// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The word of calldata that begins at a byte. Zeros follow the end of calldata: the caller checks lengths. Alone
/// because packed bytes of two kinds, terms and records, are read by it: a field is one word, shifted, and byte by byte
/// the same reading costs ten times as much.
function load(uint256 offset) pure returns (uint256 word) {
    assembly {
        word := calldataload(offset)
    }
}
