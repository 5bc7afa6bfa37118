// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IOwed} from "../src/interfaces/IOwed.sol";
import {IStakeVault} from "../src/interfaces/IStakeVault.sol";
import {FeeToken, HookToken, HostileToken, MockToken} from "./Tokens.sol";
import {World} from "./World.sol";

/// @dev Stakes, their release, their slashing.
contract StakeVaultTest is World {
    address private constant SLASHER = address(0x51A54E4);
    address private constant SINK = address(0x5111);

    MockToken private token;
    IStakeVault private vault;

    function setUp() external {
        vm.warp(1_800_000_000);
        _around(new MockToken());
    }

    function test_Stake_Unbond_Release() external {
        _stake(1_000);
        vm.startPrank(stranger);
        refuses(IStakeVault.StakeTooSmall.selector);
        vault.unbond(1_001);
        refuses(IStakeVault.ZeroAmount.selector);
        vault.unbond(0);
        refuses(IStakeVault.ZeroAmount.selector);
        vault.stake(0);
        vault.unbond(400);
        vm.warp(block.timestamp + 7 days - 1);
        refuses(IStakeVault.TooEarly.selector);
        vault.release(stranger);
        vm.warp(block.timestamp + 1);
        vm.stopPrank();
        vault.release(stranger); // by anybody
        refuses(IStakeVault.NothingToRelease.selector);
        vault.release(stranger);
        eq(token.balanceOf(stranger), 999_400, "out");
        eq(vault.stakes(stranger).staked, 600, "stays");
    }

    function test_WhatIsLeavingWaitsAgain_WhenMoreLeaves() external {
        _stake(1_000);
        vm.startPrank(stranger);
        vault.unbond(400);
        vm.warp(block.timestamp + 6 days);
        vault.unbond(100);
        vm.warp(block.timestamp + 6 days);
        refuses(IStakeVault.TooEarly.selector);
        vault.release(stranger);
        vm.warp(block.timestamp + 1 days);
        eq(vault.release(stranger), 500, "both");
        vm.stopPrank();
    }

    function test_StakeFor_IsThePartys() external {
        vm.prank(stranger);
        vault.stakeFor(provider, 300);
        eq(vault.stakes(provider).staked, 300, "theirs");
        vm.prank(stranger);
        refuses(IStakeVault.StakeTooSmall.selector);
        vault.unbond(1);
    }

    function test_OnlyTheSlasherSlashes_AlsoWhatIsLeaving() external {
        _stake(1_001);
        vm.prank(stranger);
        vault.unbond(400);
        refuses(IStakeVault.NotSlasher.selector);
        vault.slash(stranger, maker);
        eq(_slash(), 1_001, "all");
        eq(vault.owed(maker), 500, "half is the accuser's");
        eq(vault.owed(SINK), 501, "half is not");
        eq(token.balanceOf(address(vault)), 1_001, "nothing moves");
        vm.warp(block.timestamp + 8 days);
        refuses(IStakeVault.NothingToRelease.selector);
        vault.release(stranger);
        eq(_slash(), 0, "nothing left");
        _stake(10);
        eq(_slash(), 10, "again");
        eq(vault.owed(maker), 505, "added up");
        vault.collect(maker);
        vault.collect(SINK);
        eq(token.balanceOf(maker), 1_000_505, "collected");
        eq(token.balanceOf(SINK), 506, "collected");
        refuses(IOwed.NothingOwed.selector);
        vault.collect(maker);
    }

    function test_AnAccuserThatTheTokenRefusesStopsNobody() external {
        HostileToken barring = new HostileToken();
        _around(barring);
        _stake(1_000);
        barring.blacklist(maker, true);
        eq(_slash(), 1_000, "slashed");
        vm.expectRevert();
        vault.collect(maker);
        vault.collect(SINK);
        barring.blacklist(maker, false);
        vault.collect(maker); // it is still owed
        eq(token.balanceOf(maker), 1_000_500, "collected");
    }

    function test_SlashingOneselfCostsHalf() external {
        _stake(1_000);
        vm.prank(SLASHER);
        vault.slash(stranger, stranger);
        vault.collect(stranger);
        eq(token.balanceOf(stranger), 999_500, "half");
    }

    function test_RevertWhen_TheTokenTakesAFee() external {
        _around(new FeeToken());
        vm.prank(stranger);
        refuses(IOwed.TokenTakesFees.selector);
        vault.stake(1_000);
    }

    /// @dev A token that calls back while it is paid in: the inner stake would count for both.
    function test_RevertWhen_AStakeIsInsideAnother() external {
        HookToken hooked = new HookToken();
        _around(hooked);
        hooked.mint(address(hooked), 1_000);
        vm.prank(address(hooked));
        hooked.approve(address(vault), 1_000);
        hooked.onTransferTo(address(vault), address(vault), abi.encodeCall(vault.stake, (1_000)));
        vm.prank(stranger);
        refuses(IOwed.TokenTakesFees.selector);
        vault.stake(1_000);
    }

    /// @dev Else the sum of what stays and what leaves would overflow when it is slashed, and never be slashed.
    function test_RevertWhen_AStakeIsAbove64Bits() external {
        token.mint(stranger, type(uint128).max);
        _stake(type(uint64).max);
        vm.startPrank(stranger);
        vault.unbond(10);
        refuses(IStakeVault.StakeTooLarge.selector);
        vault.stake(1);
        vm.stopPrank();
        eq(_slash(), type(uint64).max, "all");
    }

    function test_RevertWhen_ItHasNoSlasher_OrNoSink() external {
        vm.expectRevert();
        create("StakeVault", abi.encode(token, address(0), SINK, uint40(7 days)));
        vm.expectRevert();
        create("StakeVault", abi.encode(token, SLASHER, address(0), uint40(7 days)));
    }

    // ------------------------------------------------------------------ helpers

    function _around(MockToken coin) private {
        token = coin;
        vault = IStakeVault(create("StakeVault", abi.encode(coin, SLASHER, SINK, uint40(7 days))));
        address[2] memory all = [maker, stranger];
        for (uint256 i; i < 2; ++i) {
            coin.mint(all[i], 1_000_000);
            vm.prank(all[i]);
            coin.approve(address(vault), type(uint256).max);
        }
    }

    function _stake(uint64 amount) private {
        vm.prank(stranger);
        vault.stake(amount);
    }

    function _slash() private returns (uint64) {
        vm.prank(SLASHER);
        return vault.slash(stranger, maker);
    }
}
