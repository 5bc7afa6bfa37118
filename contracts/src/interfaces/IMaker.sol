// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Makes one of Settlement's judges
/// @notice Settlement and its judges name each other for good, and are too large for one transaction (EIP-7825). So a maker
/// makes a judge for the address at which Settlement will be, and Settlement's constructor looks it up. Which judge a
/// maker makes is fixed by its code, so anybody may ask for it.
interface IMaker {
    /// @notice Makes the judge of a Settlement, unless it is there.
    function make(address settlement, bytes calldata arguments) external returns (address judge);

    /// @notice The judge made for a Settlement with these arguments; zero if there is none.
    function judgeOf(address settlement, bytes calldata arguments) external view returns (address);
}
