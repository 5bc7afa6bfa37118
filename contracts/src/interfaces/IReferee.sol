// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "./ISettlement.sol";
import {IBidBook} from "./IBidBook.sol";
import {Receipts} from "../Receipts.sol";

/// @title Referee: every one-shot proof that a batch lies
/// @notice Each function checks a proof and then tells Settlement to convict; the caller gets half the bond. A proof that
/// proves nothing reverts. What a batch may not do, and which function shows it:
///
/// | the lie | the proof |
/// |---|---|
/// | a debit above the deposit, to no account, or at another's index | `proveOverdraft` |
/// | a cumulative that fell, an account swapped or dropped | `proveRegression` |
/// | a payee that is not the Registry's at this index | `proveWrongPayee` |
/// | a receipt the operator signed and left out, or replaced | `proveOmittedReceipt` |
/// | a receipt at a place, or in a batch, that is not its own | `proveMisplacedReceipt` |
/// | a gap, a repetition or a miscount in the journals | `proveBrokenJournal` |
/// | two receipts for one place, or two charges for one call | `proveDoubleReceipt` |
/// | a price or charge that the terms do not give | `proveBadLine` |
/// | a line that is not the bid in force, a false protocol fee | `proveBadBid` |
/// | a run's line that is not what its receipts give | `proveBadRun` |
/// | lines out of order, of no amount, of nobody, of no run | `proveUnsortedLines` |
/// | a payout or debit that is not its lines' sum | `provePayout` |
/// | a tree whose leaves are not all at one depth, a receipts tree of another height than its calls need | `proveUnevenTree` |
interface IReferee {
    /// @notice An account leaf of a payout or debit tree: all zero for the empty leaf.
    struct AccountLeaf {
        address account;
        uint64 cumulative;
        bytes32[] proof;
    }

    /// @notice A leaf of the lines tree: all zero for the empty leaf.
    struct LineLeaf {
        uint32 party;
        uint32 run;
        uint64 amount;
        bytes32[] proof;
    }

    /// @notice Where in the sorted lines a key would stand: `right` is the first leaf not below it, at `rank`; `left` is
    /// the leaf before. `left` is ignored at rank 0; `right` is ignored when `rank` is the tree's width.
    struct Boundary {
        uint256 rank;
        LineLeaf left;
        LineLeaf right;
    }

    /// @notice A receipt of a batch and the bytes of its terms.
    struct Opening {
        Receipts.Receipt receipt;
        bytes terms;
        uint256 place;
        bytes32[] proof;
    }

    /// @notice A receipt with its gateway's signature.
    struct SignedReceipt {
        Receipts.Receipt receipt;
        bytes signature;
    }

    /// @notice A leaf by its preimage; empty for the empty leaf.
    struct OpenedLeaf {
        bytes preimage;
        bytes terms;
        uint256 index;
        bytes32[] proof;
    }

    /// @notice The proof proves nothing.
    error NotProven();
    /// @notice A part of the proof does not belong to this batch.
    error ProofInvalid();
    /// @notice `prevHeader` is not the header before.
    error PreviousHeaderWrong();
    /// @notice This offence was punished already.
    error AlreadyPunished(bytes32 offence);

    /// @notice The account's debit is above what it deposited less withdrawals, or at an index that is not its own.
    function proveOverdraft(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint32 index,
        AccountLeaf calldata leaf
    ) external;

    /// @notice Between a batch and the one before, a leaf of the payout or debit tree fell, changed hands or vanished.
    function proveRegression(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Header calldata prevHeader,
        ISettlement.Tree tree,
        uint32 index,
        AccountLeaf calldata before,
        AccountLeaf calldata afterwards
    ) external;

    /// @notice The payout tree pays at `index` somebody the Registry does not know there.
    function proveWrongPayee(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint32 index,
        AccountLeaf calldata leaf
    ) external;

