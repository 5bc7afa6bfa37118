// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../../src/Headers.sol";
import {Receipt, Receipts} from "../../src/Receipt.sol";
import {Role} from "../../src/Roles.sol";
import {Unit} from "../../src/Meters.sol";
import {IBidBook} from "../../src/interfaces/IBidBook.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IMaker} from "../../src/interfaces/IMaker.sol";
import {IPriceJudge} from "../../src/interfaces/IPriceJudge.sol";
import {IQuestions} from "../../src/interfaces/IQuestions.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {PlainLine, PlainPrices, PlainTerms} from "../PlainPrices.sol";
import {PlainReceipts} from "../PlainReceipts.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Handler} from "./Handler.sol";

/// @dev Batches that the real judges can open: receipts with their terms, lines, and the rows of gateway keys that come and go.
abstract contract Files is Handler {
    using Trees for Sparse;

    uint32 internal constant EPOCH = 1 hours;
    uint24 internal constant TENTH = 100_000;
    uint32 internal constant KEYS = 7; // of a lane, one after the other
    uint256 internal constant FLOOR = 0.001 ether;
    uint256 internal constant DATA_FEE = 0.0002 ether;

    /// @dev Which key signed a batch's receipts, and each key's row.
    struct Log {
        uint32 number;
        uint64[KEYS + 1] first;
        uint64[KEYS + 1] count;
    }

    IRegistry internal registry;
    IQuestions internal questions;
    IReferee internal referee;
    IPriceJudge internal judge;
    mapping(bytes24 header => Log) private logs;
    mapping(uint256 l => uint32) internal keyNumber; // of the key that signs now
    mapping(uint256 l => address[KEYS + 1]) internal gateways;

    function makers() internal override returns (IMaker[3] memory m, bytes[3] memory arguments) {
        registry = IRegistry(create("Registry", abi.encode(token, uint64(1), EPOCH, uint32(5 minutes))));
        IBidBook book = IBidBook(create("BidBook", abi.encode(registry)));
        (m[0], arguments[0]) = (makerOf("Questions"), abi.encode(FLOOR, DATA_FEE));
        (m[1], arguments[1]) = (makerOf("Referee"), abi.encode(registry));
        (m[2], arguments[2]) = (makerOf("PriceJudge"), abi.encode(registry, book));
        for (uint256 i = 1; i <= PAYEES; ++i) registry.registerPayee(payee(i));
    }

    function populate() internal virtual override {
        super.populate();
        questions = IQuestions(settlement.questions());
        referee = IReferee(settlement.referee());
        judge = IPriceJudge(settlement.prices());
        for (uint256 l; l < LANES; ++l) _addsKey(l);
    }

    /// @dev A gateway's key goes and another comes. Neither comes twice, nor goes twice.
    function rotates(uint256 l, uint8 rarely) external inLane(l) {
        l %= LANES;
        if (rarely % 4 != 0 || keyNumber[l] == KEYS) return;
        address key = gateways[l][keyNumber[l]];
        vm.startPrank(operators[l]);
        keys.revokeGateway(lane, key);
        try keys.revokeGateway(lane, key) {
            broken = "C10: a key is revoked once";
        } catch {}
        try keys.addGateway(lane, key) {
            broken = "C10: a revoked key is never set again";
        } catch {}
        vm.stopPrank();
        _addsKey(l);
    }

    function _addsKey(uint256 l) private {
        address key = vm.addr(gatewayKey(l, ++keyNumber[l]));
        gateways[l][keyNumber[l]] = key;
        vm.prank(operators[l]);
        keys.addGateway(lanes[l], key);
    }

    function gatewayKey(uint256 l, uint32 number) internal pure returns (uint256) {
        return 4000 + 100 * l + number;
    }

    // ------------------------------------------------------------------ trees

    function logOf(Filed memory f) internal view returns (Log memory) {
        return logs[idOf(f.header)];
    }

    function shape(uint8 taller) internal pure override returns (uint48) {
        if (taller % 8 != 0) return heightsOf(4, 3, 3, 3, 3, 0);
        uint256 t = taller / 8; // up to 31
        return heightsOf(24 - t / 4, 3 + t / 2, 31 - t / 2, 16 - t / 4, 31 - t / 2, t % 21);
    }

    function seal(uint256 l, Filed memory f, Filed memory tip, uint40 closedAt) internal override {
        super.seal(l, f, tip, closedAt);
        Log memory log;
        if (tip.header.era != 0) log = logOf(tip);
        log.number = keyNumber[l];
        for (uint256 i = 1; i <= KEYS; ++i) {
            if (log.first[i] != 0) log.first[i] += log.count[i];
            else if (i == log.number) log.first[i] = 1;
            log.count[i] = 0;
        }
        for (uint256 k; k < f.sold.length; ++k) if (f.sold[k] != 0) ++log.count[log.number];
        f.header.receiptsRoot = receiptTree(l, f, log).root();
        f.header.linesRoot = lineTree(l, f).root();
        f.header.gatewaysRoot = rowTree(l, f, log).root();
        logs[idOf(f.header)] = log;
    }

    function treeOf(uint256 l, Filed memory f, Tree tree) internal view returns (Sparse memory) {
        if (tree == Tree.receipts) return receiptTree(l, f, logOf(f));
        if (tree == Tree.payouts) return payoutTree(l, f);
        if (tree == Tree.debits) return debitTree(l, f);
        return tree == Tree.lines ? lineTree(l, f) : rowTree(l, f, logOf(f));
    }

    function receiptTree(uint256 l, Filed memory f, Log memory log) internal view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](f.sold.length);
        uint64 calls = log.count[log.number];
        for (uint64 place; place < calls; ++place) {
            Receipt memory r = receiptAt(l, f, log, place);
            leaves[place] = Trees.receiptLeaf(lanes[l], Receipts.hash(r), r.charge);
        }
        return Trees.dense(leaves, f.header.heights & 0xff);
    }

    function lineTree(uint256 l, Filed memory f) internal view returns (Sparse memory t) {
        uint256 runs = (f.header.heights >> 40) & 0xff;
        uint256 count;
        for (uint256 i = 1; i <= PAYEES; ++i) if (f.due[i] != 0) ++count;
        t.height = ((f.header.heights >> 32) & 0xff) + runs;
        (t.places, t.words) = (new uint256[](count), new bytes32[](count));
        count = 0;
        for (uint32 i = 1; i <= PAYEES; ++i) {
            if (f.due[i] == 0) continue;
            (t.places[count], t.words[count++]) = (uint256(i) << runs, Trees.lineLeaf(lanes[l], i, 0, f.due[i]));
        }
    }

    function rowTree(uint256 l, Filed memory f, Log memory log) internal view returns (Sparse memory) {
        bytes32[] memory rows = new bytes32[](KEYS + 1);
        for (uint32 i = 1; i <= KEYS; ++i) {
            if (log.first[i] != 0) rows[i] = Trees.gatewayLeaf(lanes[l], i, gateways[l][i], log.first[i], log.count[i]);
        }
        return Trees.dense(rows, (f.header.heights >> 24) & 0xff);
    }

    // ------------------------------------------------------------------ receipts

    /// @dev The receipt at a place, as it was posted.
    function receiptAt(uint256 l, Filed memory f, Log memory log, uint64 place) internal view returns (Receipt memory r) {
        r = signedAt(l, f, log, place);
        if (f.forged && place == 0) r.responseDigest = "another";
    }

    /// @dev And as it was signed.
    function signedAt(uint256 l, Filed memory f, Log memory log, uint64 place) internal view returns (Receipt memory r) {
        uint256 k = _soldAt(f, place);
        (r.lane, r.gateway, r.seq) = (lanes[l], gateways[l][log.number], log.first[log.number] + place);
        (r.callId, r.parent) = (keccak256(abi.encode(r.gateway, r.seq)), "a workflow");
        (r.consumer, r.terms, r.epoch) = (consumerOf[1 + k % WHO], keccak256(termsAt(f, place)), f.header.closedAt / EPOCH);
        (r.price, r.charge, r.endedAt) = (f.sold[k], f.sold[k], uint64(f.header.closedAt) * 1000);
        r.units = new Unit[](1);
        r.units[0] = Unit(0, 1);
    }

    /// @dev A listed price, a tenth of it for the next payee. Weavers, for these need no bid.
    function termsAt(Filed memory f, uint64 place) internal view returns (bytes memory) {
        uint256 k = _soldAt(f, place);
        uint256 to = 1 + k / WHO;
        PlainTerms memory t;
        (t.subject, t.listed, t.listPrice) = ("a model", true, f.sold[k]);
        if (f.dear && place == 0) --t.listPrice;
        t.lines = new PlainLine[](2);
        (t.lines[0].party, t.lines[0].role) = (payeeOf[to], uint8(Role.weaver));
        (t.lines[1].party, t.lines[1].role) = (payeeOf[to % PAYEES + 1], uint8(Role.weaver));
        t.lines[1].ratioPpm = TENTH;
        return PlainPrices.encode(t);
    }

    function _soldAt(Filed memory f, uint64 place) private pure returns (uint256 k) {
        while (true) {
            if (f.sold[k] != 0) {
                if (place == 0) return k;
                --place;
            }
            ++k;
        }
    }

    // ------------------------------------------------------------------ what is shown

    function wordAt(Sparse memory t, uint256 place) internal pure returns (IJudge.Word memory word) {
        if (place >> t.height == 0) return IJudge.Word(t.node(t.height, place), t.prove(place));
    }

    function openingAt(uint256 l, Filed memory f, uint64 place) internal view returns (IJudge.Opening memory) {
        Log memory log = logOf(f);
        bytes memory record = PlainReceipts.encode(receiptAt(l, f, log, place));
        return IJudge.Opening(place, record, receiptTree(l, f, log).prove(place));
    }

    function rowOf(uint256 l, Filed memory f, uint32 number) internal view returns (IJudge.Row memory) {
        Log memory log = logOf(f);
        bytes32[] memory proof = rowTree(l, f, log).prove(number);
        return IJudge.Row(number, gateways[l][number], log.first[number], log.count[number], proof);
    }

    function signedBy(uint256 key, Receipt memory r) internal view returns (IJudge.Signed memory) {
        return IJudge.Signed(PlainReceipts.encode(r), signed(key, tollwayDigest(Receipts.hash(r))));
    }

    function callsIn(Filed memory f) internal view returns (uint64) {
        Log memory log = logOf(f);
        return log.count[log.number];
    }
}
