// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IOwed} from "./IOwed.sol";

/// @title StakeVault: what providers, weavers and operators put at risk
/// @notice Stake is in atoms of the settlement token; a token that takes a fee is refused. Leaving takes `unbondDelay`,
/// which outlasts every window; what is leaving can still be slashed. Only `slasher` slashes, and only for a proof: half
/// is owed to the accuser, half to `sink` (IOwed), so that accusing oneself costs half.
interface IStakeVault is IOwed {
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
    /// @notice All of `party`'s stake was slashed; `reward` of it is owed to `accuser`, the rest to the sink.
    event Slashed(address indexed party, uint64 amount, address indexed accuser, uint64 reward);

    error ZeroAmount();
    error ZeroAddress();
    error StakeTooLarge(uint256 stake, uint256 max);
    error StakeTooSmall(uint64 staked, uint64 asked);
    error NothingToRelease(address party);
    error TooEarly(uint256 time, uint256 from);
    error NotSlasher(address caller);

    /// @notice Adds to the caller's stake, by allowance.
    function stake(uint64 amount) external;

    /// @notice Adds to somebody else's stake.
    function stakeFor(address party, uint64 amount) external;

    /// @notice Starts taking `amount` out. What was already leaving waits again.
    function unbond(uint64 amount) external;

    /// @notice Pays out what has left, to `party`. Anyone may call.
    function release(address party) external returns (uint64 amount);

    /// @notice Slashes everything `party` has here, leaving or not. It moves no token and never fails. Slasher only.
    function slash(address party, address accuser) external returns (uint64 amount);

    /// @notice A party's stake.
    function stakes(address party) external view returns (Stake memory);
    /// @notice Seconds between unbond and release.
    function unbondDelay() external view returns (uint40);
    /// @notice The contract whose proofs slash.
    function slasher() external view returns (address);
    /// @notice Owed the half of a slash that the accuser does not get: an address nobody holds, or a treasury. It must not
    /// be an operator, which could get its own stake back; deployment checks that.
    function sink() external view returns (address);
}