    /// @notice A receipt the operator signed is not where the journals table puts it (`leaf` stands there instead), or the
    /// table ends before it although it ended `INCLUSION_TIME` before the batch was posted.
    /// @param leaf What stands there. @param proof As long as the tree of so many receipts is high.
    function proveOmittedReceipt(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        bytes calldata table,
        SignedReceipt calldata signed,
        bytes32 leaf,
        bytes32[] calldata proof
    ) external;

    /// @notice A receipt of the batch is not the one the journals table has at its place, or is another lane's.
    function proveMisplacedReceipt(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        bytes calldata table,
        Opening calldata opening
    ) external;

    /// @notice The journals table is malformed, does not add up to the batch's calls, or does not go on where the table
    /// before it stopped. For batch 1 `prevHeader` and `prevTable` are ignored.
    function proveBrokenJournal(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Header calldata prevHeader,
        bytes calldata prevTable,
        bytes calldata table
    ) external;

    /// @notice The operator signed two receipts for one (gateway, seq), or two for one call. Slashes bond and stake.
    function proveDoubleReceipt(uint32 lane, SignedReceipt calldata a, SignedReceipt calldata b) external;

    /// @notice A receipt's price or charge is not what its terms give for its units, or its terms allow none.
    function proveBadLine(uint32 lane, uint64 id, ISettlement.Header calldata header, Opening calldata opening)
        external;

    /// @notice A line of a receipt's terms is not the bid in force at the receipt's epoch (compute and delivery: on the
    /// terms' subject; gateway: on the lane), or a protocol line is not the fee of 20,000 ppm to the treasury.
    /// @param line Which one. @param history BidBook's hash before `bids`. @param bids The bidder's bids from the one in
    /// force, or from the first, to the last.
    function proveBadBid(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        Opening calldata opening,
        uint256 line,
        bytes24 history,
        IBidBook.Bid[] calldata bids
    ) external;

    /// @notice What a run's 64 receipts pay a payee, or charge a consumer, is not what the lines tree says.
    /// @param account The payee registered at `party`, or the consumer whose lane index is `party` less its top bit.
    /// @param receipts All of the run's, in place order. @param terms Bytes of distinct terms. @param termsOf For each
    /// receipt, which of `terms`. @param proof Boundary siblings of the run in the receipts tree.
    /// @param line The leaf, or where it is missing.
    function proveBadRun(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint32 run,
        uint32 party,
        address account,
        Receipts.Receipt[] calldata receipts,
        bytes[] calldata terms,
        uint8[] calldata termsOf,
        uint256 height,
        bytes32[] calldata proof,
        Boundary calldata line
    ) external;

    /// @notice Two neighbours in the lines tree are not in order of (party, run), or one is of no amount, of a party nobody
    /// is, or of a run the batch does not have.
    function proveUnsortedLines(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint256 rank,
        LineLeaf calldata left,
        LineLeaf calldata right
    ) external;

    /// @notice An account's cumulative payout or debit did not grow by the sum of its lines.
    /// @param low Where the party's lines begin. @param high Where the next party's begin.
    function provePayout(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Header calldata prevHeader,
        ISettlement.Tree tree,
        uint32 index,
        AccountLeaf calldata before,
        AccountLeaf calldata afterwards,
        Boundary calldata low,
        Boundary calldata high
    ) external;

    /// @notice Two leaves of one tree stand at different depths, or a receipt `a` at another depth than a tree of so many
    /// receipts has.
    function proveUnevenTree(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Tree tree,
        OpenedLeaf calldata a,
        OpenedLeaf calldata b
    ) external;

    /// @notice The leaf a preimage makes. Reverts when it is none.
    function leafOf(ISettlement.Tree tree, uint256 index, bytes calldata preimage, bytes calldata terms)
        external
        pure
        returns (bytes32);

    /// @notice Price, charge and shares of a call, as `proveBadLine` and `proveBadRun` see them.
    function price(Receipts.Receipt calldata receipt, bytes calldata terms)
        external
        pure
        returns (bool sound, uint256 amount, uint256 charge, address[] memory payees, uint256[] memory amounts);
}
