// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {Receipt} from "../../src/Receipt.sol";
import {Role} from "../../src/Roles.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IPriceJudge} from "../../src/interfaces/IPriceJudge.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Batch} from "../Court.sol";
import {PlainPrices, PlainTerms} from "../PlainPrices.sol";
import {PriceCourt} from "../PriceCourt.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev Prices that terms do not make, lines that runs do not make, payouts that lines do not make.
contract PriceJudgeRunsTest is PriceCourt {
    using Trees for Sparse;

    // ------------------------------------------------------------------ proveBadPrice

    function test_BadPrice_APriceOrChargeThatTheTermsDoNotMake() external {
        PlainTerms memory t = honestTerms();
        Receipt[] memory rs = pricedFrom(1, 3, t);
        rs[1].price += 1;
        rs[2].charge -= 1;
        Batch memory b = aBatch(rs);
        Header memory h = postBatch(b);
        holds(_price(h, b, 0, PlainPrices.encode(t)), "as due");
        lies(_price(h, b, 1, PlainPrices.encode(t)), "an atom more");
        lies(_price(h, b, 2, PlainPrices.encode(t)), "charged less");
        t.lines[0].ratioPpm += 1;
        invalid(_price(h, b, 1, PlainPrices.encode(t)), "other terms");
    }

    function test_BadPrice_MalformedTerms_OrTermsThatAllowNone() external {
        Receipt[] memory rs = receiptsFrom(1, 3);
        rs[0].terms = rs[2].terms = keccak256("no terms");
        (rs[2].price, rs[2].charge) = (0, 0);
        PlainTerms memory t = honestTerms();
        (t.listed, t.listPrice) = (true, 1); // less than the provider's ask
        rs[1].terms = keccak256(PlainPrices.encode(t));
        Batch memory b = aBatch(rs);
        Header memory h = postBatch(b);
        lies(_price(h, b, 0, "no terms"), "malformed");
        lies(_price(h, b, 1, PlainPrices.encode(t)), "no price");
        lies(_price(h, b, 2, "no terms"), "malformed, though nothing was charged by them");
    }

    // ------------------------------------------------------------------ proveBadRun

    function test_BadRun_AnHonestRunHolds_ForEveryParty() external {
        (Batch memory b, Header memory h) = _posted(18);
        for (uint32 party; party < 8; ++party) {
            holds(_run(h, b, party, 0), "the first run");
            holds(_run(h, b, party, 1), "the second run, of two");
        }
        holds(_run(h, b, 99, 1), "a party beyond the tree");
    }

    function test_BadRun_AnAtomMovedToAnotherParty() external {
        Batch memory b = _batch(18);
        _move(b, 2, 1, 0);
        Header memory h = postBatch(b);
        lies(_run(h, b, 2, 0), "who lost it");
        lies(_run(h, b, 1, 0), "who got it");
        holds(_run(h, b, 2, 1), "the other run");
        holds(_run(h, b, 3, 0), "a party that is paid nothing");
    }

    function test_BadRun_ALineOfNobodys_OrOfNoRun() external {
        Batch memory b = _batch(18);
        b.lines = _withSpare(b.lines, b.runsHeight);
        Header memory h = postBatch(b);
        lies(_run(h, b, 7, 0), "a party that is not registered");
        holds(_run(h, b, 7, 1), "its other run");
    }

    function test_BadRun_WhereNoPayeeStands_NobodysLineIsPaid() external {
        PlainTerms memory t = withLine(honestTerms(), line(address(0), Role.weaver, 1_000, noAsks()));
        Receipt[] memory rs = pricedFrom(1, 1, t);
        Batch memory b = aPricedBatch(rs, t);
        (,,, uint256[] memory amounts) = PlainPrices.split(t, rs[0].units, 0);
        bytes32[] memory leaves = new bytes32[](8);
        leaves[7] = Trees.lineLeaf(lane, 7, 0, uint64(amounts[4]));
        b.lines = Trees.dense(leaves);
        bytes[] memory terms = new bytes[](1);
        terms[0] = PlainPrices.encode(t);
        IJudge.Word memory word = wordAt(b.lines, 7);
        bytes memory accusation = abi.encodeCall(
            IPriceJudge.proveBadRun, (lane, 1, headOf(b), 7, openings(b, 0, 1), terms, new uint8[](1), word)
        );
        // proven, but of a header that is in no lane: its lines are not what it charges
        refusedBy(address(judge), accusation, ISettlement.HeaderUnknown.selector, "payee 7 is nobody");
    }

    function test_BadRun_BeyondTheLastReceipt() external {
        for (uint64 run = 1; run < 4; ++run) {
            uint256 state = vm.snapshotState();
            Batch memory b = _batch(16);
            (b.runsHeight, b.lines) = (2, _spread(b.lines, 2, run));
            Header memory h = postBatch(b);
            lies(_runOf(h, b, 1, run, 0), "a run of no receipts");
            vm.revertToState(state);
        }
    }

    function test_RevertWhen_ARunIsNotWhole() external {
        (Batch memory b, Header memory h) = _posted(18);
        invalid(_runOf(h, b, 2, 0, 15), "a receipt left out");
        invalid(_runOf(h, b, 2, 1, 1), "of the last run too");
        IJudge.Openings memory o = openings(b, 1, 16);
        invalid(_runWith(h, b, 2, o, 0), "not at a run's beginning");
        o = openings(b, 0, 16);
        o.records[3] = o.records[2];
        invalid(_runWith(h, b, 2, o, 0), "another receipt");
        o = openings(b, 0, 16);
        bytes memory accusation = abi.encodeCall(
            IPriceJudge.proveBadRun, (lane, idOfLast(), h, 2, o, _termsOnce(), new uint8[](15), wordAt(b.lines, 4))
        );
        invalid(accusation, "terms of one left out");
        bytes[] memory wrong = new bytes[](1);
        wrong[0] = "other terms";
        accusation = abi.encodeCall(
            IPriceJudge.proveBadRun, (lane, idOfLast(), h, 2, o, wrong, new uint8[](16), wordAt(b.lines, 4))
        );
        invalid(accusation, "other terms");
    }

    function test_BadRun_ABarredReceiptPaysNothing() external {
        PlainTerms memory t = honestTerms();
        Receipt[] memory rs = pricedFrom(1, 2, t);
        Batch memory b = aPricedBatch(pricedFrom(1, 1, t), t);
        b.receipts = rs;
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = leafOf(rs[0]);
        (b.places, b.rows) = (Trees.dense(leaves), rowsOf(1, 2));
        Header memory h = postBatch(b);
        holds(_run(h, b, 2, 0), "one of two");
    }

    // ------------------------------------------------------------------ provePayout

    function test_Payout_ThatIsNotTheSumOfItsLines() external {
        Batch memory b = _batch(3);
        (earned[1], earned[2]) = (earned[1] + 1, earned[2] - 1);
        b.paid = payouts();
        Header memory h = postBatch(b);
        lies(_payout(h, noHeader(), b, 1, noWord()), "an atom more");
        lies(_payout(h, noHeader(), b, 2, noWord()), "an atom less");
        holds(_payout(h, noHeader(), b, 3, noWord()), "nothing of nothing");
        holds(_payout(h, noHeader(), b, 200, noWord()), "beyond both trees");
    }

    function test_Payout_GrowsByItsLines() external {
        Batch memory first = _batch(3);
        Header memory prev = postBatch(first);
        PlainTerms memory t = honestTerms();
        Batch memory b = aPricedBatch(pricedFrom(4, 1, t), t);
        Header memory h = postBatch(b);
        for (uint256 i = 1; i < 7; ++i) {
            holds(_payout(h, prev, b, i, wordAt(first.paid, i)), "as due");
        }
        bytes memory swapped = _payout(h, prev, b, 1, wordAt(first.paid, 2));
        invalid(swapped, "another's word before");
        swapped = _payout(h, h, b, 1, wordAt(first.paid, 1));
        refusedBy(address(judge), swapped, IJudge.PreviousHeaderWrong.selector, "another header before");
    }

    // ------------------------------------------------------------------ inside

    function _batch(uint64 count) private returns (Batch memory) {
        PlainTerms memory t = honestTerms();
        return aPricedBatch(pricedFrom(1, count, t), t);
    }

    function _posted(uint64 count) private returns (Batch memory b, Header memory h) {
        b = _batch(count);
        h = postBatch(b);
    }

    /// @dev Moves an atom from one party's line to another's; the sum stays.
    function _move(Batch memory b, uint32 from, uint32 to, uint32 run) private view {
        for (uint256 i; i < b.lines.places.length; ++i) {
            uint32 party = uint32(b.lines.places[i] >> b.runsHeight);
            if (b.lines.places[i] & ((1 << b.runsHeight) - 1) != run) continue;
            uint64 amount = uint64(uint256(b.lines.words[i]));
            if (party == from) b.lines.words[i] = Trees.lineLeaf(lane, party, run, amount - 1);
            if (party == to) b.lines.words[i] = Trees.lineLeaf(lane, party, run, amount + 1);
        }
    }

    /// @dev An atom of party 1's first run is party 7's, which nobody is.
    function _withSpare(Sparse memory t, uint256 runsHeight) private view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](uint256(1) << t.height);
        for (uint256 i; i < t.places.length; ++i) {
            leaves[t.places[i]] = t.words[i];
        }
        uint256 place = 1 << runsHeight;
        leaves[place] = Trees.lineLeaf(lane, 1, 0, uint64(uint256(leaves[place])) - 1);
        leaves[7 << runsHeight] = Trees.lineLeaf(lane, 7, 0, 1);
        return Trees.dense(leaves);
    }

    /// @dev The same parties' lines, of one run, in a tree with room for more. An atom of the first party's is in another run.
    function _spread(Sparse memory t, uint256 levels, uint256 run) private pure returns (Sparse memory wide) {
        uint256 count = t.places.length;
        (wide.height, wide.places, wide.words) = (t.height + levels, new uint256[](count + 1), new bytes32[](count + 1));
        for (uint256 i; i < count; ++i) {
            uint256 into = i == 0 ? 0 : i + 1;
            (wide.places[into], wide.words[into]) = (t.places[i] << levels, t.words[i]);
        }
        wide.words[0] = bytes32(uint256(wide.words[0]) - 1);
        (wide.places[1], wide.words[1]) = (wide.places[0] + run, bytes32(uint256(1)));
    }

    function _price(Header memory h, Batch memory b, uint64 place, bytes memory terms)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(IPriceJudge.proveBadPrice, (lane, idOfLast(), h, opening(b, place), terms));
    }

    function _run(Header memory h, Batch memory b, uint32 party, uint64 run) private view returns (bytes memory) {
        uint256 rest = b.receipts.length - 16 * run;
        return _runOf(h, b, party, run, rest < 16 ? rest : 16);
    }

    function _runOf(Header memory h, Batch memory b, uint32 party, uint64 run, uint256 count)
        private
        view
        returns (bytes memory)
    {
        IJudge.Openings memory o;
        if (count == 0) o.start = 16 * run;
        else o = openings(b, 16 * run, count);
        return _runWith(h, b, party, o, run);
    }

    function _runWith(Header memory h, Batch memory b, uint32 party, IJudge.Openings memory o, uint64 run)
        private
        view
        returns (bytes memory)
    {
        IJudge.Word memory word = wordAt(b.lines, uint256(party) << b.runsHeight | run);
        uint8[] memory termsOf = new uint8[](o.records.length);
        return abi.encodeCall(IPriceJudge.proveBadRun, (lane, idOfLast(), h, party, o, _termsOnce(), termsOf, word));
    }

    function _termsOnce() private view returns (bytes[] memory terms) {
        terms = new bytes[](1);
        terms[0] = PlainPrices.encode(honestTerms());
    }

    function _payout(Header memory h, Header memory prev, Batch memory b, uint256 index, IJudge.Word memory before)
        private
        view
        returns (bytes memory)
    {
        uint256 depth = b.lines.height - b.runsHeight;
        IJudge.Word memory sum;
        if (index >> depth == 0) sum = IJudge.Word(b.lines.node(depth, index), b.lines.proveNode(depth, index));
        IJudge.Word memory now_ = wordAt(b.paid, index);
        return abi.encodeCall(IPriceJudge.provePayout, (lane, idOfLast(), h, prev, uint32(index), before, now_, sum));
    }
}
