// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Trees} from "../Trees.sol";
import {EveryState} from "./EveryState.sol";

/// @dev Read by halmos (`make symbolic`): how batches are posted, fall and become final, whatever the state, the headers
/// and the time. Every batch that waits is of the lane's era: a commit takes no other, and whatever begins a new era leaves
/// nothing that waits.
contract SymbolicFinality is EveryState {
    uint256 private constant WAYS = 3;

    /// @dev C4. What becomes final is the oldest batch that waits, by its own header, its window over, nothing open, its
    /// total within the deposits; and nothing else changes what is final.
    function check_C4_TheOldestPendingBatchAloneBecomesFinal(
        bool byCommit,
        uint64 id,
        Header calldata header,
        Header calldata next,
        uint40 time
    ) external {
        setTime(time);
        (ISettlement.Books memory b,) = sound();
        ISettlement.Head memory h = ordered();
        ISettlement.Batch memory batch = settlement.batches(lane, id);
        (bytes32 payouts, bytes32 debits) = settlement.finalRoots(lane);
        if (byCommit) settlement.commit(lane, flat(next), id, header);
        else settlement.finalize(lane, id, header);
        ISettlement.Head memory now_ = settlement.heads(lane);
        if (now_.finalized != h.finalized) {
            assert(id == uint64(h.finalized) + 1 && now_.finalized == id && id < h.next);
            assert(batch.open == 0 && time >= batch.until && batch.hash == idOf(header));
            (payouts, debits) = (header.payoutRoot, header.debitRoot);
            b.settled = uint64(Trees.sumOf(payouts));
            assert(now_.finalClosedAt == header.closedAt);
        }
        (bytes32 payoutsNow, bytes32 debitsNow) = settlement.finalRoots(lane);
        assert(payoutsNow == payouts && debitsNow == debits);
        assert(settlement.books(lane).settled == b.settled && b.settled <= b.net);
    }

    /// @dev C1, C2, C9. A commit posts a header of the lane's era behind all that waits, and changes none of it.
    function check_C1_ACommitAddsUpAndChangesNothingThatWaits(
        Header calldata any,
        uint64 finalizeId,
        Header calldata finalizeHeader,
        uint32 waiting,
        uint40 time
    ) external {
        Header memory header = flat(any);
        setTime(time);
        sound();
        ISettlement.Head memory h = ordered();
        ISettlement.Batch memory before = settlement.batches(lane, waiting);
        settlement.commit(lane, header, finalizeId, finalizeHeader);
        (ISettlement.Head memory now_, ISettlement.Books memory b) = (settlement.heads(lane), settlement.books(lane));
        ISettlement.Lane memory l = settlement.lanes(lane);
        ISettlement.Batch memory posted = settlement.batches(lane, h.next);
        assert(now_.next == h.next + 1 && now_.next - now_.finalized <= 129);
        assert(posted.hash == idOf(header) && posted.open == 0 && posted.until >= uint256(time) + l.window);
        assert(header.era == l.era && l.active);
        uint256 total = Trees.sumOf(header.payoutRoot);
        assert(total == h.total + Trees.sumOf(header.receiptsRoot) && total == Trees.sumOf(header.debitRoot));
        assert(Trees.sumOf(header.linesRoot) == Trees.sumOf(header.receiptsRoot));
        assert(total == now_.total && total <= b.net && total - b.settled <= uint256(b.bond) * l.leverage);
        if (waiting <= now_.finalized || waiting >= h.next) return;
        ISettlement.Batch memory still = settlement.batches(lane, waiting);
        assert(still.hash == before.hash && still.until == before.until && still.open == before.open);
    }

    /// @dev C12, C4. After a fall nothing waits, what was final is, the era is another, and the bond is owed: half of it at
    /// most to the accuser.
    function check_C12_AFallLeavesNothingThatWaits(
        uint256 way,
        uint64 id,
        bytes24 hash,
        Header calldata header,
        address accuser,
        uint40 time
    ) external {
        setTime(time);
        (ISettlement.Books memory b,) = sound();
        ISettlement.Head memory h = ordered();
        uint32 era = settlement.lanes(lane).era;
        vm.assume(accuser != TREASURY);
        (uint256 accusers, uint256 rest) = (settlement.owed(accuser), settlement.owed(TREASURY));
        vm.assume(accusers <= SUPPLY && rest <= SUPPLY);
        ISettlement.Batch memory batch = settlement.batches(lane, id);
        _fall(way, id, hash, header, accuser);
        if (settlement.lanes(lane).era == era) return; // it became final
        if (way == 0) assert(id > h.finalized && id < h.next && batch.hash == hash && time < batch.until);
        _checkFallen(h, b, era);
        uint256 reward = settlement.owed(accuser) - accusers;
        assert(reward <= b.bond / 2 && reward + (settlement.owed(TREASURY) - rest) == b.bond);
    }

    /// @dev C4. Once nothing waits in a new era, as after every fall and every escape, no header of an era before becomes
    /// final: not by itself, not after the lane goes on, at no time, as no id.
    function check_C4_AVoidBatchIsNeverFinal(
        bool goesOn,
        uint64 id,
        Header calldata fallen,
        Header calldata any,
        uint40[2] calldata times
    ) external {
        Header memory next = flat(any);
        ISettlement.Head memory h = ordered();
        vm.assume(h.finalized + 1 == h.next && fallen.era < settlement.lanes(lane).era);
        distinct(fallen, next);
        setTime(times[0]);
        if (goesOn) settlement.commit(lane, next, 0, next);
        setTime(times[1]);
        try settlement.finalize(lane, id, fallen) {
            assert(false);
        } catch {}
    }

    // ------------------------------------------------------------------ inside

    /// @dev Convicted, punished, or ended with its window; reverts where it cannot be.
    function _fall(uint256 way, uint64 id, bytes24 hash, Header calldata header, address accuser) private {
        vm.assume(way < WAYS);
        if (way == 0) settlement.convict(lane, id, hash, accuser);
        else if (way == 1) settlement.punish(lane, accuser);
        else settlement.finalize(lane, id, header);
    }

    function _checkFallen(ISettlement.Head memory h, ISettlement.Books memory b, uint32 era) private view {
        (ISettlement.Head memory now_, ISettlement.Books memory books) =
            (settlement.heads(lane), settlement.books(lane));
        ISettlement.Lane memory l = settlement.lanes(lane);
        assert(now_.finalized == h.finalized && now_.next == h.finalized + 1 && l.era == era + 1 && !l.active);
        assert(now_.total == b.settled && now_.finalClosedAt == h.finalClosedAt);
        assert(books.net == b.net && books.settled == b.settled && books.paid == b.paid && books.bond == 0);
    }
}
