// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStakeVault} from "../src/interfaces/IStakeVault.sol";
import {Base} from "./Base.sol";

/// @dev Stakes, their release, their slashing.
contract StakeVaultTest is Base {
    function test_Vault_StakeUnbondRelease() external {
        _stake(1_000);
        vm.startPrank(stranger);
        refuses(IStakeVault.StakeTooSmall.selector);
        vault.unbond(1_001);
        refuses(IStakeVault.ZeroAmount.selector);
        vault.unbond(0);
        vault.unbond(400);
        refuses(IStakeVault.TooEarly.selector);
        vault.release(stranger);
        vm.warp(block.timestamp + 7 days);
        vault.release(stranger);
        refuses(IStakeVault.NothingToRelease.selector);
        vault.release(stranger);
        vm.stopPrank();
        eq(token.balanceOf(stranger), 400, "out");
        eq(vault.stakes(stranger).staked, 600, "stays");
    }

    function test_Vault_OnlySettlementSlashes_AlsoWhatIsLeaving() external {
        _stake(1_000);
        vm.prank(stranger);
        vault.unbond(400);
        refuses(IStakeVault.NotSettlement.selector);
        vault.slash(stranger, challenger);
        vm.prank(address(settlement));
        eq(vault.slash(stranger, challenger), 1_000, "all");
        eq(token.balanceOf(challenger), 500, "half");
        eq(vault.insurance(), 500, "half");
        vm.warp(block.timestamp + 8 days);
        refuses(IStakeVault.NothingToRelease.selector);
        vault.release(stranger);
    }


    // ------------------------------------------------------------------ helpers

    function _stake(uint64 amount) private {
        token.transfer(stranger, amount);
        vm.startPrank(stranger);
        token.approve(address(vault), amount);
        vault.stake(amount);
        vm.stopPrank();
    }
}
