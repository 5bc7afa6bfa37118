// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../Headers.sol";
import {IJudge} from "./IJudge.sol";

/// @title Referee: proofs about accounts, gateway logs and receipts
/// @notice Anybody shows a lie in a posted batch before its window ends, and is owed half the operator's bond. A batch is
/// named by its lane, its id and its whole header. Everything is judged as it was when the batch was closed, so a verdict
/// does not depend on when it is asked: what an honest operator posted stays right.
///
/// For each proof: the lie, what is shown, and why an honest operator cannot be convicted. Sizes and gas: FIELDS.md.
interface IReferee is IJudge {
    error AlreadyPunished(bytes32 offence);

    // ------------------------------------------------------------------ accounts

    /// @notice Lie: an account is debited more than it has. Shown: its word in the debit tree.
    /// Safe: deposits only grow. Withdrawals grow only when the account leaves, and then down to what is finally debited,
    /// which no batch after may raise.
    function proveOverdraft(address lane, uint64 id, Header calldata header, address account, Word calldata debit)
        external;

    /// @notice Lie: a debit grew although the batch before was closed after the account's request to leave and its notice.
    /// Shown: the account's word in both debit trees.
    /// Safe: a request that a batch has met cannot be taken back, so one that stands now stood then; one that was made anew
    /// is later than the batch before.
    function proveDebitAfterExit(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        address account,
        Word calldata before,
        Word calldata afterwards
    ) external;

    /// @notice Lie: what an index has earned, or was debited, in all, fell. Shown: its word in both trees, payouts or debits.
    /// Safe: honest amounts never fall; a fallen batch's successors name the batch before it.
    function proveRegression(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        Tree tree,
        uint32 index,
        Word calldata before,
        Word calldata afterwards
    ) external;

    /// @notice Lie: the word at an index of the payout tree is not the leaf of Registry's payee there and its sum, or is not
    /// zero where no payee stands. Shown: the word; nobody needs what it was made from.
    /// Safe: Registry's payees never change.
    function proveWrongPayee(address lane, uint64 id, Header calldata header, uint32 index, Word calldata payout)
        external;

    /// @notice Lie: the word at an index of the debit tree is not the leaf of the lane's consumer there and its sum, or is
    /// not zero where no consumer stands. Shown: the word, and who stands there (not looked at where nobody does).
    /// Safe: indices are given once, in the order of first deposits.
    function proveWrongConsumer(
        address lane,
        uint64 id,
        Header calldata header,
        uint32 index,
        address account,
        Word calldata debit
    ) external;

    // ------------------------------------------------------------------ gateway logs

    /// @notice Lie: a gateway's row does not go on where the row in the batch before stopped (from 1 for a key's first), is
    /// another key's, was dropped, or stands at a number that no key has. Shown: the row before, by its key and numbers,
    /// and the word afterwards. A key's first row may come late: the zero word after none is right.
    /// Safe: keys have their numbers for good; sequences are dense.
    /// @param before Its `number` and `key` name the row also when there was none (`first` 0). In batch 1 there was none.
    function proveBrokenLog(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        Row calldata before,
        Word calldata afterwards
    ) external;

    /// @notice Lie: a receipt that a gateway signed is not in the batch: another stands at its place, or nothing does and it
    /// is not barred (Bars); or the log stops before it although it ended a `day` before the batch was closed, and a
    /// `day` after the lane's first activation since its last fall, and is not barred. Shown: the receipt and its
    /// signature, its gateway's row, and the word at its place (not looked at beyond the row).
    /// Safe: an honest gateway signs one receipt for a number. Bars judges as of the batch's closing. A pause moves nothing,
    /// so a batch closed after one holds what ended before it.
    /// @param prevHeader Not looked at in batch 1.
    function proveOmittedReceipt(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        Signed calldata signed,
        Row calldata row,
        Word calldata stands
    ) external;

    /// @notice Lie: a receipt stands where the gateways tree has another: of another key, number or lane. Shown: the receipt
    /// and the row that covers its place.
    /// Safe: rows and places are two readings of one order.
    function proveMisplacedReceipt(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        Row calldata row
    ) external;

    /// @notice Lie: something stands beyond the last receipt. Shown: the word at a place from `calls` on.
    function proveStrayReceipt(address lane, uint64 id, Header calldata header, uint64 place, Word calldata stands)
        external;

    /// @notice Offence: the operator paused its lane, to leave with its bond, and a receipt stands in no batch a `day` after
    /// its end, the pause, and the lane's last return. Punished once. Shown: the receipt and its signature, the last
    /// posted batch's header (not looked at if there is none) and the gateway's row in it, which stops before the receipt.
    /// Safe: who pauses has a `day` to resume and post what is left, and the tools post first. A barred receipt
    /// proves nothing, nor does one of a key that no longer counts. A lane that fell is not paused.
    function proveUnpostedReceipt(address lane, Header calldata lastHeader, Signed calldata signed, Row calldata row)
        external;

    /// @notice Offence: two receipts with one (gateway, number) or one call id. Punished once; it lapses when the batch is
    /// final that holds the first one shown. Shown: both with their signatures, the last final batch's header (not looked
    /// at if there is none) and the row of the first one's gateway in it.
    /// Safe: an honest gateway signs one receipt for a number and for a call; keys that no longer count sign nothing.
    function proveDoubleReceipt(
        address lane,
        Header calldata finalHeader,
        Signed calldata signed,
        Signed calldata other,
        Row calldata row
    ) external;

    // ------------------------------------------------------------------ receipts

    /// @notice Lie: a receipt ended after the batch was closed, or more than RECEIPT_LIFE (30 days) before, or names an epoch
    /// that is neither that of its end nor the one before. Shown: the receipt.
    /// Safe: a call is priced from the epoch in which it begins, and an epoch is longer than a call.
    function proveReceiptTime(address lane, uint64 id, Header calldata header, Opening calldata opening) external;

    /// @notice Lie: two places of one batch hold receipts of one call id. Shown: both.
    function proveDoubleCall(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        Opening calldata other
    ) external;

    /// @notice Lie: a workflow's receipt with `subcalls` n is not preceded by its n sub-calls, in its gateway's log and the
    /// same batch, or their prices are not its `subcallTotal`. The direct ones are found from the end: the receipt right
    /// before it, the one right before that one's own sub-calls, and so on. Shown: the n receipts (at most 63) and it, in
    /// order; it alone when there are no n places before it.
    /// Safe: gateways log a workflow's receipts in one piece, and a batch never ends within one. A barred sub-call convicts
    /// nobody.
    function proveBadSubcalls(address lane, uint64 id, Header calldata header, Openings calldata segment) external;
}
