// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title StakeVault: what providers, weavers and operators put at risk
/// @notice Stake is in atoms of the settlement token. Leaving takes `unbondDelay`, which outlasts every dispute; what is
/// leaving can still be slashed. Only Settlement slashes, and only for a proof.
interface IStakeVault {
    /// @notice One slot per party.
    struct Stake {
        /// Stays.
        uint64 staked;
        /// Is leaving.
        uint64 unbonding;
        /// May leave from here on.
        uint40 releaseAt;
    }

    /// @notice `party` has `staked` at stake, and `unbonding` leaving, which may go at `releaseAt`.
    event StakeChanged(address indexed party, uint64 staked, uint64 unbonding, uint40 releaseAt);
    /// @notice All of `party`'s stake was slashed, `reward` of it paid to `accuser`; the rest stays here, nobody's.
    event Slashed(address indexed party, uint64 amount, address indexed accuser, uint64 reward);

    error ZeroAmount();
    error StakeTooSmall(uint64 staked, uint64 asked);
    error NothingToRelease(address party);
    error TooEarly(uint256 time, uint256 from);
    error NotSettlement(address caller);

    /// @notice Adds to the caller's stake, by allowance.
    function stake(uint64 amount) external;

    /// @notice Adds to somebody else's stake.
    function stakeFor(address party, uint64 amount) external;

    /// @notice Starts taking `amount` out. What was already leaving waits again.
    function unbond(uint64 amount) external;

    /// @notice Pays out what has left, to `party`. Anyone may call.
    function release(address party) external returns (uint64 amount);

    /// @notice Slashes everything `party` has here. Settlement only.
    function slash(address party, address accuser) external returns (uint64 amount);

    /// @notice A party's stake.
    function stakes(address party) external view returns (Stake memory);
    /// @notice Seconds between unbond and release.
    function unbondDelay() external view returns (uint40);
    /// @notice Slashed and not rewarded.
    function insurance() external view returns (uint64);
}
