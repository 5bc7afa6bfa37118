// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumTree} from "./SumTree.sol";

/// @notice Which tree of a header a node belongs to.
enum Tree {
    receipts,
    payouts,
    debits,
    lines,
    gateways
}

/// @notice What an operator commits to, per batch. Roots are nodes `hash192 << 64 | sum64` (SumTree).
struct Header {
    /// First 24 bytes of the previous header's hash; zero for batch 1.
    bytes24 prev;
    /// The lane's era: counted up by every fall and every escape.
    uint32 era;
    /// When the batch was closed, in seconds: everything is judged as it was then.
    uint40 closedAt;
    /// Levels of the trees, a byte each, low byte first: receipts, payouts, debits, gateways, then the lines tree's parties
    /// and its runs.
    uint48 heights;
    /// Receipts of the batch, each at its place; the sum is what they charge. Barred receipts leave the zero word.
    bytes32 receiptsRoot;
    /// All payees' cumulative earnings, each at its Registry index.
    bytes32 payoutRoot;
    /// All consumers' cumulative debits, each at its index in the lane.
    bytes32 debitRoot;
    /// What each run of 16 receipts pays each payee, at `party << runsHeight | run`. The sum is what the receipts charge.
    bytes32 linesRoot;
    /// Which receipts of which gateway key, each key at its number in the lane; the sum is the number of calls.
    bytes32 gatewaysRoot;
    /// sha256 of the public batch file.
    bytes32 dataRef;
}

/// @title Reading a header: the one place where its fields are hashed, compared and bounded
library Headers {
    using SumTree for bytes32;

    uint256 internal constant MAX_CALLS = 1 << 24;
    /// @notice Receipts that share a line per payee.
    uint256 internal constant RUN = 16;
    uint256 private constant MAX_RECEIPTS = 24;
    uint256 private constant MAX_ACCOUNTS = 31;
    uint256 private constant MAX_GATEWAYS = 16;
    uint256 private constant MAX_RUNS = 20;

    /// @notice The name of a header everywhere: 192 bits of its hash.
    function id(Header calldata header) internal pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(header)));
    }

    function root(Header calldata header, Tree tree) internal pure returns (bytes32) {
        if (tree == Tree.receipts) return header.receiptsRoot;
        if (tree == Tree.payouts) return header.payoutRoot;
        if (tree == Tree.debits) return header.debitRoot;
        return tree == Tree.lines ? header.linesRoot : header.gatewaysRoot;
    }

    /// @notice Levels of a tree above its leaves.
    function height(Header calldata header, Tree tree) internal pure returns (uint256) {
        if (tree == Tree.receipts) return _byte(header, 0);
        if (tree == Tree.payouts) return _byte(header, 1);
        if (tree == Tree.debits) return _byte(header, 2);
        return tree == Tree.lines ? partiesHeight(header) + runsHeight(header) : _byte(header, 3);
    }

    /// @notice Levels of the payout and the debit tree.
    function accountHeights(Header calldata header) internal pure returns (uint8, uint8) {
        return (uint8(_byte(header, 1)), uint8(_byte(header, 2))); // a byte each
    }

    /// @notice Upper levels of the lines tree: a party's own tree over runs hangs below each of their leaves.
    function partiesHeight(Header calldata header) internal pure returns (uint256) {
        return _byte(header, 4);
    }

    /// @notice Lower levels of the lines tree: a party's own tree over runs.
    function runsHeight(Header calldata header) internal pure returns (uint256) {
        return _byte(header, 5);
    }

    /// @notice Receipts in the batch.
    function calls(Header calldata header) internal pure returns (uint64) {
        return header.gatewaysRoot.sum();
    }

    /// @notice What the batch charges.
    function charged(Header calldata header) internal pure returns (uint64) {
        return header.receiptsRoot.sum();
    }

    /// @notice What the lane has paid out, in all, when this batch is final.
    function total(Header calldata header) internal pure returns (uint64) {
        return header.payoutRoot.sum();
    }

    /// @notice Rounds of questions that open its longest path, eight levels a round.
    function rounds(Header calldata header) internal pure returns (uint256 most) {
        for (uint256 tree; tree <= uint256(type(Tree).max); ++tree) {
            uint256 needed = (height(header, Tree(tree)) + 7) / 8;
            if (needed > most) most = needed;
        }
    }

    /// @notice True when no tree is taller than an honest lane may need, and the receipts and their runs fit theirs: else a
    /// run's line would stand at another party's place.
    function wellShaped(Header calldata header) internal pure returns (bool) {
        uint256 receipts = _byte(header, 0);
        return receipts <= MAX_RECEIPTS && _byte(header, 1) <= MAX_ACCOUNTS && _byte(header, 2) <= MAX_ACCOUNTS
            && _byte(header, 3) <= MAX_GATEWAYS && _byte(header, 4) <= MAX_ACCOUNTS && _byte(header, 5) <= MAX_RUNS
            && calls(header) <= MAX_CALLS && calls(header) <= uint256(1) << receipts
            && calls(header) <= RUN << runsHeight(header);
    }

    function _byte(Header calldata header, uint256 i) private pure returns (uint256) {
        return (header.heights >> (8 * i)) & 0xff;
    }
}
