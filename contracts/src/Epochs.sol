// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "./interfaces/IEpochs.sol";

/// @title Epochs
/// @notice See IEpochs, the manual.
abstract contract Epochs is IEpochs {
    /// @inheritdoc IEpochs
    uint32 public immutable epochSeconds;
    /// @inheritdoc IEpochs
    uint32 public immutable freeze;

    constructor(uint32 epochSeconds_, uint32 freeze_) {
        if (epochSeconds_ <= freeze_) revert TimesWrong(epochSeconds_, freeze_);
        (epochSeconds, freeze) = (epochSeconds_, freeze_);
    }

    /// @inheritdoc IEpochs
    function epochOf(uint256 time) public view returns (uint32) {
        return uint32(time / epochSeconds); // of a time before 2106 it fits even with epochs of a second
    }

    /// @inheritdoc IEpochs
    function frozenEpoch() public view returns (uint32) {
        return epochOf(block.timestamp + freeze);
    }
}
