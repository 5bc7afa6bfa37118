// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {AskingHandler} from "./AskingHandler.sol";
import {CourtHandler} from "./CourtHandler.sol";
import {Files} from "./Files.sol";
import {Handler} from "./Handler.sol";

contract LanesInvariants is Base {
    Handler internal handler;
    address[] private lanes;

    function setUp() public override {
        address coin;
        handler = makeHandler();
        (settlement, coin, lanes) = handler.world();
        token = IERC20(coin);
    }

    function makeHandler() internal virtual returns (Handler) {
        return new Handler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() external view virtual returns (FuzzSelector[] memory) {
        return targeted(new bytes4[](32));
    }

    function targeted(bytes4[] memory selectors) internal view returns (FuzzSelector[] memory targets) {
        selectors[0] = Handler.deposits.selector;
        selectors[1] = Handler.pays.selector;
        selectors[2] = Handler.requests.selector;
        selectors[3] = Handler.withdraws.selector;
        selectors[4] = Handler.escapes.selector;
        selectors[5] = Handler.calls.selector;
        selectors[6] = Handler.posts.selector;
        selectors[7] = Handler.reposts.selector;
        selectors[8] = Handler.pauses.selector;
        selectors[9] = Handler.unbonds.selector;
        selectors[10] = Handler.waits.selector;
        selectors[11] = Handler.finalizes.selector;
        selectors[12] = Handler.claims.selector;
        selectors[13] = Handler.catches.selector;
        selectors[14] = Handler.asks.selector;
        selectors[15] = Handler.answers.selector;
        selectors[16] = Handler.punishes.selector;
        selectors[17] = Handler.collects.selector;
        // what lives are made of comes more often
        selectors[18] = Handler.posts.selector;
        selectors[19] = Handler.posts.selector;
        selectors[20] = Handler.waits.selector;
        selectors[21] = Handler.finalizes.selector;
        selectors[22] = Handler.finalizes.selector;
        selectors[23] = Handler.calls.selector;
        selectors[24] = Handler.settles.selector;
        selectors[25] = Handler.settles.selector;
        selectors[26] = Handler.settles.selector;
        selectors[27] = Handler.claims.selector;
        selectors[28] = Handler.forges.selector;
        selectors[29] = Handler.races.selector;
        selectors[30] = Handler.vanishes.selector;
        selectors[31] = Handler.relapses.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @dev C1: what is final is earned as it was debited. C2, C3: paid <= final <= net. C5: where nobody looked away, the
    /// accounts can all leave, with all that is not final, to the atom. C7: vaults hold net - paid, and Settlement what it
    /// owes and the bonds. What C4, C6 and C9 to C12 forbid, the handler tries.
    /// forge-config: default.invariant.depth = 200
    function invariant_EveryLaneOwesWhatItHolds() public view virtual {
        uint256 bonds;
        for (uint256 l; l < lanes.length; ++l) {
            ISettlement.Books memory b = settlement.books(lanes[l]);
            (uint64 earned_, uint64 debited_,) = handler.finalSums(l);
            vm.assertTrue(earned_ == debited_ && earned_ == b.settled, "C1: totals");
            vm.assertLe(b.settled, b.net, "C2: final <= net");
            vm.assertLe(b.paid, b.settled, "C3: paid <= final");
            vm.assertEq(token.balanceOf(lanes[l]), uint256(b.net) - b.paid, "C7: a vault holds net - paid");
            bonds += b.bond;
            if (handler.soiled(l)) continue;
            (uint256 total, bool overdrawn) = handler.claimsOn(l);
            vm.assertFalse(overdrawn, "C5: nobody is debited more than it has");
            vm.assertEq(total, uint256(b.net) - b.settled, "C5: all can leave");
        }
        vm.assertEq(token.balanceOf(address(settlement)), bonds + handler.knownOwed(), "C7: bonds and what is owed");
        vm.assertEq(bytes(handler.broken()).length, 0, handler.broken());
    }
}

/// @dev The same before the real judges, with the questions they need: C8 is PriceJudge's, and the fees are there.
contract LanesBeforeTheJudgesInvariants is LanesInvariants {
    CourtHandler private court;

    function makeHandler() internal override returns (Handler) {
        return court = new CourtHandler();
    }

    function targetSelectors() external view override returns (FuzzSelector[] memory) {
        bytes4[] memory selectors = new bytes4[](40);
        selectors[32] = selectors[33] = CourtHandler.accuses.selector;
        selectors[34] = CourtHandler.leaks.selector;
        selectors[35] = Files.rotates.selector;
        selectors[36] = AskingHandler.rekeys.selector;
        selectors[37] = AskingHandler.closes.selector;
        selectors[38] = AskingHandler.collectsWei.selector;
        selectors[39] = Handler.asks.selector;
        return targeted(selectors);
    }

    /// @dev The same laws.
    /// forge-config: default.invariant.depth = 200
    function invariant_EveryLaneOwesWhatItHolds() public view override {
        super.invariant_EveryLaneOwesWhatItHolds();
        vm.assertTrue(court.feesAreThere(), "fees are there");
    }
}
