// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Trees} from "../Trees.sol";
import {Handler} from "./Handler.sol";

contract LanesInvariants is Base {
    Handler private handler;

    function setUp() public override {
        handler = new Handler();
        (settlement, token, lane) = handler.world();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](17);
        selectors[0] = Handler.deposits.selector;
        selectors[1] = Handler.requests.selector;
        selectors[2] = Handler.withdraws.selector;
        selectors[3] = Handler.escapes.selector;
        selectors[4] = Handler.calls.selector;
        selectors[5] = Handler.posts.selector;
        selectors[6] = Handler.overreaches.selector;
        selectors[7] = Handler.pauses.selector;
        selectors[8] = Handler.bondsAgain.selector;
        selectors[9] = Handler.finalizes.selector;
        selectors[10] = Handler.waits.selector;
        selectors[11] = Handler.claims.selector;
        selectors[12] = Handler.catches.selector;
        selectors[13] = Handler.accuses.selector;
        selectors[14] = Handler.challenges.selector;
        selectors[15] = Handler.calls.selector;
        selectors[16] = Handler.posts.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @dev C1: the final payouts are the final debits. C2: what is final never exceeds deposits less withdrawals, and the
    /// other lane is untouched. C3: what payees hold is what was claimed, and no more than is final. C5: no account takes
    /// out more than it put in. C7: the tokens held cover every lane's (net - claimed), bonds and insurance, to the atom.
    /// C8: what is finally earned is the sum of the lines of all final calls. What C3 to C8 forbid, the handler tries.
    function invariant_C1_to_C8() external view {
        ISettlement.Lane memory l = settlement.lanes(lane);
        ISettlement.Lane memory other = settlement.lanes(2);
        (bytes32 payouts, bytes32 debits) = settlement.finalRoots(lane);
        vm.assertEq(Trees.sumOf(payouts), Trees.sumOf(debits), "C1: payouts are debits");
        vm.assertEq(Trees.sumOf(payouts), handler.finalizedTotal(), "C4: final in order");
        vm.assertLe(Trees.sumOf(payouts), l.net, "C2: solvent by itself");
        vm.assertEq(other.net, DEPOSIT, "C2: the other lane is untouched");
        uint256 taken;
        for (uint32 i = 1; i <= PAYEES; ++i) {
            taken += settlement.claimed(lane, i);
            vm.assertEq(token.balanceOf(payee(i)), settlement.claimed(lane, i), "C3: paid is claimed");
        }
        vm.assertLe(taken, Trees.sumOf(payouts), "C3: claims are final");
        uint256 owed = l.net - taken + l.bond + l.insurance + other.net + other.bond;
        vm.assertEq(token.balanceOf(address(settlement)), owed, "C7: the tokens cover all");
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            ISettlement.Account memory a = settlement.accounts(lane, consumer(i));
            vm.assertLe(a.withdrawn, a.deposited, "C5: nobody takes out more than it put in");
        }
        vm.assertTrue(handler.linesAreEarned(), "C8: what is earned is the sum of lines");
        string memory broken = handler.broken();
        vm.assertTrue(bytes(broken).length == 0, broken);
    }
}
