// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Epochs: what is booked when
/// @notice Epoch e is [e * epochSeconds, (e + 1) * epochSeconds). Its books (bids, owners, terms) close `freeze` seconds
/// before it begins: from then on nothing placed counts for it. So nobody changes a price between the last look of a
/// gateway and the first call of an epoch.
interface IEpochs {
    error TimesWrong(uint32 epochSeconds, uint32 freeze);
    /// @notice An epoch whose books are still open: what it will hold cannot be proven yet.
    error EpochOpen(uint64 epoch, uint32 frozen);

    /// @notice Seconds of an epoch, more than `freeze`.
    function epochSeconds() external view returns (uint32);
    /// @notice Seconds before an epoch at which its books close.
    function freeze() external view returns (uint32);
    /// @notice The epoch of a time, in seconds.
    function epochOf(uint256 time) external view returns (uint32);
    /// @notice The last epoch whose books are closed. The next one is the first that a change can enter.
    function frozenEpoch() external view returns (uint32);
}
