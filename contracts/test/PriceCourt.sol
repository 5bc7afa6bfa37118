// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask} from "../src/Meters.sol";
import {Receipt} from "../src/Receipt.sol";
import {Role} from "../src/Roles.sol";
import {IJudge} from "../src/interfaces/IJudge.sol";
import {IPriceJudge} from "../src/interfaces/IPriceJudge.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Batch, Court} from "./Court.sol";
import {PlainLine, PlainPrices, PlainTerms} from "./PlainPrices.sol";
import {Sparse, Trees} from "./Trees.sol";

/// @dev A model of payee 1's with a bid of its own, served by payee 2; the operator bids as gateway of its lane.
abstract contract PriceCourt is Court {
    bytes32 internal constant MODEL = keccak256("model");
    uint24 internal constant OWNER_PPM = 100_000;
    uint24 internal constant PROTOCOL_PPM = 20_000;
    uint24 internal constant GATEWAY_PPM = 10_000;
    uint64 internal constant ASK = 100;
    uint256 internal constant TREASURY_INDEX = PAYEES + 1;

    function populate() internal virtual override {
        super.populate();
        registry.registerPayee(treasury);
        earned = new uint64[](PAYEES + 3);
        register(payee(1), MODEL, new IRegistry.Parent[](0), 0);
        bid(payee(1), MODEL, Role.maker, OWNER_PPM, noAsks());
        bid(payee(2), MODEL, Role.compute, 0, asksOf(ASK));
        bid(operator, ofLane(), Role.gateway, GATEWAY_PPM, noAsks());
        nextEpoch();
    }

    function payouts() internal view override returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](earned.length);
        for (uint32 i = 1; i < earned.length; ++i) {
            leaves[i] = Trees.payoutLeaf(lane, i, registry.payeeAt(i), earned[i]);
        }
        return Trees.dense(leaves);
    }

    // ------------------------------------------------------------------ book and Registry

    function ofLane() internal view returns (bytes32) {
        return bytes32(uint256(uint160(lane)));
    }

    function nextEpoch() internal {
        vm.warp((block.timestamp / EPOCH + 1) * EPOCH);
    }

    function bid(address who, bytes32 subject, Role role, uint24 ratio, Ask[] memory asks) internal {
        vm.prank(who);
        bidBook.placeBid(subject, role, ratio, asks);
    }

    function register(address who, bytes32 id, IRegistry.Parent[] memory parents, bytes32 terms) internal {
        vm.startPrank(who);
        registry.commit(keccak256(abi.encode(id, who, bytes32(0))));
        vm.warp(block.timestamp + 1);
        registry.register(id, parents, terms, 0);
        vm.stopPrank();
    }

    /// @dev A bidder's last bid, as it is shown.
    function shown(address who, bytes32 subject, Role role, uint24 ratio, Ask[] memory asks)
        internal
        view
        returns (IPriceJudge.BidShown memory s)
    {
        (, s.bid.fromEpoch, s.number) = bidBook.lastBid(subject, role, who);
        (s.bid.ratioPpm, s.bid.asks) = (ratio, asks);
    }

    function noBid() internal pure returns (IPriceJudge.BidShown memory) {}

    // ------------------------------------------------------------------ terms

    function line(address party, Role role, uint24 ratio, Ask[] memory asks) internal pure returns (PlainLine memory) {
        return PlainLine(party, uint8(role), ratio, asks);
    }

    /// @dev Owner, provider, gateway, protocol: what is due for a root call of MODEL.
    function honestTerms() internal view returns (PlainTerms memory t) {
        (t.subject, t.lines) = (MODEL, new PlainLine[](4));
        t.lines[0] = line(payee(1), Role.maker, OWNER_PPM, noAsks());
        t.lines[1] = line(payee(2), Role.compute, 0, asksOf(ASK));
        t.lines[2] = line(operator, Role.gateway, GATEWAY_PPM, noAsks());
        t.lines[3] = line(treasury, Role.protocol, PROTOCOL_PPM, noAsks());
    }

    function withLine(PlainTerms memory t, PlainLine memory l) internal pure returns (PlainTerms memory) {
        PlainLine[] memory lines = new PlainLine[](t.lines.length + 1);
        for (uint256 i; i < t.lines.length; ++i) {
            lines[i] = t.lines[i];
        }
        lines[t.lines.length] = l;
        t.lines = lines;
        return t;
    }

    function withoutLine(PlainTerms memory t, uint256 left) internal pure returns (PlainTerms memory) {
        PlainLine[] memory lines = new PlainLine[](t.lines.length - 1);
        for (uint256 i; i < lines.length; ++i) {
            lines[i] = t.lines[i < left ? i : i + 1];
        }
        t.lines = lines;
        return t;
    }

    // ------------------------------------------------------------------ receipts and batches

    function priced(uint64 seq, PlainTerms memory t) internal view returns (Receipt memory r) {
        r = aReceipt(seq);
        r.terms = keccak256(PlainPrices.encode(t));
        bool sound;
        uint256 price;
        uint256 charge;
        (sound, price, charge,) = PlainPrices.split(t, r.units, r.subcallTotal);
        require(sound, "terms allow no price");
        (r.price, r.charge) = (uint64(price), uint64(charge));
    }

    function pricedFrom(uint64 first, uint64 count, PlainTerms memory t) internal view returns (Receipt[] memory rs) {
        rs = new Receipt[](count);
        for (uint64 i; i < count; ++i) {
            rs[i] = priced(first + i, t);
        }
    }

    /// @dev An honest batch of receipts of one terms: payees earn what their lines say, run by run.
    function aPricedBatch(Receipt[] memory rs, PlainTerms memory t) internal returns (Batch memory b) {
        uint64 was = earned[1];
        b = aBatch(rs);
        earned[1] = was; // the bare sum that `aBatch` paid
        uint256 runs = (rs.length + 15) / 16;
        bytes32[] memory leaves = new bytes32[](8 << b.runsHeight);
        for (uint32 run; run < runs; ++run) {
            uint64[] memory due = new uint64[](8);
            for (uint256 i = 16 * run; i < rs.length && i < 16 * run + 16; ++i) {
                _add(due, rs[i], t);
            }
            for (uint32 party = 1; party < earned.length; ++party) {
                leaves[uint256(party) << b.runsHeight | run] = Trees.lineLeaf(lane, party, run, due[party]);
                earned[party] += due[party];
            }
        }
        b.lines = Trees.dense(leaves);
        b.paid = payouts();
    }

    function _add(uint64[] memory due, Receipt memory r, PlainTerms memory t) private view {
        (,,, uint256[] memory amounts) = PlainPrices.split(t, r.units, r.subcallTotal);
        for (uint256 i; i < t.lines.length; ++i) {
            due[registry.payeeIndex(t.lines[i].party)] += uint64(amounts[i]);
        }
    }

    /// @dev A batch of one receipt of these terms, posted, with its lines as a bare sum.
    function postOne(PlainTerms memory t) internal returns (Batch memory b) {
        return postOne(t, false);
    }

    function postOne(PlainTerms memory t, bool subcall) internal returns (Batch memory b) {
        Receipt[] memory rs = pricedFrom(last.era == 0 ? 1 : 2, 1, t);
        if (subcall) rs[0].parent = keccak256("parent");
        b = aBatch(rs);
        postBatch(b);
    }

    // ------------------------------------------------------------------ verdicts

    function lies(bytes memory accusation, string memory what) internal {
        convicts(address(judge), accusation, what);
    }

    function holds(bytes memory accusation, string memory what) internal {
        refusedBy(address(judge), accusation, IJudge.NotProven.selector, what);
    }

    function invalid(bytes memory accusation, string memory what) internal {
        refusedBy(address(judge), accusation, IJudge.ProofInvalid.selector, what);
    }
}
