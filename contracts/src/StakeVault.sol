// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Owed} from "./Owed.sol";
import {IStakeVault} from "./interfaces/IStakeVault.sol";

/// @title StakeVault
/// @notice See IStakeVault, the manual.
contract StakeVault is IStakeVault, Owed {
    /// @inheritdoc IStakeVault
    uint40 public immutable unbondDelay;
    /// @inheritdoc IStakeVault
    address public immutable slasher;
    /// @inheritdoc IStakeVault
    address public immutable sink;

    mapping(address party => Stake) private _stakes;

    constructor(IERC20 token_, address slasher_, address sink_, uint40 unbondDelay_) Owed(token_) {
        if (slasher_ == address(0) || sink_ == address(0)) revert ZeroAddress();
        (slasher, sink, unbondDelay) = (slasher_, sink_, unbondDelay_);
    }

    /// @inheritdoc IStakeVault
    function stake(uint64 amount) external {
        _stake(msg.sender, amount);
    }

    /// @inheritdoc IStakeVault
    function stakeFor(address party, uint64 amount) external {
        _stake(party, amount);
    }

    /// @inheritdoc IStakeVault
    function unbond(uint64 amount) external {
        if (amount == 0) revert ZeroAmount();
        Stake memory s = _stakes[msg.sender];
        if (amount > s.staked) revert StakeTooSmall(s.staked, amount);
        s.staked -= amount;
        s.unbonding += amount;
        s.releaseAt = uint40(block.timestamp) + unbondDelay; // fits for 34,000 years
        _set(msg.sender, s);
    }

    /// @inheritdoc IStakeVault
    function release(address party) external returns (uint64 amount) {
        Stake memory s = _stakes[party];
        amount = s.unbonding;
        if (amount == 0) revert NothingToRelease(party);
        if (block.timestamp < s.releaseAt) revert TooEarly(block.timestamp, s.releaseAt);
        (s.unbonding, s.releaseAt) = (0, 0);
        _set(party, s);
        _pay(party, amount);
    }

    /// @inheritdoc IStakeVault
    function slash(address party, address accuser) external returns (uint64 amount) {
        if (msg.sender != slasher) revert NotSlasher(msg.sender);
        amount = _stakes[party].staked + _stakes[party].unbonding; // `_stake` keeps the sum within 64 bits
        _set(party, Stake(0, 0, 0));
        uint64 reward = amount / 2;
        emit Slashed(party, amount, accuser, reward);
        _credit(accuser, reward);
        _credit(sink, amount - reward);
    }

    /// @inheritdoc IStakeVault
    function stakes(address party) external view returns (Stake memory) {
        return _stakes[party];
    }

    function _stake(address party, uint64 amount) private {
        if (amount == 0) revert ZeroAmount();
        Stake memory s = _stakes[party];
        uint256 whole = uint256(s.staked) + s.unbonding + amount;
        if (whole > type(uint64).max) revert StakeTooLarge(whole, type(uint64).max);
        s.staked += amount;
        _set(party, s);
        _take(amount);
    }

    function _set(address party, Stake memory s) private {
        _stakes[party] = s;
        emit StakeChanged(party, s.staked, s.unbonding, s.releaseAt);
    }
}
