// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Header} from "../../src/Headers.sol";
import {Base} from "../Base.sol";
import {DollarToken} from "../Tokens.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev Rows of a range.
abstract contract Ranges is Base {
    using Trees for Sparse;

    function _row(address who, uint64 amount) internal pure returns (uint256) {
        return (uint256(uint160(who)) << 64) | amount;
    }

    function _range(uint256 start, uint256 count) internal view returns (uint256[] memory rows, bytes32[] memory edge) {
        rows = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            if (earned[start + i] != 0) rows[i] = _row(payee(start + i), earned[start + i]);
        }
        edge = payouts().proveRange(start, count);
    }
}

/// @dev Payees take what is final and not yet claimed, alone or with their neighbours.
contract ClaimsTest is Ranges {
    using Trees for Sparse;

    function test_Claim_PaysThePayeeInTheLeafAndAStaleClaimMovesNothing() external {
        spend(1, 1, 100);
        spend(2, 2, 7);
        settle();
        bytes32[] memory proof = payouts().prove(1);
        vm.prank(stranger);
        eq(settlement.claim(lane, 1, payee(1), 100, proof), 100, "paid");
        eq(token.balanceOf(payee(1)), 100, "to the payee");
        eq(settlement.claim(lane, 1, payee(1), 100, proof), 0, "nothing twice");
        spend(3, 1, 50);
        settle();
        eq(settlement.claim(lane, 1, payee(1), 150, payouts().prove(1)), 50, "the difference");
        eq(settlement.claimed(lane, 1), 150, "claimed");
        eq(settlement.books(lane).paid, 150, "paid by the lane");
        eq(token.balanceOf(lane), CONSUMERS * DEPOSIT - 150, "out of its vault");
    }

    function testFuzz_RevertWhen_AClaimIsForged(uint32 index, uint64 cumulative, uint256 word, uint256 bit) external {
        spend(1, 1, 100);
        spend(1, 3, 50);
        settle();
        bytes32[] memory proof = payouts().prove(1);
        bytes32[] memory forged = payouts().prove(1);
        forged[word % forged.length] ^= bytes32(uint256(1) << (bit % 256));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 1, payee(1), 100, forged);
        if (index != 1 || cumulative != 100) {
            vm.assume(cumulative != 0 || index & 7 != 0);
            refuses(ISettlement.ProofInvalid.selector);
            settlement.claim(lane, index, payee(1), cumulative, proof);
        }
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 1, stranger, 100, proof);
        address other = openLane(stranger, 0);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(other, 1, payee(1), 100, proof); // a leaf is of one lane
    }

    function test_RevertWhen_AProofIsShorterOrLongerThanItsTree() external {
        spendAndSettle(100);
        bytes32[] memory proof = payouts().prove(1);
        bytes32[] memory longer = new bytes32[](proof.length + 1);
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i; i < shorter.length; ++i) (longer[i], shorter[i]) = (proof[i], proof[i]);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 1, payee(1), 100, longer);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 1, payee(1), 100, shorter);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 1, payee(1), 100, new bytes32[](0));
    }

    function test_RevertWhen_NothingIsFinal() external {
        spendAndPost(100);
        bytes32[] memory proof = payouts().prove(1);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 1, payee(1), 100, proof);
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, rows, edge);
    }

    /// @dev Before anything is final the root is zero, as is a malformed range's; and two claims of 2^63 sum to nothing. Booked,
    /// they would take for ever what payees 1 and 2 earn later.
    function test_RevertWhen_ARangeOfNothingIsBookedBeforeAnythingIsFinal() external {
        uint256[] memory rows = new uint256[](2);
        rows[0] = rows[1] = _row(stranger, 1 << 63);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, rows, new bytes32[](0));
        eq(settlement.claimed(lane, 1), 0, "nothing is claimed");
        spendAndSettle(100);
        eq(settlement.claim(lane, 1, payee(1), 100, payouts().prove(1)), 100, "and payee 1 is paid");
    }

    /// @dev A liar's tree: below a node that carries an atom stand two leaves whose amounts pass 64 bits.
    function test_RevertWhen_AmountsPass64BitsBelowANode() external {
        bytes32[] memory leaves = new bytes32[](2);
        bytes32 large = Trees.payoutLeaf(lane, 2, payee(2), type(uint64).max);
        bytes32 small = Trees.payoutLeaf(lane, 3, payee(3), 2);
        leaves[1] = Trees.mark(keccak256(abi.encodePacked(large, small)), 1);
        debited[1] = 1;
        Header memory h = headerOver(Trees.dense(leaves), debits());
        h.heights = heightsOf(0, 2, debits().height, 0, 0, 0);
        uint64 id = post(h);
        vm.warp(settlement.batches(lane, id).until);
        settlement.finalize(lane, id, h);
        uint256[] memory rows = new uint256[](2);
        (rows[0], rows[1]) = (_row(payee(2), type(uint64).max), _row(payee(3), 2));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 2, rows, new bytes32[](1)); // both
        bytes32[] memory edge = new bytes32[](2);
        edge[0] = large;
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claim(lane, 3, payee(3), 2, edge);
        rows = new uint256[](1);
        rows[0] = _row(payee(3), 2);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 3, rows, edge); // beside the large one
        rows[0] = _row(payee(2), type(uint64).max);
        edge[0] = small;
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 2, rows, edge); // beside the small one
    }

    function testFuzz_ATreeOfAnyHeightPays(uint8 height, uint32 index) external {
        height = 1 + height % 31;
        index = uint32(1 + index % ((uint256(1) << height) - 1));
        Sparse memory p;
        (p.height, p.places, p.words) = (height, new uint256[](1), new bytes32[](1));
        (p.places[0], p.words[0]) = (index, Trees.payoutLeaf(lane, index, payee(1), 100));
        debited[1] = 100;
        post(headerOver(p, debits()));
        finalizeLast();
        eq(settlement.claim(lane, index, payee(1), 100, p.prove(index)), 100, "paid");
        eq(settlement.claimed(lane, index), 100, "at its index");
        eq(settlement.claimed(lane, index ^ 1), 0, "not its neighbour");
        uint256[] memory rows = new uint256[](1);
        rows[0] = _row(payee(1), 100);
        eq(settlement.claimRange(lane, index, rows, p.proveRange(index, 1)), 0, "nor twice");
    }

    // ------------------------------------------------------------------ ranges

    function testFuzz_ClaimRange_AgreesWithClaimsOneByOne(uint64[12] memory amounts, uint8 start, uint8 count, uint8 mask)
        external
    {
        earned = new uint64[](13);
        for (uint32 i = 1; i < 13; ++i) spend(1, i, amounts[i - 1] % 700);
        settle();
        start = 1 + start % 12;
        count = 1 + count % (13 - start);
        for (uint32 i = 1; i < 9; ++i) {
            if ((mask >> (i - 1)) & 1 == 1) settlement.claim(lane, i, payee(i), earned[i], payouts().prove(i));
        }
        uint256 expected;
        for (uint32 i = start; i < start + count; ++i) expected += earned[i] - settlement.claimed(lane, i);
        (uint256[] memory rows, bytes32[] memory edge) = _range(start, count);
        eq(settlement.claimRange(lane, start, rows, edge), expected, "all that was due");
        uint256 paid;
        for (uint32 i = 1; i < 13; ++i) {
            bool taken = (i >= start && i < start + count) || (i < 9 && (mask >> (i - 1)) & 1 == 1);
            eq(settlement.claimed(lane, i), taken ? earned[i] : 0, "claimed");
            eq(token.balanceOf(payee(i)), taken ? earned[i] : 0, "paid");
            if (taken) paid += earned[i];
        }
        eq(settlement.books(lane).paid, paid, "the lane's counter");
        eq(settlement.claimRange(lane, start, rows, edge), 0, "nothing twice");
    }

    function testFuzz_RevertWhen_ARangeIsForged(uint256 row, uint256 bit, uint256 word) external {
        for (uint32 i = 1; i <= PAYEES; ++i) spend(1, i, 100 * i);
        settle();
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        rows[row % rows.length] ^= uint256(1) << (bit % 224);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, rows, edge);
        (rows, edge) = _range(1, PAYEES);
        edge[word % edge.length] ^= bytes32(uint256(1) << (bit % 256));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, rows, edge);
        (rows, edge) = _range(1, PAYEES);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 0, rows, edge);
        // dirty bits above a row mean nothing
        for (uint256 i; i < rows.length; ++i) rows[i] |= type(uint256).max << 224;
        eq(settlement.claimRange(lane, 1, rows, edge), 1_000, "paid");
    }

    function test_RevertWhen_ARangeIsEmptyOrTooLongOrBeyondTheIndices() external {
        spendAndSettle(100);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, new uint256[](0), new bytes32[](0));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, new uint256[](257), new bytes32[](0));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, type(uint32).max - 1, new uint256[](2), new bytes32[](33));
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, (type(uint32).max >> 1) - 1, new uint256[](2), new bytes32[](31));
    }

    function test_RevertWhen_ARangesEdgeIsShorterOrLongerThanItsTree() external {
        spendAndSettle(100);
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, 1);
        bytes32[] memory longer = new bytes32[](edge.length + 1);
        bytes32[] memory shorter = new bytes32[](edge.length - 1);
        for (uint256 i; i < shorter.length; ++i) (longer[i], shorter[i]) = (edge[i], edge[i]);
        longer[shorter.length] = edge[shorter.length];
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, rows, longer);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 1, rows, shorter);
    }

    /// @dev Rows behind the last place stand in no tree, whatever stands before them.
    function test_RevertWhen_ARangeReachesBeyondItsTree() external {
        spend(1, 1, 100);
        spend(1, 3, 50);
        settle();
        uint256 places = 1 << payouts().height;
        uint256[] memory rows = new uint256[](2 * places);
        (rows[1], rows[3]) = (_row(payee(1), 100), _row(payee(3), 50));
        rows[places + 1] = _row(stranger, 100);
        refuses(ISettlement.ProofInvalid.selector);
        settlement.claimRange(lane, 0, rows, new bytes32[](0)); // as many again
        uint256[] memory oneMore = new uint256[](places + 1);
        (oneMore[1], oneMore[3], oneMore[places]) = (rows[1], rows[3], _row(stranger, 100));
        for (uint256 edge; edge < 5; ++edge) {
            refuses(ISettlement.ProofInvalid.selector);
            settlement.claimRange(lane, 0, oneMore, new bytes32[](edge)); // one
        }
        assembly ("memory-safe") {
            mstore(rows, places)
        }
        eq(settlement.claimRange(lane, 0, rows, new bytes32[](0)), 150, "the whole tree");
    }

    function test_ClaimRange_TakesTwoHundredAndFiftySixPayees() external {
        earned = new uint64[](258);
        for (uint32 i = 1; i < 258; ++i) earned[i] = 30;
        debited[1] = 257 * 30;
        settle();
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, 256);
        eq(settlement.claimRange(lane, 1, rows, edge), 256 * 30, "paid");
        eq(token.balanceOf(payee(256)), 30, "the last");
        eq(token.balanceOf(payee(257)), 0, "not the next");
    }

    /// @dev Whoever gives too little gas on purpose only defers.
    function testFuzz_ClaimRange_WithLittleGasTakesNothingAway(uint256 gas_) external {
        for (uint32 i = 1; i <= PAYEES; ++i) spend(1, i, 100 * i);
        settle();
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        try settlement.claimRange{gas: 60_000 + gas_ % 300_000}(lane, 1, rows, edge) {} catch {}
        settlement.claimRange(lane, 1, rows, edge);
        for (uint32 i = 1; i <= PAYEES; ++i) eq(token.balanceOf(payee(i)), 100 * i, "whole");
        eq(settlement.books(lane).paid, 1_000, "to the atom");
    }
}

