// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IStakeVault} from "./interfaces/IStakeVault.sol";

/// @title StakeVault
/// @notice See IStakeVault, the manual. Made by Settlement, whose proofs alone slash.
contract StakeVault is IStakeVault {
    using SafeERC20 for IERC20;

    IERC20 private immutable _token;
    address private immutable _settlement;
    /// @inheritdoc IStakeVault
    uint40 public immutable unbondDelay;
    /// @inheritdoc IStakeVault
    uint64 public insurance;

    mapping(address party => Stake) private _stakes;

    constructor(IERC20 token, address, uint40 unbondDelay_) {
        _token = token;
        _settlement = msg.sender;
        unbondDelay = unbondDelay_;
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
        _token.safeTransfer(party, amount);
    }

    /// @inheritdoc IStakeVault
    function slash(address party, address accuser) external returns (uint64 amount) {
        if (msg.sender != _settlement) revert NotSettlement(msg.sender);
        amount = _stakes[party].staked + _stakes[party].unbonding;
        if (amount == 0) return 0;
        _set(party, Stake(0, 0, 0));
        uint64 reward = amount / 2;
        insurance += amount - reward;
        emit Slashed(party, amount, accuser, reward);
        if (reward != 0) _token.safeTransfer(accuser, reward);
    }

    /// @inheritdoc IStakeVault
    function stakes(address party) external view returns (Stake memory) {
        return _stakes[party];
    }

    function _stake(address party, uint64 amount) private {
        if (amount == 0) revert ZeroAmount();
        Stake memory s = _stakes[party];
        s.staked += amount;
        _set(party, s);
        _token.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _set(address party, Stake memory s) private {
        _stakes[party] = s;
        emit StakeChanged(party, s.staked, s.unbonding, s.releaseAt);
    }
}
