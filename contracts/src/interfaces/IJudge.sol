// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What every judge is shown, and how it refuses
/// @notice A proof has one of three ends. The batch lies: it falls, and the caller is the accuser. It does not lie:
/// `NotProven`. What is shown does not stand in the batch, or is not what it says: `ProofInvalid`, or the error of the
/// part that could not be read.
interface IJudge {
    /// @notice A node of one of a header's trees, and its path; as long as the node is deep. Beyond the tree's width
    /// stands nothing: the zero word, without a path.
    struct Word {
        bytes32 word;
        bytes32[] proof;
    }

    /// @notice A gateway key's row: its receipts `[first, first + count)` are in the batch. `first` 0: the key has no row
    /// yet, and the zero word stands at its number.
    struct Row {
        uint32 number;
        address key;
        uint64 first;
        uint64 count;
        bytes32[] proof;
    }

    /// @notice A receipt at its place in the batch, as a record (Receipts).
    struct Opening {
        uint64 place;
        bytes record;
        bytes32[] proof;
    }

    /// @notice Receipts at places from `start` on, as records; empty where the zero word stands. `proof`: the siblings
    /// that they do not cover, per level left then right.
    struct Openings {
        uint64 start;
        bytes[] records;
        bytes32[] proof;
    }

    /// @notice A receipt with its gateway's signature: 65 bytes r | s | v over the struct hash in Settlement's domain.
    struct Signed {
        bytes record;
        bytes signature;
    }

    error ProofInvalid();
    error NotProven();
    error PreviousHeaderWrong();
}
