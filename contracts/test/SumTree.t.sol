// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Headers, Tree} from "../src/Headers.sol";
import {SumTree} from "../src/SumTree.sol";
import {Sparse, Trees} from "./Trees.sol";
import {World} from "./World.sol";

/// @dev The libraries behind an external face, for calldata.
contract Face {
    function verify(bytes32 root, bytes32 node, uint256 index, bytes32[] calldata proof) external pure returns (bool) {
        return SumTree.verify(root, node, index, proof);
    }

    function rangeRoot(bytes32[] memory nodes, uint256 start, uint256 height, bytes32[] calldata proof)
        external
        pure
        returns (bytes32)
    {
        return SumTree.rangeRoot(nodes, start, height, proof);
    }

    function before(uint256 index, bytes32[] calldata proof) external pure returns (uint256) {
        return SumTree.before(index, proof);
    }

    function parent(bytes32 left, bytes32 right) external pure returns (bytes32) {
        return SumTree.parent(left, right);
    }

    function heightIn(Header calldata header, Tree tree) external pure returns (uint256) {
        return Headers.height(header, tree);
    }

    function rootIn(Header calldata header, Tree tree) external pure returns (bytes32) {
        return Headers.root(header, tree);
    }

    function roundsOf(Header calldata header) external pure returns (uint256) {
        return Headers.rounds(header);
    }

    function id(Header calldata header) external pure returns (bytes24) {
        return Headers.id(header);
    }
}

