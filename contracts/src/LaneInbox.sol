// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title One lane's inbox
/// @notice Its only act is its birth: it lets the contract that made it, Inboxes, take what is or will be here.
contract LaneInbox {
    constructor(IERC20 token) {
        SafeERC20.forceApprove(token, msg.sender, type(uint256).max);
    }
}
