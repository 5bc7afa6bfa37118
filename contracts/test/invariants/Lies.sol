// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Calls} from "../Calls.sol";
import {Trees} from "../Trees.sol";

/// @dev What the handler's operator posts, the honest and the other, and what its challenger says to it.
abstract contract Lies is Calls {
    uint256 private constant NO_LIE = 0;
    uint256 private constant SUM = 1; // an interior sum above its children's
    uint256 private constant PRICE = 2; // one call dearer than its lines, in every tree alike
    uint256 private constant SHIFT = 3; // one payee's line and payout moved to another
    uint64 private constant MORE = 5;

    struct Filed {
        Batch batch;
        uint64[] earned;
        uint64[] debited;
        uint256 lie;
        bytes32 left;
        bytes32 right;
    }

    /// @dev The first law that did not hold.
    string public broken;
    uint64 public finalizedTotal;
    bool public unwatched;
    uint64[] internal finalEarned;
    uint64[] internal finalDebited;
    /// @dev By payee, what the lines of all final receipts give: priced once more from the posted batch.
    uint64[] private lined;
    mapping(uint64 id => bytes) private filed;

    function begin() internal {
        (earned, finalEarned, lined) =
            (new uint64[](PAYEES + 1), new uint64[](PAYEES + 1), new uint64[](PAYEES + 1));
        (debited, finalDebited) = (new uint64[](CONSUMERS + 1), new uint64[](CONSUMERS + 1));
    }

    /// @dev C8, summed: what is finally earned is what lines say, to the atom.
    function linesAreEarned() external view returns (bool) {
        for (uint256 i = 1; i <= PAYEES; ++i) if (!unwatched && lined[i] != finalEarned[i]) return false;
        return true;
    }

    // ------------------------------------------------------------------ posting

    function file(uint64 id, uint256 lie) internal {
        Filed memory f;
        f.batch = draft();
        if (lie > SUM && f.batch.lines.length < 3) lie = NO_LIE;
        ISettlement.Lane memory l = settlement.lanes(lane);
        uint256 room = uint256(l.net) + l.bond + l.insurance;
        if (lie != NO_LIE && Trees.sumOf(Trees.root(f.batch.payouts)) + MORE > room) lie = NO_LIE;
        if (lie == PRICE) _dearer(f.batch);
        if (lie == SHIFT && !_shift(f.batch)) lie = NO_LIE;
        seal(f.batch);
        if (lie == SUM) _bend(f);
        (f.earned, f.debited, f.lie) = (earned, debited, lie);
        filed[id] = abi.encode(f);
        post(f.batch.header);
        delete given;
    }

    function _bend(Filed memory f) private view {
        ISettlement.Header memory h = f.batch.header;
        (f.left, f.right) = _children(payoutLeaves());
        uint256 total = Trees.sumOf(h.payoutRoot) + MORE;
        uint256 charged = Trees.sumOf(h.receiptsRoot) + MORE;
        h.payoutRoot = Trees.mark(h.payoutRoot, total);
        h.debitRoot = Trees.mark(h.debitRoot, total);
        h.receiptsRoot = Trees.mark(h.receiptsRoot, charged);
        h.linesRoot = Trees.mark(h.linesRoot, 2 * charged);
    }

    function _dearer(Batch memory b) private {
        b.receipts[0].price += MORE;
        b.receipts[0].charge += MORE;
        uint256 from = settlement.accounts(lane, b.receipts[0].consumer).index;
        for (uint256 i; i < b.lines.length; ++i) {
            if (i == 0 || b.lines[i].party == (from | CONSUMER)) b.lines[i].amount += MORE;
        }
        earned[b.lines[0].party] += MORE;
        debited[from] += MORE;
        (b.payouts, b.debits) = (payoutLeaves(), debitLeaves());
    }

    function _shift(Batch memory b) private returns (bool) {
        (Line memory from, Line memory to) = (b.lines[0], b.lines[1]);
        if (to.party & CONSUMER != 0 || from.amount < 2) return false;
        --from.amount;
        ++to.amount;
        --earned[from.party];
        ++earned[to.party];
        b.payouts = payoutLeaves();
        return true;
    }

    // ------------------------------------------------------------------ judging

    function convictLiar(uint64 id) internal {
        Filed memory f = _filed(id);
        ISettlement.Header memory h = f.batch.header;
        vm.startPrank(challenger);
        if (f.lie == SUM) {
            settlement.proveBadSum(
                lane, id, h, ISettlement.Tree.payouts, h.payoutRoot, f.left, f.right, 0, new bytes32[](0)
            );
        } else if (f.lie == PRICE) {
            referee.proveBadLine(lane, id, h, opening(f.batch, 0));
        } else {
            proveBadRun(runProof(id, f.batch, f.batch.lines[0].party));
        }
        vm.stopPrank();
        rollBack(id);
    }

    function accuseHonest(uint64 id, uint256 place) internal {
        Batch memory b = _filed(id).batch;
        if (b.receipts.length == 0) return;
        try referee.proveBadLine(lane, id, b.header, opening(b, place % b.receipts.length)) {}
        catch (bytes memory why) {
            _notProven(why);
        }
        uint32 party = uint32(place % 2 == 0 ? 1 + place % PAYEES : CONSUMER + 1 + place % CONSUMERS);
        try this.accuseRun(runProof(id, b, party)) {}
        catch (bytes memory why) {
            _notProven(why);
        }
    }

    function _notProven(bytes memory why) private {
        if (bytes4(why) != IReferee.NotProven.selector) broken = "an accusation is malformed";
    }

    function accuseRun(RunProof calldata p) external {
        proveBadRun(p);
    }

    // ------------------------------------------------------------------ afterwards

    function becameFinal(uint64 id) internal {
        Filed memory f = _filed(id);
        unwatched = f.lie != NO_LIE; // nobody saw it in time: even so the other laws must hold
        (finalEarned, finalDebited) = (f.earned, f.debited);
        finalizedTotal = uint64(Trees.sumOf(f.batch.header.payoutRoot));
        if (unwatched) return;
        Line[] memory lines = linesOf(f.batch.receipts);
        for (uint256 i; i < lines.length; ++i) {
            if (lines[i].party & CONSUMER == 0) lined[lines[i].party] += lines[i].amount;
        }
    }

    function rollBack(uint64 id) internal {
        delete given;
        if (id == 1) delete last;
        else last = headerOf(id - 1);
        if (id == settlement.head(lane).finalized + 1) {
            earned = finalEarned;
            debited = finalDebited;
        } else {
            Filed memory f = _filed(id - 1);
            (earned, debited) = (f.earned, f.debited);
        }
    }

    function lies(uint64 id) internal view returns (bool) {
        return _filed(id).lie != NO_LIE;
    }

    function headerOf(uint64 id) internal view returns (ISettlement.Header memory) {
        return _filed(id).batch.header;
    }

    function _filed(uint64 id) internal view returns (Filed memory) {
        return abi.decode(filed[id], (Filed));
    }

    // ------------------------------------------------------------------ trees

    function _children(bytes32[] memory leaves) internal pure returns (bytes32 left, bytes32 right) {
        bytes32[] memory row = Trees.padded(leaves, Trees.height(leaves.length));
        bytes32[] memory half = new bytes32[](row.length / 2);
        for (uint256 i; i < half.length; ++i) half[i] = row[i];
        left = Trees.root(half);
        for (uint256 i; i < half.length; ++i) half[i] = row[half.length + i];
        right = Trees.root(half);
    }

    function _payouts(uint64[] memory amounts) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](amounts.length);
        for (uint32 i = 1; i < amounts.length; ++i) {
            if (amounts[i] != 0) leaves[i] = Trees.leaf(1, i, payee(i), amounts[i]);
        }
    }

    function _debits(uint64[] memory amounts) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](amounts.length);
        for (uint32 i = 1; i < amounts.length; ++i) {
            if (amounts[i] != 0) leaves[i] = Trees.leaf(2, i, consumer(i), amounts[i]);
        }
    }
}