/// @dev Trees as the contracts read them, held equal to plain ones; and what a header says of them.
contract SumTreeTest is World {
    using Trees for Sparse;

    Face private face = new Face();
    address private constant LANE = address(0x1a9e);

    // ------------------------------------------------------------------ trees

    function testFuzz_ALeafStandsAtItsPlaceAndAtNoOther(uint64[6] memory amounts, uint32[6] memory places, uint8 height)
        external
        view
    {
        Sparse memory t = _tree(amounts, places, height);
        bytes32 root = t.root();
        for (uint256 i; i < t.places.length; ++i) {
            bytes32[] memory proof = t.prove(t.places[i]);
            vm.assertTrue(face.verify(root, t.words[i], t.places[i], proof), "at its place");
            vm.assertFalse(face.verify(root, t.words[i], t.places[i] ^ 1, proof), "not beside it");
            vm.assertFalse(face.verify(root, t.words[i], t.places[i] | (uint256(1) << t.height), proof), "nor beyond");
            vm.assertFalse(face.verify(root, 0, t.places[i], proof), "and it is not absent");
            uint256 before_;
            for (uint256 j; j < i; ++j) before_ += Trees.sumOf(t.words[j]);
            vm.assertEq(face.before(t.places[i], proof), before_, "what stands left of it");
        }
    }

    function testFuzz_AnAbsentLeafIsProvable(uint64[6] memory amounts, uint32[6] memory places, uint8 height, uint32 place)
        external
        view
    {
        Sparse memory t = _tree(amounts, places, height);
        place = uint32(place % (uint256(1) << t.height));
        bool occupied;
        for (uint256 i; i < t.places.length; ++i) if (t.places[i] == place) occupied = true;
        vm.assertTrue(face.verify(t.root(), 0, place, t.prove(place)) == !occupied, "the zero word");
    }

    function testFuzz_AnInnerNodeIsProvenByAShorterPathOnly(uint64[6] memory amounts, uint32[6] memory places, uint8 depth)
        external
        view
    {
        Sparse memory t = _tree(amounts, places, 12);
        depth %= 12;
        uint256 position = t.places[0] >> (12 - depth);
        bytes32[] memory proof = t.proveNode(depth, position);
        vm.assertEq(proof.length, depth, "as long as it is deep");
        vm.assertTrue(face.verify(t.root(), t.node(depth, position), position, proof), "the node");
    }

    function testFuzz_ARangeHasTheTreesRoot(uint64[6] memory amounts, uint32[6] memory places, uint8 height, uint32 start, uint8 count)
        external
        view
    {
        Sparse memory t = _tree(amounts, places, height);
        uint256 width = uint256(1) << t.height;
        uint256 from = start % width;
        uint256 many = 1 + count % (width - from < 40 ? width - from : 40);
        bytes32[] memory nodes = new bytes32[](many);
        for (uint256 i; i < t.places.length; ++i) {
            if (t.places[i] >= from && t.places[i] < from + many) nodes[t.places[i] - from] = t.words[i];
        }
        bytes32[] memory proof = t.proveRange(from, many);
        vm.assertEq(face.rangeRoot(nodes, from, t.height, proof), t.root(), "root");
        vm.assertEq(face.rangeRoot(nodes, from, t.height + 1, proof), 0, "not at another height");
        vm.assertEq(face.rangeRoot(new bytes32[](0), from, t.height, proof), 0, "nothing proves nothing");
        bytes32[] memory longer = new bytes32[](proof.length + 1);
        for (uint256 i; i < proof.length; ++i) longer[i] = proof[i];
        vm.assertEq(face.rangeRoot(nodes, from, t.height, longer), 0, "nor with a word too many");
        if (proof.length == 0) return;
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i; i < shorter.length; ++i) shorter[i] = proof[i];
        vm.assertEq(face.rangeRoot(nodes, from, t.height, shorter), 0, "nor with one too few");
    }

    function testFuzz_NoPathPassesSixtyFourBits(uint64 amount) external {
        vm.assume(amount != 0);
        bytes32 leaf = Trees.mark(keccak256("leaf"), amount);
        bytes32 sibling = Trees.mark(keccak256("sibling"), uint256(type(uint64).max) - amount + 1); // sums to 2^64
        bytes32 wrapped = Trees.mark(keccak256(abi.encodePacked(leaf, sibling)), 0);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = sibling;
        vm.assertFalse(face.verify(wrapped, leaf, 0, proof), "on a path");
        bytes32[] memory nodes = new bytes32[](2);
        (nodes[0], nodes[1]) = (leaf, sibling);
        vm.assertEq(face.rangeRoot(nodes, 0, 1, new bytes32[](0)), 0, "in a range");
        vm.expectRevert();
        face.parent(leaf, sibling);
    }

    // ------------------------------------------------------------------ leaves

    function testFuzz_LeavesAreWhatTheyAreSaidToBe(address lane, uint32 index, address who, uint64 amount, bytes32 hash, uint64 first)
        external
        pure
    {
        eq(SumTree.accountLeaf(SumTree.PAYOUT, lane, index, who, amount), Trees.payoutLeaf(lane, index, who, amount));
        eq(SumTree.accountLeaf(SumTree.DEBIT, lane, index, who, amount), Trees.debitLeaf(lane, index, who, amount));
        eq(SumTree.receiptLeaf(lane, hash, amount), Trees.receiptLeaf(lane, hash, amount));
        eq(SumTree.lineLeaf(lane, index, uint32(first), amount), Trees.lineLeaf(lane, index, uint32(first), amount));
        eq(SumTree.gatewayLeaf(lane, index, who, first, amount), Trees.gatewayLeaf(lane, index, who, first, amount));
        if (amount == 0) return;
        bool apart = Trees.payoutLeaf(lane, index, who, amount) != Trees.debitLeaf(lane, index, who, amount);
        vm.assertTrue(apart, "a leaf is of one kind");
    }

    // ------------------------------------------------------------------ headers

    function testFuzz_AHeaderSaysEachTreesHeightAndRoot(uint48 heights, bytes32[5] memory roots) external view {
        Header memory h;
        h.heights = heights;
        (h.receiptsRoot, h.payoutRoot, h.debitRoot, h.linesRoot, h.gatewaysRoot) =
            (roots[0], roots[1], roots[2], roots[3], roots[4]);
        uint256[5] memory expected = [
            uint256(uint8(heights)),
            uint8(heights >> 8),
            uint8(heights >> 16),
            uint256(uint8(heights >> 32)) + uint8(heights >> 40),
            uint8(heights >> 24)
        ];
        uint256 rounds;
        for (uint256 i; i < 5; ++i) {
            vm.assertEq(face.heightIn(h, Tree(i)), expected[i], "height");
            vm.assertEq(face.rootIn(h, Tree(i)), roots[i], "root");
            if ((expected[i] + 7) / 8 > rounds) rounds = (expected[i] + 7) / 8;
        }
        vm.assertEq(face.roundsOf(h), rounds, "rounds");
        vm.assertEq(bytes32(face.id(h)), bytes32(bytes24(keccak256(abi.encode(h)))), "its name");
    }

    // ------------------------------------------------------------------ inside

    /// @dev Up to six leaves, at ascending places of a tree of 1 to 31 levels.
    function _tree(uint64[6] memory amounts, uint32[6] memory places, uint8 height)
        private
        pure
        returns (Sparse memory t)
    {
        t.height = 1 + height % 31;
        uint256 next;
        uint256 count;
        (uint256[] memory at_, bytes32[] memory words) = (new uint256[](6), new bytes32[](6));
        for (uint256 i; i < 6; ++i) {
            next += places[i] % ((uint256(1) << t.height) / 6 + 1);
            if (next >> t.height != 0) break;
            uint64 amount = amounts[i] / 8 + 1;
            (at_[count], words[count++]) = (next, Trees.payoutLeaf(LANE, uint32(next), address(uint160(i + 1)), amount));
            ++next;
        }
        (t.places, t.words) = (new uint256[](count), new bytes32[](count));
        for (uint256 i; i < count; ++i) (t.places[i], t.words[i]) = (at_[i], words[i]);
    }

    function eq(bytes32 left, bytes32 right) private pure {
        vm.assertEq(left, right, "leaf");
    }
}
