// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Makes one of Settlement's judges
/// @notice Settlement and its judges name each other for good, and are too large to be created in one piece (EIP-3860). So
/// Settlement's constructor asks a maker for each; the caller becomes the judge's Settlement.
interface IMaker {
    function make(bytes calldata arguments) external returns (address judge);
}
