// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Makes one of Settlement's judges
/// @notice Settlement and its judges name each other for good, and are too large for one transaction (EIP-7825). So a maker
/// makes a judge for the address at which Settlement will be, and Settlement's constructor looks it up. Which judge that
/// is, the maker's address fixes: it was made for one creation code. So anybody may ask for it.
interface IMaker {
    error CodeWrong(bytes32 given, bytes32 expected);

    /// @notice Makes the judge of a Settlement, unless it is there.
    /// @param code The judge's creation code. @param arguments What it takes besides its Settlement, ABI-encoded.
    function make(address settlement, bytes calldata code, bytes calldata arguments) external returns (address judge);

    /// @notice The judge made for a Settlement with these arguments; zero if there is none.
    function judgeOf(address settlement, bytes calldata arguments) external view returns (address);

    /// @notice keccak256 of the creation code of all it makes.
    function codeHash() external view returns (bytes32);
}
