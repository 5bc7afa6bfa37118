// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../../src/Headers.sol";
import {Receipt} from "../../src/Receipt.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {PlainReceipts} from "../PlainReceipts.sol";
import {Sparse, Trees} from "../Trees.sol";
import {AskingHandler} from "./AskingHandler.sol";
import {Files} from "./Files.sol";

/// @dev The same lives before the real judges: what they can prove they must prove of liars, and must not of the honest,
/// whenever they are asked.
contract CourtHandler is AskingHandler {
    using Trees for Sparse;

    // ------------------------------------------------------------------ accusations

    /// @dev Whoever likes accuses a pending batch of everything, rightly or wrongly.
    function accuses(uint256 l, uint256 which) external inLane(l) {
        l %= LANES;
        if (l == UNWATCHED) return;
        ISettlement.Head memory h = settlement.heads(lane);
        uint64 pending = h.next - 1 - h.finalized;
        if (pending == 0) return;
        uint64 id = h.finalized + 1 + uint64(which % pending);
        if (block.timestamp >= settlement.batches(lane, id).until) return;
        bool wrong = guilty(l, id);
        uint64 bond = settlement.books(lane).bond;
        if (!_accused(l, id, (which >> 8) % 3)) return;
        if (!wrong) broken = "C10: an honest bond stays";
        if (settlement.books(lane).bond != 0 || bond == 0) broken = "C12: a liar loses its bond";
        rolledBack(l, h.finalized + 1);
    }

    /// @dev By proof at once, or by a question that nobody can answer.
    function _convicts(uint256 l, uint64 id) internal override returns (address) {
        Filed memory f = fileOf(l, id);
        Filed memory b = before(l, id);
        if (b.withheld) return address(0); // which falls itself, with this one
        bool wrong;
        if (!f.withheld) {
            bool[3] memory lies = [wrongAbout(l, f, b), wronglyPriced(f, b), f.forged];
            for (uint256 i; i < 3; ++i) {
                if (lies[i] && _accused(l, id, i)) return challenger;
                wrong = wrong || lies[i];
            }
        }
        if (wrong) broken = "C12: the judges prove every lie";
        return _doubted(l, id, f, b);
    }

    /// @dev Tries every proof of one kind; true when one convicted.
    function _accused(uint256 l, uint64 id, uint256 kind) private returns (bool) {
        Filed memory f = fileOf(l, id);
        Filed memory b = before(l, id);
        if (f.withheld || b.withheld) return false;
        if (kind == 0) return _accountsProven(l, id, f, b);
        return kind == 1 ? _pricesProven(l, id, f, b) : _receiptsProven(l, id, f, b);
    }

    // ------------------------------------------------------------------ the Referee's proofs of accounts

    function _accountsProven(uint256 l, uint64 id, Filed memory f, Filed memory b) private returns (bool) {
        (Sparse memory was, Sparse memory is_) = (debitTree(l, b), debitTree(l, f));
        for (uint32 i = 1; i <= WHO; ++i) {
            IJudge.Word memory word = wordAt(is_, i);
            if (_tries(abi.encodeCall(referee.proveOverdraft, (lane, id, f.header, consumerOf[i], word)))) return true;
            if (f.header.prev == 0) continue;
            IJudge.Word memory earlier = wordAt(was, i);
            if (_grewLate(id, f, b, i, earlier, word) || _fell(id, f, b, Tree.debits, i, earlier, word)) return true;
        }
        if (f.header.prev == 0) return false;
        (was, is_) = (payoutTree(l, b), payoutTree(l, f));
        for (uint32 i = 1; i <= PAYEES; ++i) {
            if (_fell(id, f, b, Tree.payouts, i, wordAt(was, i), wordAt(is_, i))) return true;
        }
        return false;
    }

    function _grewLate(
        uint64 id,
        Filed memory f,
        Filed memory b,
        uint32 i,
        IJudge.Word memory earlier,
        IJudge.Word memory word
    ) private returns (bool) {
        return _tries(
            abi.encodeCall(
                referee.proveDebitAfterExit, (lane, id, f.header, b.header, consumerOf[i], earlier, word)
            )
        );
    }

    function _fell(
        uint64 id,
        Filed memory f,
        Filed memory b,
        Tree tree,
        uint32 index,
        IJudge.Word memory earlier,
        IJudge.Word memory word
    ) private returns (bool) {
        return _tries(
            abi.encodeCall(referee.proveRegression, (lane, id, f.header, b.header, tree, index, earlier, word))
        );
    }

    // ------------------------------------------------------------------ PriceJudge's proofs

    function _pricesProven(uint256 l, uint64 id, Filed memory f, Filed memory b) private returns (bool) {
        for (uint64 place; place < callsIn(f); ++place) {
            IJudge.Opening memory opening = openingAt(l, f, place);
            bytes memory terms = termsAt(f, place);
            if (_pleads(abi.encodeCall(judge.proveBadPrice, (lane, id, f.header, opening, terms)))) return true;
            if (place != 0) continue;
            if (_pleads(abi.encodeCall(judge.proveBadRoles, (lane, id, f.header, opening, terms)))) return true;
        }
        (IJudge.Openings memory run, bytes[] memory terms_, uint8[] memory termsOf) = _run(l, f);
        for (uint32 i = 1; i <= PAYEES; ++i) {
            if (_runProven(l, id, f, i, run, terms_, termsOf) || _payoutProven(l, id, f, b, i)) return true;
        }
        return false;
    }

    /// @dev All receipts of a batch: they are at most sixteen.
    function _run(uint256 l, Filed memory f)
        private
        view
        returns (IJudge.Openings memory run, bytes[] memory terms, uint8[] memory termsOf)
    {
        uint64 calls = callsIn(f);
        (run.records, terms, termsOf) = (new bytes[](calls), new bytes[](calls), new uint8[](calls));
        for (uint64 place; place < calls; ++place) {
            run.records[place] = PlainReceipts.encode(receiptAt(l, f, logOf(f), place));
            (terms[place], termsOf[place]) = (termsAt(f, place), uint8(place));
        }
        if (calls != 0) run.proof = receiptTree(l, f, logOf(f)).proveRange(0, calls);
    }

    function _runProven(
        uint256 l,
        uint64 id,
        Filed memory f,
        uint32 i,
        IJudge.Openings memory run,
        bytes[] memory terms,
        uint8[] memory termsOf
    ) private returns (bool) {
        IJudge.Word memory line = wordAt(lineTree(l, f), uint256(i) << ((f.header.heights >> 40) & 0xff));
        return _pleads(abi.encodeCall(judge.proveBadRun, (lane, id, f.header, i, run, terms, termsOf, line)));
    }

    function _payoutProven(uint256 l, uint64 id, Filed memory f, Filed memory b, uint32 i) private returns (bool) {
        Sparse memory t = lineTree(l, f);
        uint256 depth = (f.header.heights >> 32) & 0xff;
        IJudge.Word memory lines = IJudge.Word(t.node(depth, i), t.proveNode(depth, i));
        (IJudge.Word memory was, IJudge.Word memory is_) = (wordAt(payoutTree(l, b), i), wordAt(payoutTree(l, f), i));
        return _pleads(abi.encodeCall(judge.provePayout, (lane, id, f.header, b.header, i, was, is_, lines)));
    }

    // ------------------------------------------------------------------ the Referee's proofs of receipts

    function _receiptsProven(uint256 l, uint64 id, Filed memory f, Filed memory b) private returns (bool) {
        Log memory log = logOf(f);
        for (uint32 i = 1; i <= keyNumber[l]; ++i) {
            IJudge.Row memory row;
            if (f.header.prev != 0) row = rowOf(l, b, i);
            else (row.number, row.key) = (i, gateways[l][i]);
            IJudge.Word memory word = wordAt(rowTree(l, f, log), i);
            if (_tries(abi.encodeCall(referee.proveBrokenLog, (lane, id, f.header, b.header, row, word)))) return true;
        }
        if (callsIn(f) == 0) return false;
        if (_tries(abi.encodeCall(referee.proveReceiptTime, (lane, id, f.header, openingAt(l, f, 0))))) return true;
        IJudge.Signed memory said = signedBy(gatewayKey(l, log.number), signedAt(l, f, log, 0));
        return _tries(_omission(l, id, said, log.number));
    }

    /// @dev Of a key's first receipt in the batch.
    function _omission(uint256 l, uint64 id, IJudge.Signed memory said, uint32 number) private view returns (bytes memory) {
        Filed memory f = fileOf(l, id);
        IJudge.Word memory stands = wordAt(treeOf(l, f, Tree.receipts), 0);
        return _omitted(id, f.header, before(l, id).header, said, rowOf(l, f, number), stands);
    }

    function _omitted(
        uint64 id,
        Header memory h,
        Header memory prev,
        IJudge.Signed memory said,
        IJudge.Row memory row,
        IJudge.Word memory stands
    ) private view returns (bytes memory) {
        return abi.encodeCall(referee.proveOmittedReceipt, (lane, id, h, prev, said, row, stands));
    }

    /// @dev Whoever finds a key that was revoked long ago signs with it whatever it likes: it counts for nothing.
    function leaks(uint256 l, uint256 which) external inLane(l) {
        l %= LANES;
        uint32 number = uint32(1 + which % KEYS);
        uint64 id = settlement.heads(lane).next - 1;
        if (number >= keyNumber[l] || id == settlement.heads(lane).finalized) return;
        Filed memory f = fileOf(l, id);
        uint256 until = keys.gateways(lane, gateways[l][number]).revokedAt + 2 * uint256(DAY);
        if (f.withheld || f.header.closedAt < until) return;
        _abuses(l, id, number, which);
    }

    function _abuses(uint256 l, uint64 id, uint32 number, uint256 which) private {
        Filed memory f = fileOf(l, id);
        IJudge.Signed memory said = _foundSigned(l, f, number, which);
        IJudge.Signed memory other = _foundSigned(l, f, number, which + 1);
        if (_isHeard(_omission(l, id, said, number))) broken = "C10: a key revoked long ago omits nothing";
        if (_isHeard(_doubled(l, number, said, other))) broken = "C10: a key revoked long ago signs nothing twice";
    }

    function _isHeard(bytes memory accusation) private returns (bool done) {
        (done,) = address(referee).call(accusation);
    }

    function _foundSigned(uint256 l, Filed memory f, uint32 number, uint256 which)
        private
        view
        returns (IJudge.Signed memory)
    {
        Receipt memory r;
        (r.lane, r.gateway, r.consumer, r.callId) = (lane, gateways[l][number], consumerOf[1], bytes32(which));
        r.endedAt = uint64(f.header.closedAt - DAY - 1) * 1000;
        Log memory log = logOf(f);
        r.seq = log.first[number] + log.count[number] + uint64(which % 2);
        return signedBy(gatewayKey(l, number), r);
    }

    // ------------------------------------------------------------------ offences

    /// @dev A gateway signs two receipts for one number, which is punished once.
    function _offends(uint256 l) internal override {
        Filed memory f = finalOf(l);
        uint32 number = keyNumber[l];
        Receipt memory r;
        Log memory log = logOf(f);
        (r.lane, r.gateway, r.seq) = (lane, gateways[l][number], log.first[number] + log.count[number] + uint64(++nonce));
        IJudge.Signed memory one = signedBy(gatewayKey(l, number), r);
        r.price = 1;
        bytes memory twice = _doubled(l, number, one, signedBy(gatewayKey(l, number), r));
        if (!_tries(twice)) broken = "C12: two receipts for one number are an offence";
        vm.prank(challenger);
        if (_isHeard(twice)) broken = "C12: an offence is punished once";
    }

    function _doubled(uint256 l, uint32 number, IJudge.Signed memory one, IJudge.Signed memory other)
        private
        view
        returns (bytes memory)
    {
        Filed memory f = finalOf(l);
        IJudge.Row memory row;
        if (f.header.era != 0) row = rowOf(l, f, number);
        return abi.encodeCall(referee.proveDoubleReceipt, (lane, f.header, one, other, row));
    }

    // ------------------------------------------------------------------ to whom

    function _tries(bytes memory accusation) private returns (bool) {
        return _says(address(referee), accusation);
    }

    function _pleads(bytes memory accusation) private returns (bool) {
        return _says(address(judge), accusation);
    }

    function _says(address court, bytes memory accusation) private returns (bool done) {
        bytes memory why;
        vm.prank(challenger);
        (done, why) = court.call(accusation);
        if (!done && bytes4(why) != IJudge.NotProven.selector) broken = "an accusation is malformed";
    }
}
