// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../Headers.sol";
import {IBidBook} from "./IBidBook.sol";
import {IJudge} from "./IJudge.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title PriceJudge: proofs about prices, terms and what payees are paid
/// @notice As IReferee: a lie in a posted batch is shown before its window ends. What book and Registry held in a receipt's
/// epoch was closed before the epoch began and never changes, so neither does a verdict.
///
/// Terms stand in no tree: a receipt names them by their hash, and they are shown whole, at most 2,679 bytes.
interface IPriceJudge is IJudge {
    /// @notice A bid by its number in BidBook, in force in the receipt's epoch. `number` 0: none was yet, or `number` is that
    /// of one that had lapsed; then `bid` is not looked at.
    struct BidShown {
        uint32 number;
        IBidBook.Bid bid;
    }

    /// @notice A model in the lineage of the receipt's subject.
    struct Kin {
        bytes32 id;
        /// Number of the change of ownership that held in the receipt's epoch.
        uint32 owner;
        IRegistry.Parent[] parents;
        /// For each parent, the royalty it was granted: the bytes that hash to the parent's `terms` (Royalties).
        bytes[] royalties;
    }

    /// @notice The subject of a receipt's terms as Registry had it in the receipt's epoch: change number `content`, in which it
    /// offered `terms` to children of its own.
    struct Subject {
        uint32 content;
        bytes32 terms;
    }

    // ------------------------------------------------------------------ prices

    /// @notice Lie: terms are malformed or allow no price for the receipt's units, or its price or charge is another. Shown:
    /// the receipt and its terms.
    /// Safe: the price is a function of both (Prices).
    function proveBadPrice(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms
    ) external;

    // ------------------------------------------------------------------ terms

    /// @notice Lie: a root call's terms do not have one line of the protocol's (the treasury, PROTOCOL_PPM, no asks), or a
    /// sub-call's have one, or a gateway's; a gateway's line is not the operator's; two lines of one of the roles compute,
    /// delivery, gateway; a curator's line (a sponsor's line pays curators); a paid slot's rest is not the treasury's.
    /// Shown: the receipt and its terms.
    /// Safe: operator and treasury never change.
    function proveBadRoles(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms
    ) external;

    /// @notice Lie: a line of compute, delivery or gateway is not the bid its party had in force, or none was; or the subject's
    /// owner had a weaver's bid in force and no weaver's line of its own is that bid. Shown: the receipt, its terms, the
    /// line, and the bid.
    /// Safe: a workflow's weaver without a bid, and its co-weavers, are paid by its document: no proof is against those.
    /// @param shown On the subject; a gateway's on its lane.
    /// @param hosting Of an operator's compute line: its bid on the lane, to run workflows, which is as good. Else not looked at.
    /// @param owner Of a weaver's line: number of the subject's change of ownership. Else not looked at.
    function proveBadBid(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms,
        uint256 line,
        BidShown calldata shown,
        BidShown calldata hosting,
        uint32 owner
    ) external;

    /// @notice Lie: the lines of makers and OEMs are not those due: one of the subject's owner, at its bid, if it has one in
    /// force as maker or OEM, and one of each ancestor's owner, at the maximum of each term over the royalties that its
    /// descendants in the lineage were granted. Or no honest gateway serves the subject: it has more than 10 ancestors, one of
    /// them with two lineages, or a royalty that cannot be read. Shown: the receipt, its terms, the whole lineage (each
    /// model after one that names it; with 11 ancestors the rest may be left out), and the owner's bids.
    /// Safe: lineages are frozen when a model is registered. A gateway serves a model only with the lineage that is
    /// registered, and pays who owns it by the Registry, also as maker of a workflow if it bids so. An unregistered
    /// subject convicts nobody, nor does the line of a royalty of nothing that is left out.
    function proveBadOwners(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms,
        Subject calldata subject,
        Kin[] calldata lineage,
        BidShown calldata maker,
        BidShown calldata oem
    ) external;

    /// @notice Lie: an ancestor's owner has no line that pays at least what one of the lineage's paths grants it. Shown: the
    /// receipt, its terms, and that path alone, so that nobody hides an ancestor behind a relative whose royalty is secret.
    /// Safe: an honest line is the maximum over all paths.
    /// @param path From the subject to the ancestor's child; in each the parent at `steps` leads on.
    /// @param owner Number of the ancestor's change of ownership.
    function proveMissingRoyalty(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms,
        Subject calldata subject,
        IRegistry.Parent[][] calldata path,
        uint8[] calldata steps,
        bytes calldata royalty,
        uint32 owner
    ) external;

    // ------------------------------------------------------------------ lines

    /// @notice Lie: the word of a party and a run of 16 receipts does not carry what these pay the party, each at its stated
    /// price (which has a proof of its own), or is not zero where no receipts or no payee are. Shown: the run's receipts,
    /// their terms (each once), and the word.
    /// Safe: what receipts pay is a function of both; a barred receipt pays nothing.
    /// @param run Openings of all places `[16 run, 16 run + 16)` below `calls`.
    /// @param termsOf Per receipt, which of `terms` are its own.
    function proveBadRun(
        address lane,
        uint64 id,
        Header calldata header,
        uint32 party,
        Openings calldata run,
        bytes[] calldata terms,
        uint8[] calldata termsOf,
        Word calldata line
    ) external;

    /// @notice Lie: what an index has earned in all did not grow by the sum of its lines. Shown: its words in both payout
    /// trees, and the node of the lines tree below which its lines are, at `partiesHeight`.
    /// @param before Not looked at in batch 1.
    function provePayout(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        uint32 index,
        Word calldata before,
        Word calldata afterwards,
        Word calldata lines
    ) external;
}
