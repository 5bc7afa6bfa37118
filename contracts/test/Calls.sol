// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../src/interfaces/IReferee.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Receipts} from "../src/Receipts.sol";
import {Base} from "./Base.sol";
import {Trees} from "./Trees.sol";

/// @dev Batches with all that stands in them: receipts, terms, lines, journals. The treasury is the last payee.
abstract contract Calls is Base {
    bytes32 internal constant MODEL = keccak256("model");
    uint8 internal constant MAKER = 1;
    uint8 internal constant COMPUTE = 3;
    uint8 internal constant GATEWAY = 7;
    uint8 internal constant PROTOCOL = 8;
    uint24 internal constant PROTOCOL_PPM = 20_000;
    uint32 internal constant CONSUMER = 1 << 31;
    uint256 internal constant RUN = 64;

    /// @dev What a run of receipts pays a payee or charges a consumer.
    struct Line {
        uint32 party;
        uint32 run;
        uint64 amount;
    }

    struct Batch {
        ISettlement.Header header;
        Receipts.Receipt[] receipts;
        Line[] lines;
        bytes table;
        bytes32[] payouts;
        bytes32[] debits;
    }

    /// @dev The arguments of `proveBadRun`: as one tuple, for they are more than the stack holds.
    struct RunProof {
        uint32 lane;
        uint64 id;
        ISettlement.Header header;
        uint32 run;
        uint32 party;
        address account;
        Receipts.Receipt[] receipts;
        bytes[] terms;
        uint8[] termsOf;
        uint256 height;
        bytes32[] proof;
        IReferee.Boundary line;
    }

    /// @dev The arguments of `provePayout`, likewise.
    struct PayoutProof {
        uint32 lane;
        uint64 id;
        ISettlement.Header header;
        ISettlement.Header prevHeader;
        ISettlement.Tree tree;
        uint32 index;
        IReferee.AccountLeaf before;
        IReferee.AccountLeaf afterwards;
        IReferee.Boundary low;
        IReferee.Boundary high;
    }

    /// @dev Receipts given out since the last batch.
    Receipts.Receipt[] internal given;
    mapping(bytes32 id => bytes) internal termsOf;

    constructor() {
        treasury = payee(PAYEES);
    }

    // ------------------------------------------------------------------ terms

    function termsLine(address party, uint8 role, uint24 ratioPpm, uint64 perCall, uint64 perOutputToken)
        internal
        pure
        returns (bytes memory)
    {
        uint64 none;
        return abi.encodePacked(party, role, ratioPpm, perCall, none, perOutputToken, none, none, none);
    }

    /// @dev Terms of `count` lines that are neither listed nor carved.
    function termsOfLines(uint8 count, bytes memory lines) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(1), uint8(0), uint8(0), uint64(0), MODEL, count, lines);
    }

    /// @dev A maker at 10 %, a compute provider at 10 a call, the protocol at 2 %.
    function someTerms() internal view returns (bytes memory) {
        return termsOfLines(
            3,
            bytes.concat(
                termsLine(payee(1), MAKER, 100_000, 0, 0),
                termsLine(payee(2), COMPUTE, 0, 10, 0),
                termsLine(treasury, PROTOCOL, PROTOCOL_PPM, 0, 0)
            )
        );
    }

    // ------------------------------------------------------------------ calls

    /// @dev The next receipt, priced; nobody has been given it yet.
    function call(uint256 from, bytes memory terms) internal view returns (Receipts.Receipt memory r) {
        r.seq = uint64(last.firstCall + last.calls + given.length + 1);
        r.callId = keccak256(abi.encode(consumer(from), r.seq));
        r.lane = lane;
        r.gateway = operator;
        r.consumer = consumer(from);
        r.terms = keccak256(terms);
        r.epoch = bidBook.epoch();
        r.calls = 1;
        r.endedAt = uint64(block.timestamp * 1000);
        (, uint256 price, uint256 charge,,) = referee.price(r, terms);
        (r.price, r.charge) = (uint64(price), uint64(charge));
    }

    /// @dev Gives a receipt out: its consumer is debited, its lines' parties earn.
    function give(Receipts.Receipt memory r, bytes memory terms) internal {
        termsOf[r.terms] = terms;
        given.push(r);
        debited[settlement.accounts(lane, r.consumer).index] += r.charge;
        (,,, address[] memory payees, uint256[] memory amounts) = referee.price(r, terms);
        for (uint256 i; i < payees.length; ++i) {
            if (amounts[i] != 0) earned[registry.payeeIndex(payees[i])] += uint64(amounts[i]);
        }
    }

    function serve(uint256 from) internal {
        give(call(from, someTerms()), someTerms());
    }

    // ------------------------------------------------------------------ batches

    function row(address gateway, uint64 first, uint32 count) internal pure returns (bytes memory) {
        return abi.encodePacked(gateway, first, count);
    }

    /// @dev The honest batch over what was given out. A liar changes parts of it before it is sent.
    function draft() internal view returns (Batch memory b) {
        b.receipts = given;
        b.lines = linesOf(b.receipts);
        b.table = row(operator, uint64(last.firstCall + last.calls + 1), uint32(given.length));
        (b.payouts, b.debits) = (payoutLeaves(), debitLeaves());
    }

    function seal(Batch memory b) internal view {
        ISettlement.Header memory h = b.header;
        h.prev = last.payoutRoot == 0 ? bytes32(0) : keccak256(abi.encode(last));
        h.receiptsRoot = Trees.root(receiptLeaves(b.receipts));
        h.payoutRoot = Trees.root(b.payouts);
        h.debitRoot = Trees.root(b.debits);
        h.linesRoot = Trees.root(lineLeaves(b.lines));
        h.journals = keccak256(b.table);
        h.firstCall = last.firstCall + last.calls;
        h.calls = uint32(b.receipts.length);
    }

    function send(Batch memory b) internal returns (uint64 id) {
        seal(b);
        id = post(b.header);
        delete given;
    }

    function linesOf(Receipts.Receipt[] memory receipts) internal view returns (Line[] memory lines) {
        uint256 runs = (receipts.length + RUN - 1) / RUN;
        uint64[] memory sums = new uint64[]((PAYEES + CONSUMERS) * runs);
        for (uint256 i; i < receipts.length; ++i) _book(sums, runs, i / RUN, receipts[i]);
        uint256 count;
        for (uint256 i; i < sums.length; ++i) if (sums[i] != 0) ++count;
        lines = new Line[](count);
        count = 0;
        for (uint256 i; i < sums.length; ++i) {
            if (sums[i] == 0) continue;
            uint256 party = i / runs;
            party = party < PAYEES ? party + 1 : (party - PAYEES + 1) | CONSUMER;
            lines[count++] = Line(uint32(party), uint32(i % runs), sums[i]);
        }
    }

    function _book(uint64[] memory sums, uint256 runs, uint256 run, Receipts.Receipt memory r) private view {
        sums[(PAYEES + settlement.accounts(lane, r.consumer).index - 1) * runs + run] += r.charge;
        (,,, address[] memory payees, uint256[] memory amounts) = referee.price(r, termsOf[r.terms]);
        for (uint256 i; i < payees.length; ++i) {
            if (amounts[i] != 0) sums[(registry.payeeIndex(payees[i]) - 1) * runs + run] += uint64(amounts[i]);
        }
    }

    function receiptLeaf(Receipts.Receipt memory r) internal pure returns (bytes32) {
        return Trees.mark(keccak256(abi.encodePacked(uint8(3), Receipts.hash(r))), r.charge);
    }

    function receiptLeaves(Receipts.Receipt[] memory receipts) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](receipts.length);
        for (uint256 i; i < leaves.length; ++i) leaves[i] = receiptLeaf(receipts[i]);
    }

    function lineLeaves(Line[] memory lines) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](lines.length);
        for (uint256 i; i < leaves.length; ++i) {
            Line memory l = lines[i];
            leaves[i] = Trees.mark(keccak256(abi.encodePacked(uint8(4), l.party, l.run, l.amount)), l.amount);
        }
    }

    // ------------------------------------------------------------------ proofs

    function opening(Batch memory b, uint256 place) internal view returns (IReferee.Opening memory) {
        Receipts.Receipt memory r = b.receipts[place];
        return IReferee.Opening(r, termsOf[r.terms], place, Trees.prove(receiptLeaves(b.receipts), place));
    }

    function signedReceipt(Receipts.Receipt memory r) internal view returns (IReferee.SignedReceipt memory) {
        return IReferee.SignedReceipt(r, signed(1, tollwayDigest(Receipts.hash(r))));
    }

    /// @dev The leaf at a rank: empty beyond the lines, of no proof beyond the tree.
    function lineAt(Batch memory b, uint256 rank) internal pure returns (IReferee.LineLeaf memory leaf) {
        bytes32[] memory leaves = lineLeaves(b.lines);
        if (rank >= uint256(1) << Trees.height(leaves.length)) return leaf;
        leaf.proof = Trees.prove(leaves, rank);
        if (rank >= leaves.length) return leaf;
        Line memory l = b.lines[rank];
        (leaf.party, leaf.run, leaf.amount) = (l.party, l.run, l.amount);
    }

    /// @dev What shows a party's line of run 0, in a batch of one run.
    function runProof(uint64 id, Batch memory b, uint32 party) internal view returns (RunProof memory p) {
        (p.lane, p.id, p.header, p.party, p.receipts) = (lane, id, b.header, party, b.receipts);
        p.account = party & CONSUMER == 0 ? payee(party) : consumer(party ^ CONSUMER);
        p.terms = new bytes[](b.receipts.length);
        p.termsOf = new uint8[](b.receipts.length);
        for (uint8 i; i < p.terms.length; ++i) (p.terms[i], p.termsOf[i]) = (termsOf[b.receipts[i].terms], i);
        p.height = Trees.height(b.receipts.length);
        p.proof = Trees.proveRange(receiptLeaves(b.receipts), 0, b.receipts.length);
        p.line = edge(b, party, 0);
    }

    function proveBadRun(RunProof memory p) internal {
        _call(IReferee.proveBadRun.selector, abi.encode(p));
    }

    function provePayout(PayoutProof memory p) internal {
        _call(IReferee.provePayout.selector, abi.encode(p));
    }

    /// @dev A tuple's encoding is its offset, then what the arguments' would be.
    function _call(bytes4 selector, bytes memory tuple) private {
        bytes memory arguments = new bytes(tuple.length - 32);
        for (uint256 i; i < arguments.length; i += 32) {
            assembly ("memory-safe") {
                mstore(add(add(arguments, 0x20), i), mload(add(add(tuple, 0x40), i)))
            }
        }
        (bool done, bytes memory why) = address(referee).call(bytes.concat(selector, arguments));
        if (done) return;
        assembly ("memory-safe") {
            revert(add(why, 0x20), mload(why))
        }
    }

    /// @dev Where (party, run) stands, or would.
    function edge(Batch memory b, uint256 party, uint256 run) internal pure returns (IReferee.Boundary memory at_) {
        while (at_.rank < b.lines.length && _key(b.lines[at_.rank]) < (party << 32 | run)) ++at_.rank;
        if (at_.rank != 0) at_.left = lineAt(b, at_.rank - 1);
        at_.right = lineAt(b, at_.rank);
    }

    function _key(Line memory l) private pure returns (uint256) {
        return uint256(l.party) << 32 | l.run;
    }

    /// @dev The batch and all after it are void, the bond is gone and half of it is the challenger's.
    function fell(uint64 id) internal view {
        eq(settlement.head(lane).next, id, "void");
        eq(settlement.lanes(lane).bond, 0, "slashed");
        eq(token.balanceOf(challenger), BOND / 2, "rewarded");
    }
}
