// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev Sum trees in plain Solidity: the twin that the assembly of `SumTree` is held equal to, and what tests build with.
library Trees {
    uint256 private constant SUM = type(uint64).max;

    function leaf(uint8 kind, uint32 index, address account, uint64 cumulative) internal pure returns (bytes32) {
        return mark(keccak256(abi.encodePacked(kind, index, account, cumulative)), cumulative);
    }

    function mark(bytes32 hash, uint256 sum) internal pure returns (bytes32) {
        return bytes32((uint256(hash) & ~SUM) | sum);
    }

    function sumOf(bytes32 node) internal pure returns (uint256) {
        return uint256(node) & SUM;
    }

    function parent(bytes32 l, bytes32 r) internal pure returns (bytes32) {
        return mark(keccak256(abi.encodePacked(l, r)), sumOf(l) + sumOf(r));
    }

    /// @dev Plain twin of SumTree.verify.
    function verify(bytes32 root, bytes32 node, uint256 index, bytes32[] memory proof) internal pure returns (bool) {
        uint256 total = sumOf(node);
        for (uint256 i; i < proof.length; ++i) {
            total += sumOf(proof[i]);
            bytes32 hash = index % 2 == 0
                ? keccak256(abi.encodePacked(node, proof[i]))
                : keccak256(abi.encodePacked(proof[i], node));
            node = mark(hash, total & SUM);
            index /= 2;
        }
        return node == root && index == 0 && total <= SUM;
    }

    /// @dev Plain twin of SumTree.rangeRoot.
    function rangeRoot(bytes32[] memory nodes, uint256 start, uint256 height, bytes32[] memory proof)
        internal
        pure
        returns (bytes32)
    {
        if (nodes.length == 0) return 0;
        uint256 used;
        for (uint256 level; level < height; ++level) {
            bool left = start % 2 == 1;
            bool right = (start + nodes.length) % 2 == 1;
            uint256 width = nodes.length + (left ? 1 : 0) + (right ? 1 : 0);
            bytes32[] memory row = new bytes32[](width);
            if (left) {
                if (used == proof.length) return 0;
                row[0] = proof[used++];
            }
            for (uint256 i; i < nodes.length; ++i) {
                row[i + (left ? 1 : 0)] = nodes[i];
            }
            if (right) {
                if (used == proof.length) return 0;
                row[width - 1] = proof[used++];
            }
            nodes = new bytes32[](width / 2);
            for (uint256 i; i < nodes.length; ++i) {
                if (sumOf(row[2 * i]) + sumOf(row[2 * i + 1]) > SUM) return 0;
                nodes[i] = parent(row[2 * i], row[2 * i + 1]);
            }
            start /= 2;
        }
        return nodes.length == 1 && start == 0 && used == proof.length ? nodes[0] : bytes32(0);
    }

    function height(uint256 leaves) internal pure returns (uint256 h) {
        while (uint256(1) << h < leaves) ++h;
    }

    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        uint256 h = height(leaves.length);
        bytes32[] memory row = padded(leaves, h);
        for (uint256 width = row.length / 2; width > 0; width /= 2) {
            for (uint256 i; i < width; ++i) {
                row[i] = parent(row[2 * i], row[2 * i + 1]);
            }
        }
        return row.length == 0 ? bytes32(0) : row[0];
    }

    function prove(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory proof) {
        uint256 h = height(leaves.length);
        bytes32[] memory row = padded(leaves, h);
        proof = new bytes32[](h);
        for (uint256 level; level < h; ++level) {
            proof[level] = row[index ^ 1];
            for (uint256 i; i < row.length >> (level + 1); ++i) {
                row[i] = parent(row[2 * i], row[2 * i + 1]);
            }
            index /= 2;
        }
    }

    function proveRange(bytes32[] memory leaves, uint256 start, uint256 count)
        internal
        pure
        returns (bytes32[] memory proof)
    {
        uint256 h = height(leaves.length);
        bytes32[] memory row = padded(leaves, h);
        bytes32[] memory long = new bytes32[](2 * h);
        uint256 used;
        for (uint256 level; level < h; ++level) {
            if (start % 2 == 1) long[used++] = row[start - 1];
            if ((start + count) % 2 == 1) long[used++] = row[start + count];
            count = (start + count + 1) / 2 - start / 2;
            start /= 2;
            for (uint256 i; i < row.length >> (level + 1); ++i) {
                row[i] = parent(row[2 * i], row[2 * i + 1]);
            }
        }
        proof = new bytes32[](used);
        for (uint256 i; i < used; ++i) proof[i] = long[i];
    }

    function padded(bytes32[] memory leaves, uint256 h) internal pure returns (bytes32[] memory row) {
        row = new bytes32[](uint256(1) << h);
        for (uint256 i; i < leaves.length; ++i) row[i] = leaves[i];
    }
}
