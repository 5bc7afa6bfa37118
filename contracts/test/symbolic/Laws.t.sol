// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumTree} from "../../src/SumTree.sol";
import {Trees} from "../Trees.sol";

/// @dev Read by halmos (`make symbolic`): each `check_` holds for every input, not for those a fuzzer thought of. The
/// claim and exit arithmetic is Settlement's, line for line, on one account; its storage packing is what is checked.
contract SymbolicLaws {
    function verify(bytes32 root, bytes32 node, uint256 index, bytes32[] calldata proof) external pure returns (bool) {
        return SumTree.verify(root, node, index, proof);
    }

    /// @dev The assembly of `verify` is its plain twin, and an index the tree does not have proves nothing: every word, in
    /// trees of two levels. Indices are tried one by one, because the assembly addresses memory with them.
    function check_VerifyIsItsPlainTwin(bytes32 root, bytes32 node, bytes32 a, bytes32 b) external view {
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = (a, b);
        for (uint256 index; index < 8; ++index) {
            bool proven = this.verify(root, node, index, proof);
            assert(proven == Trees.verify(root, node, index, proof));
            if (index > 3) assert(!proven);
        }
    }

    /// @dev What is proven is one addend of the total, whatever the words.
    function check_AProvenLeafIsAtMostTheTotal(bytes32 root, bytes32 node, bytes32 a, bytes32 b) external view {
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = (a, b);
        for (uint256 index; index < 4; ++index) {
            if (!this.verify(root, node, index, proof)) continue;
            assert(uint256(SumTree.sum(node)) + SumTree.sum(a) + SumTree.sum(b) == SumTree.sum(root));
        }
    }

    /// @dev C3. Claiming moves one quarter of the word to the larger amount, pays the difference, and touches no neighbour.
    function check_AClaimPaysTheDifferenceAndNothingElse(uint256 word, uint32 index, uint64 cumulative) external pure {
        (uint256 next, uint64 due) = _taken(word, index, cumulative);
        for (uint32 i; i < 4; ++i) {
            uint64 before = uint64(word >> (i << 6));
            uint64 afterwards = uint64(next >> (i << 6));
            if (i != index & 3) assert(afterwards == before);
            else assert(afterwards == (cumulative > before ? cumulative : before) && due == afterwards - before);
        }
    }

    /// @dev C3. The same claim again pays nothing; an older one neither.
    function check_ClaimedOnlyGrows(uint256 word, uint32 index, uint64 cumulative, uint64 older) external pure {
        (uint256 once,) = _taken(word, index, cumulative);
        (uint256 twice, uint64 due) = _taken(once, index, cumulative);
        assert(twice == once && due == 0);
        if (older <= cumulative) {
            (uint256 third, uint64 more) = _taken(once, index, older);
            assert(third == once && more == 0);
        }
    }

    /// @dev C5 and C2. Who leaves never takes more than it put in, nor what is finally debited, nor what others are paid.
    function check_AnExitLeavesWhatIsFinal(uint64 deposited, uint64 withdrawn, uint64 debit, uint64 net, uint64 total)
        external
        pure
    {
        if (withdrawn > deposited) return;
        (bool ok, uint64 amount) = _leaves(deposited, withdrawn, debit, net, total);
        if (!ok) return;
        assert(uint256(withdrawn) + amount <= deposited);
        assert(net - amount >= total);
        if (amount != 0) assert(uint256(withdrawn) + amount + debit == deposited);
    }

    /// @dev As Settlement's `_taken`.
    function _taken(uint256 word, uint32 index, uint64 cumulative) private pure returns (uint256, uint64) {
        uint256 shift = (index & 3) << 6;
        uint64 before = uint64(word >> shift);
        if (cumulative <= before) return (word, 0);
        return (word ^ (uint256(cumulative ^ before) << shift), cumulative - before);
    }

    /// @dev As Settlement's `_leave`.
    function _leaves(uint64 deposited, uint64 withdrawn, uint64 debit, uint64 net, uint64 total)
        private
        pure
        returns (bool, uint64 amount)
    {
        uint64 left = deposited - withdrawn;
        amount = left > debit ? left - debit : 0;
        if (amount > net || net - amount < total) return (false, 0);
        return (true, amount);
    }
}
