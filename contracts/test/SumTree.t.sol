// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumTree} from "../src/SumTree.sol";
import {Trees} from "./Trees.sol";
import {Vm} from "./Vm.sol";

/// @dev The library behind an external face, for calldata proofs.
contract SumTreeFace {
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
}

contract SumTreeTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public IS_TEST = true;
    SumTreeFace private face = new SumTreeFace();

    function testFuzz_VerifyAgreesWithItsPlainTwin(bytes32 root, bytes32 node, uint256 index, bytes32[] memory proof)
        external
        view
    {
        bool plain = Trees.verify(root, node, index, proof);
        vm.assertTrue(face.verify(root, node, index, proof) == plain, "any");
        index %= uint256(1) << (proof.length > 20 ? 20 : proof.length);
        bytes32 climbed = _climb(node, index, proof);
        plain = Trees.verify(climbed, node, index, proof);
        vm.assertTrue(face.verify(climbed, node, index, proof) == plain, "a root that fits");
    }

    function testFuzz_VerifyHoldsAtTheLeafsIndexAndAtNoOther(uint64[8] memory amounts, uint8 index, uint8 other)
        external
        view
    {
        bytes32[] memory leaves = _leaves(amounts);
        (index, other) = (index % 8, other % 8);
        bytes32[] memory proof = Trees.prove(leaves, index);
        bytes32 root = Trees.root(leaves);
        vm.assertTrue(face.verify(root, leaves[index], index, proof), "at its index");
        if (other != index) vm.assertFalse(face.verify(root, leaves[index], other, proof), "at another");
        vm.assertFalse(face.verify(root, leaves[index], uint256(index) + 8, proof), "beyond the width");
    }

    function test_RevertWhen_ThePathsTotalPasses64Bits() external view {
        bytes32 leaf = Trees.leaf(1, 0, address(this), type(uint64).max);
        bytes32 sibling = Trees.leaf(1, 1, address(this), 1);
        bytes32 wrapped = Trees.mark(keccak256(abi.encodePacked(leaf, sibling)), 0);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = sibling;
        vm.assertFalse(face.verify(wrapped, leaf, 0, proof), "a sum that wrapped");
        bytes32[] memory pair = new bytes32[](2);
        (pair[0], pair[1]) = (leaf, sibling);
        vm.assertEq(face.rangeRoot(pair, 0, 1, new bytes32[](0)), bytes32(0), "a range that wrapped");
    }

    function testFuzz_RangeRootAgreesWithItsPlainTwin(
        bytes32[] memory nodes,
        uint256 start,
        uint8 height,
        bytes32[] memory proof
    ) external view {
        start %= 64;
        height %= 8;
        bytes32 plain = Trees.rangeRoot(_copy(nodes), start, height, proof);
        vm.assertEq(face.rangeRoot(nodes, start, height, proof), plain, "any");
    }

    function testFuzz_RangeRootGivesTheRootOfAnHonestTree(uint64[8] memory amounts, uint8 start, uint8 count)
        external
        view
    {
        bytes32[] memory leaves = _leaves(amounts);
        start %= 8;
        count = 1 + (count % (8 - start));
        bytes32[] memory part = new bytes32[](count);
        for (uint256 i; i < count; ++i) part[i] = leaves[start + i];
        bytes32[] memory proof = Trees.proveRange(leaves, start, count);
        vm.assertEq(Trees.rangeRoot(_copy(part), start, 3, proof), Trees.root(leaves), "plain");
        vm.assertEq(face.rangeRoot(part, start, 3, proof), Trees.root(leaves), "assembly");
    }

    function testFuzz_AccountLeafAgreesWithItsPlainTwin(uint8 kind, uint32 index, address account, uint64 cumulative)
        external
        pure
    {
        bytes32 plain = Trees.leaf(kind, index, account, cumulative);
        vm.assertEq(SumTree.accountLeaf(kind, index, account, cumulative), plain, "leaf");
    }

    function testFuzz_BeforeIsTheSumOfAllLeavesToTheLeft(uint64[8] memory amounts, uint8 index) external view {
        bytes32[] memory leaves = _leaves(amounts);
        index %= 8;
        uint256 expected;
        for (uint256 i; i < index; ++i) expected += Trees.sumOf(leaves[i]);
        vm.assertEq(face.before(index, Trees.prove(leaves, index)), expected, "prefix");
    }

    function test_SharedVectorsHold() external view {
        string memory json = vm.readFile("../tests/vectors/sumtree.json");
        for (uint256 t; vm.keyExistsJson(json, _key(".trees[", t, "]")); ++t) {
            string memory tree = _key(".trees[", t, "]");
            bytes32 root = vm.parseJsonBytes32(json, string.concat(tree, ".root"));
            vm.assertEq(Trees.sumOf(root), vm.parseJsonUint(json, string.concat(tree, ".total")), "total");
            for (uint256 p; vm.keyExistsJson(json, string.concat(tree, _key(".proofs[", p, "]"))); ++p) {
                string memory one = string.concat(tree, _key(".proofs[", p, "]"));
                bytes32 node = vm.parseJsonBytes32(json, string.concat(one, ".node"));
                bytes32[] memory proof = vm.parseJsonBytes32Array(json, string.concat(one, ".proof"));
                uint256 index = vm.parseJsonUint(json, string.concat(one, ".index"));
                vm.assertTrue(face.verify(root, node, index, proof), "proof");
            }
        }
    }

    function _leaves(uint64[8] memory amounts) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](8);
        for (uint32 i; i < 8; ++i) leaves[i] = Trees.leaf(1, i, address(uint160(i + 1)), amounts[i] >> 4);
    }

    function _climb(bytes32 node, uint256 index, bytes32[] memory proof) private pure returns (bytes32) {
        uint256 total = Trees.sumOf(node);
        for (uint256 i; i < proof.length; ++i) {
            total += Trees.sumOf(proof[i]);
            bytes32 hash = index % 2 == 0
                ? keccak256(abi.encodePacked(node, proof[i]))
                : keccak256(abi.encodePacked(proof[i], node));
            node = Trees.mark(hash, total & type(uint64).max);
            index /= 2;
        }
        return node;
    }

    function _copy(bytes32[] memory given) private pure returns (bytes32[] memory copied) {
        copied = new bytes32[](given.length);
        for (uint256 i; i < given.length; ++i) copied[i] = given[i];
    }

    function _key(string memory head, uint256 i, string memory tail) private pure returns (string memory) {
        return string.concat(head, vm.toString(i), tail);
    }
}
