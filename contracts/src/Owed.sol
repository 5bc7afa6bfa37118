// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IOwed} from "./interfaces/IOwed.sol";

/// @title Owed
/// @notice See IOwed, the manual. The contract's one door for the token: in by `_take`, out by `collect` and `_pay`.
abstract contract Owed is IOwed {
    using SafeERC20 for IERC20;

    IERC20 public immutable token;

    /// @inheritdoc IOwed
    mapping(address party => uint256) public owed;

    constructor(IERC20 token_) {
        token = token_;
    }

    /// @inheritdoc IOwed
    function collect(address party) external returns (uint256 amount) {
        amount = owed[party];
        if (amount == 0) revert NothingOwed(party);
        owed[party] = 0;
        emit Collected(party, amount);
        _pay(party, amount);
    }

    function _credit(address party, uint256 amount) internal {
        if (amount == 0) return;
        owed[party] += amount;
        emit Credited(party, amount);
    }

    /// @dev Takes exactly `amount` from the caller, by its allowance.
    function _take(uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert TokenTakesFees(amount, received);
    }

    function _pay(address party, uint256 amount) internal {
        token.safeTransfer(party, amount);
    }
}
