// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Epochs} from "./Epochs.sol";
import {Organisations} from "./Organisations.sol";
import {Owed} from "./Owed.sol";

/// @title Registry
/// @notice See IRegistry, the manual. Its parts, in a line: Payees, Models, Sales, Organisations.
contract Registry is Organisations {
    constructor(IERC20 token_, uint64 nameStake_, uint32 epochSeconds_, uint32 freeze_)
        Epochs(epochSeconds_, freeze_)
        Owed(token_)
        Organisations(nameStake_)
    {}
}
