// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumTree} from "../../src/SumTree.sol";
import {Trees} from "../Trees.sol";

/// @dev Read by halmos (`make symbolic`): each `check_` holds for every input, not for those a fuzzer thought of.
///
/// `SumTree.verify` is a loop over (node, total, index); `total` is the node's own sum until it passes 64 bits, and then
/// nothing is proven any more. So a proof of n + 1 siblings is one step and a proof of n, which is shown here as it is
/// compiled: where no sibling is left, and for a first step of any node, sibling and side, with up to three more to come.
/// By induction a proof of any length is a chain of parents, each the hash of its children and the sum of their sums.
contract SymbolicTrees {
    uint256 private constant LEVELS = 3;

    function verify(bytes32 root, bytes32 node, uint256 index, bytes32[] calldata proof) external pure returns (bool) {
        return SumTree.verify(root, node, index, proof);
    }

    /// @dev Without siblings a tree is its root, at index 0.
    function check_ANodeWithoutSiblingsIsTheRoot(bytes32 root, bytes32 node, uint256 index) external view {
        assert(this.verify(root, node, index, new bytes32[](0)) == (node == root && index == 0));
    }

    /// @dev One level: what stands with a sibling is what its parent, in plain Solidity, stands with without it; nothing,
    /// if the two pass 64 bits. `above` is all of the index that later levels read.
    function check_AProofIsOneStepAndTheRestOfIt(
        bytes32 root,
        bytes32 node,
        uint256 above,
        bytes32[LEVELS + 1] calldata siblings
    ) external view {
        if (above >> 248 != 0) return; // room for the levels below
        for (uint256 rest; rest <= LEVELS; ++rest) {
            bytes32[] memory later = new bytes32[](rest);
            for (uint256 i; i < rest; ++i) later[i] = siblings[i + 1];
            bytes32[] memory proof = new bytes32[](rest + 1);
            for (uint256 i; i <= rest; ++i) proof[i] = siblings[i];
            for (uint256 side; side < 2; ++side) {
                for (uint256 path; path < 1 << rest; ++path) {
                    uint256 next = (above << rest) | path;
                    bool proven = this.verify(root, node, (next << 1) | side, proof);
                    (bytes32 left, bytes32 right) = side == 0 ? (node, siblings[0]) : (siblings[0], node);
                    uint256 total = Trees.sumOf(left) + Trees.sumOf(right);
                    if (total >> 64 != 0) assert(!proven);
                    else assert(proven == this.verify(root, Trees.parent(left, right), next, later));
                }
            }
        }
    }

    /// @dev What is proven is one addend of the total, whatever the words, in trees of three levels.
    function check_AProvenLeafIsAtMostTheTotal(bytes32 root, bytes32 node, bytes32[3] calldata siblings) external view {
        bytes32[] memory proof = new bytes32[](3);
        uint256 total = SumTree.sum(node);
        for (uint256 i; i < 3; ++i) {
            proof[i] = siblings[i];
            total += SumTree.sum(siblings[i]);
        }
        for (uint256 index; index < 8; ++index) {
            if (this.verify(root, node, index, proof)) assert(total == SumTree.sum(root));
        }
    }
}
