// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deduction} from "../../src/Terms.sol";
import {Header} from "../../src/Headers.sol";
import {Histories} from "../../src/Histories.sol";
import {Role} from "../../src/Roles.sol";
import {IBidBook} from "../../src/interfaces/IBidBook.sol";
import {IPriceJudge} from "../../src/interfaces/IPriceJudge.sol";
import {Batch} from "../Court.sol";
import {PlainPrices, PlainTerms} from "../PlainPrices.sol";
import {PriceCourt} from "../PriceCourt.sol";

/// @dev Lines that nobody bid, that were bid otherwise, or that do not belong to the call.
contract PriceJudgeTermsTest is PriceCourt {
    // ------------------------------------------------------------------ proveBadRoles

    function test_BadRoles_TheProtocolsLine_OfRootCallsOnly() external {
        holds(_roles(honestTerms(), false), "as due");
        lies(_roles(withoutLine(honestTerms(), 3), false), "left out");
        PlainTerms memory t = honestTerms();
        t.lines[3].party = operator;
        lies(_roles(t, false), "another treasury");
        t = honestTerms();
        t.lines[3].ratioPpm -= 1;
        lies(_roles(t, false), "another ratio");
        t = honestTerms();
        t.lines[3].asks = asksOf(0);
        lies(_roles(t, false), "an ask of 0");
        t = withLine(honestTerms(), line(treasury, Role.protocol, PROTOCOL_PPM, noAsks()));
        lies(_roles(t, false), "twice");
    }

    function test_BadRoles_OfASubcall() external {
        holds(_roles(withoutLine(withoutLine(honestTerms(), 3), 2), true), "neither protocol nor gateway");
        lies(_roles(withoutLine(honestTerms(), 3), true), "a gateway's line");
        lies(_roles(withoutLine(honestTerms(), 2), true), "the protocol's line");
    }

    function test_BadRoles_TheGatewaysLineIsTheOperators() external {
        PlainTerms memory t = honestTerms();
        t.lines[2].party = payee(3);
        lies(_roles(t, false), "another party's");
    }

    function test_BadRoles_TwoOfARoleThatHasOne() external {
        lies(_roles(withLine(honestTerms(), honestTerms().lines[1]), false), "the provider twice");
        lies(_roles(withLine(honestTerms(), honestTerms().lines[2]), false), "the gateway twice");
        PlainTerms memory t = withLine(honestTerms(), line(payee(3), Role.delivery, 0, asksOf(1)));
        holds(_roles(t, false), "one deliverer");
        lies(_roles(withLine(t, line(payee(4), Role.delivery, 0, asksOf(1))), false), "two");
        lies(_roles(withLine(honestTerms(), line(payee(4), Role.curator, 0, asksOf(1))), false), "a curator's line");
    }

    function test_BadRoles_APaidSlotsRestIsTheTreasurys() external {
        PlainTerms memory t = honestTerms();
        (t.deducted, t.deduction) = (true, Deduction(0, address(0), 0, 0, 1, payee(3), treasury));
        holds(_roles(t, false), "the treasury's");
        t.deduction.treasury = operator;
        lies(_roles(t, false), "the operator's");
        t.deduction.surface = address(0);
        holds(_roles(t, false), "nobody showed it");
    }

    // ------------------------------------------------------------------ proveBadBid

    function test_BadBid_AProvidersLineIsItsBid() external {
        IPriceJudge.BidShown memory s = shown(payee(2), MODEL, Role.compute, 0, asksOf(ASK));
        holds(_bid(honestTerms(), 1, s), "its bid");
        PlainTerms memory t = honestTerms();
        t.lines[1].asks = asksOf(ASK + 1);
        lies(_bid(t, 1, s), "another ask");
        t = honestTerms();
        t.lines[1].ratioPpm = 1;
        lies(_bid(t, 1, s), "a ratio");
        t = honestTerms();
        t.lines[1].party = payee(3);
        lies(_bid(t, 1, noBid()), "of one that never bid");
        bytes memory accusation = _bid(honestTerms(), 1, noBid());
        refusedBy(address(judge), accusation, Histories.NotOfEpoch.selector, "not shown");
        s.bid.asks = asksOf(ASK + 1);
        accusation = _bid(honestTerms(), 1, s);
        refusedBy(address(judge), accusation, IBidBook.BidUnknown.selector, "another bid");
    }

    function test_BadBid_TheBidOfTheReceiptsEpoch_WheneverItIsAsked() external {
        IPriceJudge.BidShown memory s = shown(payee(2), MODEL, Role.compute, 0, asksOf(ASK));
        bid(payee(2), MODEL, Role.compute, 0, asksOf(2 * ASK));
        bytes memory accusation = _bid(honestTerms(), 1, s);
        holds(accusation, "before it enters");
        vm.warp(block.timestamp + 3 * EPOCH);
        holds(accusation, "long after");
        PlainTerms memory t = honestTerms();
        bytes memory later = _bid(t, 1, shown(payee(2), MODEL, Role.compute, 0, asksOf(2 * ASK)));
        lies(later, "the old ask when the new one is in force");
    }

    function test_BadBid_ABidThatLapsed() external {
        IPriceJudge.BidShown memory s = shown(payee(2), MODEL, Role.compute, 0, asksOf(ASK));
        vm.warp(block.timestamp + 23 * EPOCH);
        holds(_bid(honestTerms(), 1, s), "its last epoch");
        vm.warp(block.timestamp + EPOCH);
        lies(_bid(honestTerms(), 1, s), "an epoch more");
        vm.warp(block.timestamp + EPOCH);
        holds(_bid(honestTerms(), 2, _gatewaysBid()), "a gateway's stands");
    }

    function test_BadBid_TheGatewaysIsOnItsLane() external {
        holds(_bid(honestTerms(), 2, _gatewaysBid()), "its bid");
        PlainTerms memory t = honestTerms();
        t.lines[2].ratioPpm += 1;
        lies(_bid(t, 2, _gatewaysBid()), "an atom in a million more");
    }

    function test_BadBid_AnOperatorHostsWorkflowsAtItsBidOnTheLane() external {
        bid(operator, ofLane(), Role.compute, 0, asksOf(7));
        nextEpoch();
        PlainTerms memory t = honestTerms();
        t.lines[1] = line(operator, Role.compute, 0, asksOf(7));
        IPriceJudge.BidShown memory host = shown(operator, ofLane(), Role.compute, 0, asksOf(7));
        holds(_bid(t, 1, noBid(), host, 0), "as host");
        t.lines[1].asks = asksOf(8);
        lies(_bid(t, 1, noBid(), host, 0), "more than it bid");
        t.lines[1] = line(payee(3), Role.compute, 0, asksOf(7));
        lies(_bid(t, 1, noBid(), host, 0), "somebody else");
    }

    function test_BadBid_AWeaverThatOwnsAndBids() external {
        PlainTerms memory t = withLine(honestTerms(), line(payee(1), Role.weaver, 5_000, noAsks()));
        holds(_bid(t, 4, noBid(), noBid(), 1), "without a bid, its line is its document's");
        bid(payee(1), MODEL, Role.weaver, 5_000, noAsks());
        nextEpoch();
        IPriceJudge.BidShown memory s = shown(payee(1), MODEL, Role.weaver, 5_000, noAsks());
        holds(_bid(t, 4, s, noBid(), 1), "its bid");
        t.lines[4].ratioPpm = 4_999;
        lies(_bid(t, 4, s, noBid(), 1), "less");
        t = withLine(t, line(payee(1), Role.weaver, 5_000, noAsks()));
        holds(_bid(t, 4, s, noBid(), 1), "another line is its bid: this one is its document's");
        t.lines[4].party = payee(4);
        holds(_bid(t, 4, noBid(), noBid(), 1), "a co-weaver is the document's");
        bid(payee(4), MODEL, Role.weaver, 1, noAsks());
        nextEpoch();
        s = shown(payee(4), MODEL, Role.weaver, 1, noAsks());
        holds(_bid(t, 4, s, noBid(), 1), "whatever it bids");
    }

    function test_BadBid_OwnersAndTheProtocolHaveOtherProofs() external {
        holds(_bid(honestTerms(), 0, noBid()), "the owner");
        holds(_bid(honestTerms(), 3, noBid()), "the protocol");
        invalid(_bid(honestTerms(), 4, noBid()), "no line");
    }

    // ------------------------------------------------------------------ inside

    function _gatewaysBid() private view returns (IPriceJudge.BidShown memory) {
        return shown(operator, ofLane(), Role.gateway, GATEWAY_PPM, noAsks());
    }

    /// @dev Posts a receipt of these terms and accuses it.
    function _roles(PlainTerms memory t, bool subcall) private returns (bytes memory) {
        Batch memory b = postOne(t, subcall);
        bytes memory terms = PlainPrices.encode(t);
        return abi.encodeCall(IPriceJudge.proveBadRoles, (lane, idOfLast(), last, opening(b, 0), terms));
    }

    function _bid(PlainTerms memory t, uint256 line_, IPriceJudge.BidShown memory s) private returns (bytes memory) {
        return _bid(t, line_, s, noBid(), 0);
    }

    function _bid(
        PlainTerms memory t,
        uint256 line_,
        IPriceJudge.BidShown memory s,
        IPriceJudge.BidShown memory host,
        uint32 owner
    ) private returns (bytes memory) {
        Batch memory b = postOne(t);
        bytes memory terms = PlainPrices.encode(t);
        Header memory h = last;
        uint64 id = idOfLast();
        return abi.encodeCall(IPriceJudge.proveBadBid, (lane, id, h, opening(b, 0), terms, line_, s, host, owner));
    }
}
