// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../../src/v2/Headers.sol";
import {ISettlement} from "../../../src/v2/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev Batches: what a commit compares.
contract BatchesTest is Base {
    using Trees for Sparse;

    function test_ABatchIsPostedFinalAndPaid() external {
        spend(1, 1, 100);
        settle();
        settlement.claim(lane, 1, payee(1), 100, payouts().prove(1));
        eq(token.balanceOf(payee(1)), 100, "paid");
    }
}
