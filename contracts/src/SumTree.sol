// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The packed Merkle-sum tree
/// @notice A node is one word, `hash192 << 64 | sum64`; a parent is `keccak256(left . right)` with its low 64 bits
/// replaced by `left.sum + right.sum`. The sum is in the committed word, so a proof element is 32 bytes as in a plain
/// tree, and a proof that reaches the root shows that the leaf's amount is one addend of the root's total and that no
/// other addend on the path is negative: no set of provable leaves can exceed the total.
/// @dev Every tree has a height that the header states, and every leaf a position that the chain knows, so a proof is
/// exactly as long as its node is deep. An absent leaf is the zero word, and provable. Preimages never collide: a leaf
/// begins with its kind and its lane and has 37, 53 or 61 bytes, a node hashes 64.
library SumTree {
    uint256 private constant SUM = 0xffffffffffffffff;

    uint8 internal constant PAYOUT = 1;
    uint8 internal constant DEBIT = 2;
    uint8 internal constant RECEIPT = 3;
    uint8 internal constant LINE = 4;
    uint8 internal constant GATEWAY = 5;

    /// @notice The amount a node carries.
    function sum(bytes32 node) internal pure returns (uint64) {
        return uint64(uint256(node)); // truncation is the meaning: the low 64 bits are the sum
    }

    /// @notice A node from a 32-byte hash and an amount.
    function pack(bytes32 hash, uint64 amount) internal pure returns (bytes32) {
        return bytes32((uint256(hash) & ~SUM) | amount);
    }

    /// @notice Leaf of a payout (`kind` 1) or debit (`kind` 2) tree, at `index`: what `account` has earned, or was debited,
    /// in all. The zero word for nothing.
    function accountLeaf(uint8 kind, address lane, uint32 index, address account, uint64 cumulative)
        internal
        pure
        returns (bytes32)
    {
        if (cumulative == 0) return 0;
        return pack(keccak256(abi.encodePacked(kind, lane, index, account, cumulative)), cumulative);
    }

    /// @notice Leaf of a receipts tree, at the receipt's place: its struct hash and what it charges.
    function receiptLeaf(address lane, bytes32 structHash, uint64 charge) internal pure returns (bytes32) {
        return pack(keccak256(abi.encodePacked(RECEIPT, lane, structHash)), charge);
    }

    /// @notice Leaf of a lines tree, at `party << runsHeight | run`: what one run of receipts pays the payee at Registry
    /// index `party`. The zero word for nothing.
    function lineLeaf(address lane, uint32 party, uint32 run, uint64 amount) internal pure returns (bytes32) {
        if (amount == 0) return 0;
        return pack(keccak256(abi.encodePacked(LINE, lane, party, run, amount)), amount);
    }

    /// @notice Leaf of a gateways tree, at the number the key got in the lane: its receipts `[first, first + count)` are in
    /// the batch. Idle: count 0, and `first` is the next to come.
    function gatewayLeaf(address lane, uint32 number, address gateway, uint64 first, uint64 count)
        internal
        pure
        returns (bytes32)
    {
        return pack(keccak256(abi.encodePacked(GATEWAY, lane, number, gateway, first, count)), count);
    }

    /// @notice The parent of two nodes. Reverts when the sum does not fit 64 bits.
    function parent(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return pack(keccak256(abi.encodePacked(left, right)), sum(left) + sum(right));
    }

    /// @notice True when `node` stands at `index` of its level below `root`; the level is the proof's length. False, never a
    /// revert, for anything else, for an index the proof does not consume, and for a path whose total passes 64 bits.
    function verify(bytes32 root, bytes32 node, uint256 index, bytes32[] calldata proof)
        internal
        pure
        returns (bool ok)
    {
        assembly ("memory-safe") {
            let total := and(node, SUM)
            let end := add(proof.offset, shl(5, proof.length))
            for { let p := proof.offset } lt(p, end) { p := add(p, 0x20) } {
                let sibling := calldataload(p)
                let side := shl(5, and(index, 1)) // an odd index is a right child
                mstore(side, node)
                mstore(xor(side, 0x20), sibling)
                total := add(total, and(sibling, SUM))
                node := or(and(keccak256(0x00, 0x40), not(SUM)), and(total, SUM))
                index := shr(1, index)
            }
            // `total` only grows and a proof is far shorter than 2^192 words: one overflow check at the end is enough
            ok := and(and(eq(node, root), iszero(index)), iszero(shr(64, total)))
        }
    }

    /// @notice The sum of everything left of `index`, given a proof that `verify` accepts.
    function before(uint256 index, bytes32[] calldata proof) internal pure returns (uint256 total) {
        for (uint256 level; level < proof.length; ++level) {
            if ((index >> level) & 1 == 1) total += sum(proof[level]);
        }
    }

    /// @notice The root above the leaves `nodes[0..n)` at positions `[start, start + n)` of a tree of `height` levels,
    /// and the boundary siblings the range does not cover (per level: left, then right). Zero when anything is amiss.
    /// @dev Overwrites `nodes`.
    function rangeRoot(bytes32[] memory nodes, uint256 start, uint256 height, bytes32[] calldata proof)
        internal
        pure
        returns (bytes32 root)
    {
        assembly ("memory-safe") {
            let base := add(nodes, 0x20)
            let end := add(base, shl(5, mload(nodes)))
            let p := proof.offset
            let limit := add(p, shl(5, proof.length))
            let bad := eq(base, end)
            for { let level := 0 } lt(level, height) { level := add(level, 1) } {
                let write := base
                let read := base
                if and(start, 1) {
                    bad := or(bad, iszero(lt(p, limit)))
                    let left := calldataload(p)
                    p := add(p, 0x20)
                    let right := mload(read)
                    read := add(read, 0x20)
                    mstore(0x00, left)
                    mstore(0x20, right)
                    let total := add(and(left, SUM), and(right, SUM))
                    bad := or(bad, shr(64, total))
                    mstore(write, or(and(keccak256(0x00, 0x40), not(SUM)), and(total, SUM)))
                    write := add(write, 0x20)
                }
                for {} lt(read, end) { read := add(read, 0x40) } {
                    let left := mload(read)
                    let right
                    switch lt(add(read, 0x20), end)
                    case 1 { right := mload(add(read, 0x20)) }
                    default {
                        bad := or(bad, iszero(lt(p, limit)))
                        right := calldataload(p)
                        p := add(p, 0x20)
                    }
                    mstore(0x00, left)
                    mstore(0x20, right)
                    let total := add(and(left, SUM), and(right, SUM))
                    bad := or(bad, shr(64, total))
                    mstore(write, or(and(keccak256(0x00, 0x40), not(SUM)), and(total, SUM)))
                    write := add(write, 0x20)
                }
                start := shr(1, start)
                end := write
            }
            bad := or(bad, iszero(eq(end, add(base, 0x20))))
            bad := or(bad, or(start, xor(p, limit)))
            if iszero(bad) { root := mload(base) }
        }
    }
}