/// @dev The same from a token that refuses payees and calls them back.
contract ClaimsOfAHostileTokenTest is Ranges {
    using Trees for Sparse;

    DollarToken private coin;

    function makeToken() internal override returns (IERC20) {
        coin = aDollar();
        return coin;
    }

    function testFuzz_ClaimRange_PassesOverThoseTheTokenRefuses(uint8 barred) external {
        _passesOver(barred);
    }

    /// @dev Some tokens return nothing when they have paid, and give no reason when they refuse.
    function test_ClaimRange_PassesOverThoseAWordlessTokenRefuses() external {
        coin.setWordless(true);
        _passesOver(1 << 2 | 1 << 3);
    }

    function test_ClaimRange_TellsThoseThatArePaid() external {
        for (uint32 i = 1; i <= PAYEES; ++i) spend(1, i, 100 * i);
        settle();
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        coin.blacklist(payee(2), true);
        uint256[] memory paid = new uint256[](PAYEES);
        for (uint256 i; i < PAYEES; ++i) paid[i] = i == 1 ? 0 : rows[i];
        vm.expectEmit(address(settlement));
        emit ISettlement.ClaimedRange(lane, 1, paid);
        settlement.claimRange(lane, 1, rows, edge);
    }

    function _passesOver(uint8 barred) private {
        for (uint32 i = 1; i <= PAYEES; ++i) spend(1, i, 100 * i);
        settle();
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        uint256 refusedSum;
        for (uint32 i = 1; i <= PAYEES; ++i) {
            bool refused = (barred >> i) & 1 == 1;
            coin.blacklist(payee(i), refused);
            if (refused) refusedSum += 100 * i;
        }
        eq(settlement.claimRange(lane, 1, rows, edge), 1_000 - refusedSum, "the others");
        eq(settlement.books(lane).paid, 1_000 - refusedSum, "what is not paid is not booked");
        for (uint32 i = 1; i <= PAYEES; ++i) {
            if ((barred >> i) & 1 == 0) continue;
            bytes32[] memory proof = payouts().prove(i);
            refuses(ISettlement.PaymentRefused.selector);
            settlement.claim(lane, i, payee(i), 100 * i, proof);
            coin.blacklist(payee(i), false);
        }
        eq(settlement.claimRange(lane, 1, rows, edge), refusedSum, "later");
        for (uint32 i = 1; i <= PAYEES; ++i) eq(coin.balanceOf(payee(i)), 100 * i, "each once");
    }

    function testFuzz_ATokenThatCallsBackFindsTheBooksClosed(uint8 who) external {
        for (uint32 i = 1; i <= PAYEES; ++i) spend(1, i, 100 * i);
        settle();
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        bytes memory again = abi.encodeCall(settlement.claimRange, (lane, 1, rows, edge));
        coin.onTransferTo(payee(1 + who % PAYEES), address(settlement), again);
        eq(settlement.claimRange(lane, 1, rows, edge), 1_000, "once");
        eq(coin.balanceOf(lane), CONSUMERS * DEPOSIT - 1_000, "and no more");
    }

    /// @dev F24: the token calls back, a newer tree is final meanwhile and its claim is refused too; then the token says no.
    function test_ARefusalAfterACallbackTakesBackItsOwnAmountOnly() external {
        for (uint32 i = 1; i <= PAYEES; ++i) spend(1, i, 100);
        uint64 id = post();
        Header memory one = last;
        (uint256[] memory rows, bytes32[] memory edge) = _range(1, PAYEES);
        for (uint32 i = 1; i <= PAYEES; ++i) spend(2, i, 50);
        post();
        vm.warp(settlement.batches(lane, id + 1).until);
        settlement.finalize(lane, id, one);
        (uint256[] memory newer, bytes32[] memory newerEdge) = _range(1, PAYEES);
        Again again = new Again(settlement, coin);
        again.prepare(lane, id + 1, last, newer, newerEdge);
        coin.onTransferTo(payee(2), address(again), abi.encodeCall(again.run, ()));
        coin.setLies(true);
        eq(settlement.claimRange(lane, 1, rows, edge), 0, "all refused");
        eq(coin.balanceOf(payee(2)), 50, "the callback was paid the newer difference, once the books said 100");
        eq(settlement.claimed(lane, 2), 50, "so 100 of 150 are still to claim");
        eq(settlement.books(lane).paid, 4 * 50, "each the difference");
        coin.setLies(false);
        eq(settlement.claimRange(lane, 1, newer, newerEdge), 4 * 100, "the rest, each once");
        for (uint32 i = 1; i <= PAYEES; ++i) eq(coin.balanceOf(payee(i)), 150, "whole");
    }
}

/// @dev In the callback of a payment: makes the next batch final and claims by its tree, from a token that pays again.
contract Again {
    ISettlement private immutable _settlement;
    DollarToken private immutable _coin;
    address private _lane;
    uint64 private _id;
    bytes private _header;
    uint256[] private _rows;
    bytes32[] private _edge;

    constructor(ISettlement settlement, DollarToken coin) {
        (_settlement, _coin) = (settlement, coin);
    }

    function prepare(address lane, uint64 id, Header memory h, uint256[] memory rows, bytes32[] memory edge) external {
        (_lane, _id, _header, _rows, _edge) = (lane, id, abi.encode(h), rows, edge);
    }

    function run() external {
        _coin.setLies(false);
        _settlement.finalize(_lane, _id, abi.decode(_header, (Header)));
        _settlement.claimRange(_lane, 1, _rows, _edge);
        _coin.setLies(true);
    }
}
