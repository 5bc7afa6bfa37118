// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../src/Headers.sol";
import {Unit} from "../src/Meters.sol";
import {Receipt, Receipts} from "../src/Receipt.sol";
import {IBidBook} from "../src/interfaces/IBidBook.sol";
import {IJudge} from "../src/interfaces/IJudge.sol";
import {IMaker} from "../src/interfaces/IMaker.sol";
import {IPriceJudge} from "../src/interfaces/IPriceJudge.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Base} from "./Base.sol";
import {TestMaker} from "./Judges.sol";
import {PlainReceipts} from "./PlainReceipts.sol";
import {Sparse, Trees} from "./Trees.sol";

/// @dev A batch in parts, so that a test changes one of them and posts the rest as it is.
struct Batch {
    Receipt[] receipts;
    Sparse places;
    Sparse rows;
    Sparse lines;
    uint256 runsHeight;
    Sparse paid;
    Sparse owed;
    uint40 closedAt;
}

/// @dev Base with the real judges, book and Registry, a gateway, and batches of receipts. An accusation is a call's data:
/// `convicts` and `acquits` send it to the judge whose function it is.
abstract contract Court is Base {
    using Trees for Sparse;

    uint32 internal constant EPOCH = 1 hours;
    uint32 internal constant FREEZE = 5 minutes;
    uint256 internal constant GATEWAY = 3001;
    uint64 internal constant PRICE = 10;

    address internal gateway = vm.addr(GATEWAY);
    IReferee internal referee;
    IPriceJudge internal judge;
    IRegistry internal registry;
    IBidBook internal bidBook;

    function setUp() public virtual override {
        super.setUp();
        referee = IReferee(settlement.referee());
        judge = IPriceJudge(settlement.prices());
    }

    function makers() internal override returns (IMaker[3] memory m, bytes[3] memory arguments) {
        registry = IRegistry(create("Registry", abi.encode(token, uint64(1), EPOCH, FREEZE)));
        bidBook = IBidBook(create("BidBook", abi.encode(registry)));
        m[0] = IMaker(address(new TestMaker()));
        (m[1], arguments[1]) = (makerOf("Referee"), abi.encode(registry));
        (m[2], arguments[2]) = (makerOf("PriceJudge"), abi.encode(registry, bidBook));
    }

    function populate() internal virtual override {
        super.populate();
        for (uint256 i = 1; i <= PAYEES; ++i) {
            registry.registerPayee(payee(i));
        }
        vm.prank(operator);
        keys.addGateway(lane, gateway);
    }

    // ------------------------------------------------------------------ receipts

    /// @dev A call of consumer 1 that ends now.
    function aReceipt(uint64 seq) internal view returns (Receipt memory r) {
        (r.callId, r.lane, r.gateway, r.seq) = (keccak256(abi.encode("call", seq)), lane, gateway, seq);
        (r.consumer, r.terms, r.epoch) = (consumer(1), keccak256("terms"), uint64(block.timestamp / EPOCH));
        (r.price, r.charge, r.endedAt) = (PRICE, PRICE, uint64(block.timestamp * 1000));
        r.units = new Unit[](1);
        r.units[0] = Unit(0, 1);
    }

    function receiptsFrom(uint64 first, uint256 count) internal view returns (Receipt[] memory rs) {
        rs = new Receipt[](count);
        for (uint64 i; i < count; ++i) {
            rs[i] = aReceipt(first + i);
        }
    }

    function leafOf(Receipt memory r) internal view returns (bytes32) {
        return Trees.receiptLeaf(lane, Receipts.hash(r), r.charge);
    }

    function signedBy(uint256 key, Receipt memory r) internal view returns (IJudge.Signed memory) {
        return IJudge.Signed(PlainReceipts.encode(r), signed(key, tollwayDigest(Receipts.hash(r))));
    }

    // ------------------------------------------------------------------ batches

    /// @dev An honest batch of one gateway's receipts, in order: consumer 1 spends, payee 1 earns, lines are a bare sum.
    function aBatch(Receipt[] memory rs) internal returns (Batch memory b) {
        b.receipts = rs;
        bytes32[] memory leaves = new bytes32[](rs.length);
        uint64 charged;
        for (uint256 i; i < rs.length; ++i) {
            leaves[i] = leafOf(rs[i]);
            charged += rs[i].charge;
        }
        b.places = Trees.dense(leaves);
        b.rows = rowsOf(rs[0].seq, uint64(rs.length));
        bytes32[] memory sums = new bytes32[](1);
        sums[0] = bytes32(uint256(charged));
        b.lines = Trees.dense(sums);
        while (rs.length > 16 << b.runsHeight) ++b.runsHeight;
        b.lines.height = b.runsHeight;
        spend(1, 1, charged);
        (b.paid, b.owed, b.closedAt) = (payouts(), debits(), uint40(block.timestamp));
    }

    function rowsOf(uint64 first, uint64 count) internal view returns (Sparse memory) {
        bytes32[] memory rows = new bytes32[](2);
        rows[1] = Trees.gatewayLeaf(lane, 1, gateway, first, count);
        return Trees.dense(rows);
    }

    /// @dev The zero word at a place, and nothing paid for it.
    function bar(Batch memory b, uint256 place) internal {
        uint64 charge = b.receipts[place].charge;
        bytes32[] memory leaves = new bytes32[](b.receipts.length);
        for (uint256 i; i < leaves.length; ++i) {
            leaves[i] = i == place ? bytes32(0) : b.places.node(b.places.height, i);
        }
        b.places = Trees.dense(leaves);
        b.lines.words[0] = bytes32(uint256(b.lines.words[0]) - charge);
        (debited[1], earned[1]) = (debited[1] - charge, earned[1] - charge);
        (b.paid, b.owed) = (payouts(), debits());
    }

    function headOf(Batch memory b) internal view returns (Header memory h) {
        h.prev = last.era == 0 ? bytes24(0) : idOf(last);
        h.era = settlement.lanes(lane).era;
        h.closedAt = b.closedAt;
        uint256 parties = b.lines.height - b.runsHeight;
        h.heights = heightsOf(b.places.height, b.paid.height, b.owed.height, b.rows.height, parties, b.runsHeight);
        (h.receiptsRoot, h.payoutRoot, h.debitRoot) = (b.places.root(), b.paid.root(), b.owed.root());
        (h.linesRoot, h.gatewaysRoot) = (b.lines.root(), b.rows.root());
    }

    /// @dev Posts it; returns its header.
    function postBatch(Batch memory b) internal returns (Header memory h) {
        h = headOf(b);
        post(h);
    }

    // ------------------------------------------------------------------ what is shown

    function wordAt(Sparse memory t, uint256 place) internal pure returns (IJudge.Word memory) {
        if (place >> t.height != 0) return noWord();
        return IJudge.Word(t.node(t.height, place), t.prove(place));
    }

    function noWord() internal pure returns (IJudge.Word memory) {}

    function row(Batch memory b, uint64 first, uint64 count) internal view returns (IJudge.Row memory) {
        return IJudge.Row(1, gateway, first, count, b.rows.prove(1));
    }

    function noRow() internal view returns (IJudge.Row memory) {
        return IJudge.Row(1, gateway, 0, 0, new bytes32[](0));
    }

    function opening(Batch memory b, uint64 place) internal pure returns (IJudge.Opening memory) {
        return IJudge.Opening(place, PlainReceipts.encode(b.receipts[place]), b.places.prove(place));
    }

    function openings(Batch memory b, uint64 start, uint256 count) internal pure returns (IJudge.Openings memory o) {
        (o.start, o.records) = (start, new bytes[](count));
        for (uint256 i; i < count; ++i) {
            if (b.places.node(b.places.height, start + i) != 0) {
                o.records[i] = PlainReceipts.encode(b.receipts[start + i]);
            }
        }
        o.proof = b.places.proveRange(start, count);
    }

    // ------------------------------------------------------------------ verdicts

    /// @dev The accusation is proven: the lane falls, and half its bond is the challenger's. Everything is as before
    /// afterwards, so that one test can ask for several verdicts.
    function convicts(address court, bytes memory accusation, string memory what) internal {
        uint256 state = vm.snapshotState();
        ISettlement.Head memory before = settlement.heads(lane);
        uint256 owed = settlement.owed(challenger);
        uint256 bond = settlement.books(lane).bond;
        vm.prank(challenger);
        (bool done, bytes memory why) = court.call(accusation);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(why, 0x20), mload(why))
            }
        }
        eq(settlement.owed(challenger) - owed, bond / 2, what);
        eq(settlement.heads(lane).next, before.finalized + 1, what);
        vm.assertFalse(settlement.lanes(lane).active, what);
        vm.revertToState(state);
    }

    /// @dev The same of the Referee.
    function convicts(bytes memory accusation, string memory what) internal {
        convicts(address(referee), accusation, what);
    }

    function refusedBy(address court, bytes memory accusation, bytes4 error_, string memory what) internal {
        uint256 state = vm.snapshotState();
        vm.prank(challenger);
        (bool done, bytes memory why) = court.call(accusation);
        vm.assertFalse(done, what);
        vm.assertEq(bytes32(bytes4(why)), bytes32(error_), what);
        vm.revertToState(state);
    }

    function acquits(bytes memory accusation, string memory what) internal {
        refusedBy(address(referee), accusation, IJudge.NotProven.selector, what);
    }

    function malformed(bytes memory accusation, string memory what) internal {
        refusedBy(address(referee), accusation, IJudge.ProofInvalid.selector, what);
    }
}
