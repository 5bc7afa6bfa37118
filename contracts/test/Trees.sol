// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev Leaves at their places, ascending, below a root of exactly `height` levels. Every other place holds the zero word.
struct Sparse {
    uint256 height;
    uint256[] places;
    bytes32[] words;
}

/// @dev Sum trees in plain Solidity: the twin that the assembly of `SumTree` is held equal to, and what tests build with.
/// Only occupied nodes are computed, so that a tree of 31 levels costs no more than its leaves.
library Trees {
    uint256 private constant SUM = type(uint64).max;

    // ------------------------------------------------------------------ nodes

    function mark(bytes32 hash, uint256 sum) internal pure returns (bytes32) {
        return bytes32((uint256(hash) & ~SUM) | sum);
    }

    function sumOf(bytes32 node) internal pure returns (uint256) {
        return uint256(node) & SUM;
    }

    function parent(bytes32 l, bytes32 r) internal pure returns (bytes32) {
        return mark(keccak256(abi.encodePacked(l, r)), sumOf(l) + sumOf(r));
    }

    // ------------------------------------------------------------------ leaves

    function payoutLeaf(address lane, uint32 index, address payee, uint64 cumulative) internal pure returns (bytes32) {
        return _accountLeaf(1, lane, index, payee, cumulative);
    }

    function debitLeaf(address lane, uint32 index, address account, uint64 cumulative) internal pure returns (bytes32) {
        return _accountLeaf(2, lane, index, account, cumulative);
    }

    function receiptLeaf(address lane, bytes32 structHash, uint64 charge) internal pure returns (bytes32) {
        return mark(keccak256(abi.encodePacked(uint8(3), lane, structHash)), charge);
    }

    function lineLeaf(address lane, uint32 party, uint32 run, uint64 amount) internal pure returns (bytes32) {
        if (amount == 0) return 0;
        return mark(keccak256(abi.encodePacked(uint8(4), lane, party, run, amount)), amount);
    }

    function gatewayLeaf(address lane, uint32 number, address key, uint64 first, uint64 count)
        internal
        pure
        returns (bytes32)
    {
        return mark(keccak256(abi.encodePacked(uint8(5), lane, number, key, first, count)), count);
    }

    function _accountLeaf(uint8 kind, address lane, uint32 index, address account, uint64 cumulative)
        private
        pure
        returns (bytes32)
    {
        if (cumulative == 0) return 0;
        return mark(keccak256(abi.encodePacked(kind, lane, index, account, cumulative)), cumulative);
    }

    // ------------------------------------------------------------------ trees

    /// @dev The least height that has room for `places` places.
    function heightOf(uint256 places) internal pure returns (uint256 h) {
        while (uint256(1) << h < places) ++h;
    }

    /// @dev A tree over `leaves` at places 0, 1, 2..., as low as it can be.
    function dense(bytes32[] memory leaves) internal pure returns (Sparse memory) {
        return dense(leaves, heightOf(leaves.length));
    }

    function dense(bytes32[] memory leaves, uint256 height) internal pure returns (Sparse memory t) {
        uint256 count;
        for (uint256 i; i < leaves.length; ++i) if (leaves[i] != 0) ++count;
        (t.height, t.places, t.words) = (height, new uint256[](count), new bytes32[](count));
        count = 0;
        for (uint256 i; i < leaves.length; ++i) if (leaves[i] != 0) (t.places[count], t.words[count++]) = (i, leaves[i]);
    }

    function root(Sparse memory t) internal pure returns (bytes32) {
        return node(t, 0, 0);
    }

    /// @dev The word `depth` levels below the root, at `position` of that level.
    function node(Sparse memory t, uint256 depth, uint256 position) internal pure returns (bytes32 word) {
        (uint256[] memory places, bytes32[] memory words) = (t.places, t.words);
        bytes32 empty;
        for (uint256 level; level < t.height - depth; ++level) (places, words, empty) = _fold(places, words, empty);
        return _at(places, words, empty, position);
    }

    /// @dev The path from the leaf at `place`, occupied or not, to the root.
    function prove(Sparse memory t, uint256 place) internal pure returns (bytes32[] memory proof) {
        return proveNode(t, t.height, place);
    }

    /// @dev The path from the node at (depth, position) to the root: `depth` words.
    function proveNode(Sparse memory t, uint256 depth, uint256 position) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](depth);
        (uint256[] memory places, bytes32[] memory words) = (t.places, t.words);
        bytes32 empty;
        uint256 below = t.height - depth;
        for (uint256 level; level < t.height; ++level) {
            if (level >= below) {
                proof[level - below] = _at(places, words, empty, position ^ 1);
                position /= 2;
            }
            (places, words, empty) = _fold(places, words, empty);
        }
    }

    /// @dev Boundary siblings of the places [start, start + count): per level left, then right.
    function proveRange(Sparse memory t, uint256 start, uint256 count) internal pure returns (bytes32[] memory proof) {
        bytes32[] memory long = new bytes32[](2 * t.height);
        (uint256[] memory places, bytes32[] memory words) = (t.places, t.words);
        bytes32 empty;
        uint256 used;
        for (uint256 level; level < t.height; ++level) {
            if (start % 2 == 1) long[used++] = _at(places, words, empty, start - 1);
            if ((start + count) % 2 == 1) long[used++] = _at(places, words, empty, start + count);
            count = (start + count + 1) / 2 - start / 2;
            start /= 2;
            (places, words, empty) = _fold(places, words, empty);
        }
        proof = new bytes32[](used);
        for (uint256 i; i < used; ++i) proof[i] = long[i];
    }

    /// @dev The words `levels` levels below the node at (depth, position).
    function wordsBelow(Sparse memory t, uint256 depth, uint256 position, uint256 levels)
        internal
        pure
        returns (bytes32[] memory shown)
    {
        (uint256[] memory places, bytes32[] memory words) = (t.places, t.words);
        bytes32 empty;
        for (uint256 level; level < t.height - depth - levels; ++level) (places, words, empty) = _fold(places, words, empty);
        shown = new bytes32[](1 << levels);
        for (uint256 i; i < shown.length; ++i) shown[i] = empty;
        for (uint256 i; i < places.length; ++i) {
            if (places[i] >> levels == position) shown[places[i] & (shown.length - 1)] = words[i];
        }
    }

    /// @dev One level up. `empty` is the node over places that hold nothing.
    function _fold(uint256[] memory places, bytes32[] memory words, bytes32 empty)
        private
        pure
        returns (uint256[] memory upper, bytes32[] memory folded, bytes32 over)
    {
        uint256 count;
        for (uint256 i; i < places.length; ++i) if (i == 0 || places[i] / 2 != places[i - 1] / 2) ++count;
        (upper, folded) = (new uint256[](count), new bytes32[](count));
        count = 0;
        for (uint256 i; i < places.length; ++i) {
            uint256 place = places[i];
            bool pair = place % 2 == 0 && i + 1 < places.length && places[i + 1] == place + 1;
            upper[count] = place / 2;
            if (place % 2 == 1) folded[count++] = parent(empty, words[i]);
            else folded[count++] = parent(words[i], pair ? words[++i] : empty);
        }
        over = parent(empty, empty);
    }

    function _at(uint256[] memory places, bytes32[] memory words, bytes32 empty, uint256 place)
        private
        pure
        returns (bytes32)
    {
        for (uint256 i; i < places.length; ++i) if (places[i] == place) return words[i];
        return empty;
    }
}
