// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "../../src/interfaces/IBidBook.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {Receipts} from "../../src/Receipts.sol";
import {Calls} from "../Calls.sol";

/// @dev Prices that terms do not give, lines that are not the bid in force.
contract RefereePricesTest is Calls {
    // ------------------------------------------------------------------ price

    /// @dev C8, for terms and units at random: shares add up to the charge, and the charge to the price less what was
    /// passed on and given back.
    function testFuzz_C8_LinesSumToThePrice(uint64[4] memory asks, uint24[3] memory ratios, uint32 tokens, uint32 passed)
        external
        view
    {
        bytes memory terms = termsOfLines(
            3,
            bytes.concat(
                termsLine(payee(1), MAKER, ratios[0] % 300_000, asks[0] / 1e6, asks[1] / 1e6),
                termsLine(payee(2), COMPUTE, ratios[1] % 300_000, asks[2] / 1e6, asks[3] / 1e6),
                termsLine(treasury, PROTOCOL, ratios[2] % 300_000, 0, 0)
            )
        );
        Receipts.Receipt memory r = call(1, terms);
        (r.outputTokens, r.passed) = (tokens, passed);
        (bool sound, uint256 price, uint256 charge,, uint256[] memory amounts) = referee.price(r, terms);
        if (!sound) return;
        eq(amounts[0] + amounts[1] + amounts[2], charge, "shares are the charge");
        eq(charge + passed, price, "the charge is the price");
    }

    // ------------------------------------------------------------------ proveBadLine

    function test_ProveBadLine_APriceAboveTheRealOne_BelowEveryCeiling() external {
        Receipts.Receipt memory r = call(1, someTerms());
        r.price += 5;
        r.charge += 5;
        give(r, someTerms());
        earned[1] += 5;
        Batch memory b = draft();
        b.lines[0].amount += 5;
        _badLine(b);
    }

    function test_ProveBadLine_AChargeThatIsNotThePrice() external {
        Receipts.Receipt memory r = call(1, someTerms());
        r.price += 5; // the price says more than is charged
        give(r, someTerms());
        _badLine(draft());
    }

    function test_ProveBadLine_TermsThatAllowNoPrice() external {
        bytes memory terms = someTerms();
        terms[0] = 0x02; // no such version
        give(call(1, terms), terms);
        _badLine(draft());
    }

    function test_RevertWhen_APriceIsRight_OrTheTermsAreAnothers() external {
        serve(1);
        serve(2);
        Batch memory b = draft();
        uint64 id = send(b);
        IReferee.Opening memory shown = opening(b, 1);
        refuses(IReferee.NotProven.selector);
        referee.proveBadLine(lane, id, b.header, shown);
        shown.terms = termsOfLines(1, termsLine(payee(1), MAKER, 0, 1, 0));
        refuses(IReferee.ProofInvalid.selector);
        referee.proveBadLine(lane, id, b.header, shown);
        shown = opening(b, 1);
        shown.receipt.price += 1; // not the receipt of the batch
        refuses(IReferee.ProofInvalid.selector);
        referee.proveBadLine(lane, id, b.header, shown);
    }

    // ------------------------------------------------------------------ proveBadBid

    function test_ProveBadBid_AnAskAboveTheBid() external {
        IBidBook.Bid[] memory bids = _bids(MODEL, COMPUTE, 9);
        serve(1); // its terms ask 10
        _badBid(draft(), 1, bids);
    }

    function test_ProveBadBid_OfWhoNeverBid() external {
        serve(1);
        _badBid(draft(), 1, new IBidBook.Bid[](0));
    }

    function test_ProveBadBid_OfABidThatExpired() external {
        IBidBook.Bid[] memory bids = _bids(MODEL, COMPUTE, 10);
        vm.warp(block.timestamp + 24 hours);
        serve(1);
        _badBid(draft(), 1, bids);
    }

    function test_ProveBadBid_OfAGatewayOnAnotherLane() external {
        _bids(bytes32(uint256(lane) + 1), GATEWAY, 10);
        bytes memory terms = termsOfLines(1, termsLine(payee(2), GATEWAY, 0, 10, 0));
        give(call(1, terms), terms);
        _badBid(draft(), 0, new IBidBook.Bid[](0));
    }

    function test_ProveBadBid_AProtocolFeeToSomebodyElse() external {
        _protocol(payee(1), PROTOCOL_PPM);
    }

    function test_ProveBadBid_AProtocolFeeOfAnotherSize() external {
        _protocol(treasury, PROTOCOL_PPM + 1);
    }

    function test_RevertWhen_ALineIsTheBid_OrOfNoBid_OrTheHistoryIsForged() external {
        IBidBook.Bid[] memory bids = _bids(MODEL, COMPUTE, 10);
        serve(1);
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint256 line; line < 4; ++line) {
            // the maker's comes from documents, compute's is the bid, the protocol's the fee, and there are no more
            _refusesBid(IReferee.NotProven.selector, id, b, line, bids);
        }
        bids[0].asks[0] = 9;
        _refusesBid(IBidBook.HistoryUnknown.selector, id, b, 1, bids);
        _refusesBid(IBidBook.HistoryUnknown.selector, id, b, 1, new IBidBook.Bid[](0));
    }

    // ------------------------------------------------------------------ helpers

    function _badLine(Batch memory b) private {
        uint64 id = send(b);
        IReferee.Opening memory shown = opening(b, 0);
        vm.prank(challenger);
        referee.proveBadLine(lane, id, b.header, shown);
        fell(id);
    }

    function _badBid(Batch memory b, uint256 line, IBidBook.Bid[] memory bids) private {
        uint64 id = send(b);
        IReferee.Opening memory shown = opening(b, 0);
        vm.prank(challenger);
        referee.proveBadBid(lane, id, b.header, shown, line, 0, bids);
        fell(id);
    }

    function _refusesBid(bytes4 why, uint64 id, Batch memory b, uint256 line, IBidBook.Bid[] memory bids) private {
        IReferee.Opening memory shown = opening(b, 0);
        refuses(why);
        referee.proveBadBid(lane, id, b.header, shown, line, 0, bids);
    }

    function _protocol(address to, uint24 ppm) private {
        bytes memory terms =
            termsOfLines(2, bytes.concat(termsLine(payee(2), MAKER, 0, 10, 0), termsLine(to, PROTOCOL, ppm, 0, 0)));
        give(call(1, terms), terms);
        _badBid(draft(), 1, new IBidBook.Bid[](0));
    }

    /// @dev The compute provider's only bid, in force now.
    function _bids(bytes32 subject, uint8 role, uint64 perCall) private returns (IBidBook.Bid[] memory bids) {
        uint64[6] memory asks;
        asks[0] = perCall;
        vm.prank(payee(2));
        bidBook.placeBid(subject, role, 0, asks);
        bids = new IBidBook.Bid[](1);
        bids[0] = IBidBook.Bid(0, asks, bidBook.epoch() + 1);
        vm.warp(block.timestamp + 1 hours);
    }
}
