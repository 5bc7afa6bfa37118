// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Trees} from "../Trees.sol";
import {EveryState} from "./EveryState.sol";

/// @dev Read by halmos (`make symbolic`): money out of a lane, whatever the state, the final tree, and what is asked for.
/// Trees have two levels here: SumTree's own laws are of any height.
contract SymbolicMoney is EveryState {
    /// @dev Settlement's mapping of accounts.
    uint256 private constant ACCOUNTS = 8;
    address private constant ALICE = address(0xA11CE);

    /// @dev C3, C7. A claim pays, to the payee of a leaf of the final tree, what it did not yet pay; the lane never more
    /// than what is final; from its own vault.
    function check_C3_AClaimPaysWhatIsFinalAndNotYetPaid(
        uint256 choice,
        address payee,
        uint64 cumulative,
        bytes32[2] calldata siblings
    ) external {
        uint32 index = oneOf(choice);
        (ISettlement.Books memory b, uint256 held) = sound();
        uint256[3] memory had = _others(payee);
        uint64[4] memory before = _claimed();
        try settlement.claim(lane, index, payee, cumulative, _list(siblings)) returns (uint64 paid) {
            (bytes32 root,) = settlement.finalRoots(lane);
            assert(root == _rootOver(Trees.payoutLeaf(lane, index, payee, cumulative), index, siblings));
            assert(paid == (cumulative > before[index] ? cumulative - before[index] : 0));
            before[index] += paid;
            _same(before, _claimed());
            _paidOut(b, held, paid, payee == lane);
            _richer(payee, had, payee == lane ? 0 : paid);
        } catch {}
    }

    /// @dev C5, C2, C7. An exit takes what the account brought, less what it took and what is finally debited; never what
    /// is finally paid out, and never another lane's.
    function check_C5_AWithdrawalTakesWhatIsNotFinallyDebited(
        bool beyond,
        ISettlement.Account calldata account,
        uint64 debit,
        bytes32[2] calldata siblings,
        uint40 time
    ) external {
        _checkExit(false, _store(account, beyond ? 4 : 1), debit, siblings, time);
    }

    /// @dev C5. Who left takes nothing more, by either exit, whatever it shows and however long it waits.
    function check_C5_NobodyLeavesTwice(
        bool escapes,
        bool escapesAgain,
        uint256 choice,
        ISettlement.Account calldata account,
        uint64[2] calldata debits,
        bytes32[2] calldata siblings,
        bytes32[2] calldata others,
        uint40[2] calldata times
    ) external {
        setTime(times[0]);
        _store(account, oneOf(choice));
        if (!_leave(escapes, debits[0], siblings)) return;
        setTime(times[1]);
        assert(!_leave(escapesAgain, debits[1], others));
    }

    function _checkExit(
        bool escapes,
        ISettlement.Account memory a,
        uint64 debit,
        bytes32[2] calldata siblings,
        uint40 time
    ) private {
        setTime(time);
        (ISettlement.Books memory b, uint256 held) = sound();
        uint256[3] memory had = _others(ALICE);
        uint32 era = settlement.lanes(lane).era;
        vm.assume(era < type(uint32).max);
        if (!_leave(escapes, debit, siblings)) return;
        uint64 left = a.deposited - a.withdrawn;
        uint64 amount = left > debit ? left - debit : 0;
        _checkLeft(a, amount, debit);
        _mayLeave(a, escapes, time);
        _isDebited(a.index, debit, siblings);
        assert(settlement.lanes(lane).era == era + (escapes ? 1 : 0));
        ISettlement.Books memory now_ = settlement.books(lane);
        assert(now_.net == b.net - amount && now_.net >= now_.settled);
        assert(now_.settled == b.settled && now_.paid == b.paid && now_.bond == b.bond);
        assert(token.balanceOf(lane) == held - amount);
        _richer(ALICE, had, amount);
    }

    // ------------------------------------------------------------------ inside: before

    function _store(ISettlement.Account calldata account, uint32 index) private returns (ISettlement.Account memory a) {
        a = account;
        a.index = index; // known on each path, as a proof's index has to be
        bytes32 slot = keccak256(abi.encode(ALICE, keccak256(abi.encode(lane, ACCOUNTS))));
        uint256 word = uint256(a.leftAt) << 200 | uint256(a.requestedAt) << 160 | uint256(index) << 128
            | uint256(a.withdrawn) << 64 | a.deposited;
        vm.store(address(settlement), slot, bytes32(word));
        ISettlement.Account memory stored = settlement.accounts(lane, ALICE);
        assert(stored.deposited == a.deposited && stored.withdrawn == a.withdrawn && stored.index == index);
        assert(stored.requestedAt == a.requestedAt && stored.leftAt == a.leftAt);
    }

    /// @dev What a payee, the other lane's vault and Settlement hold.
    function _others(address payee) private view returns (uint256[3] memory had) {
        had = [token.balanceOf(payee), token.balanceOf(other), token.balanceOf(address(settlement))];
        for (uint256 i; i < 3; ++i) {
            vm.assume(had[i] <= SUPPLY);
        }
    }

    function _claimed() private view returns (uint64[4] memory amounts) {
        for (uint32 i; i < 4; ++i) {
            amounts[i] = settlement.claimed(lane, i);
        }
    }

    function _leave(bool escapes, uint64 debit, bytes32[2] calldata siblings) private returns (bool) {
        if (escapes) {
            try settlement.escapeWithdraw(lane, ALICE, debit, _list(siblings)) {
                return true;
            } catch {
                return false;
            }
        }
        try settlement.withdraw(lane, ALICE, debit, _list(siblings)) {
            return true;
        } catch {
            return false;
        }
    }

    // ------------------------------------------------------------------ inside: afterwards

    /// @dev C3, C7 hold again, and nothing else moved.
    function _paidOut(ISettlement.Books memory b, uint256 held, uint64 paid, bool toItself) private view {
        ISettlement.Books memory now_ = settlement.books(lane);
        assert(uint256(now_.paid) == uint256(b.paid) + paid && now_.paid <= now_.settled);
        assert(now_.net == b.net && now_.settled == b.settled && now_.bond == b.bond);
        uint256 holds = token.balanceOf(lane);
        assert(toItself ? holds <= held && holds >= held - paid : holds == held - paid);
        assert(holds >= now_.net - now_.paid);
    }

    function _richer(address payee, uint256[3] memory had, uint256 by) private view {
        assert(token.balanceOf(payee) >= had[0] + by);
        assert(token.balanceOf(other) >= had[1]);
        assert(token.balanceOf(address(settlement)) >= had[2]);
    }

    function _same(uint64[4] memory one, uint64[4] memory another) private pure {
        for (uint256 i; i < 4; ++i) {
            assert(one[i] == another[i]);
        }
    }

    function _checkLeft(ISettlement.Account memory a, uint64 amount, uint64 debit) private view {
        ISettlement.Account memory now_ = settlement.accounts(lane, ALICE);
        assert(now_.withdrawn == a.withdrawn + amount && now_.withdrawn <= now_.deposited);
        assert(now_.deposited == a.deposited && now_.index == a.index && now_.requestedAt == 0);
        assert(now_.debitAtExit == debit && now_.paidIn == 0);
    }

    function _mayLeave(ISettlement.Account memory a, bool escapes, uint40 time) private view {
        ISettlement.Head memory h = settlement.heads(lane);
        bool settled = h.finalClosedAt > uint256(a.requestedAt) + NOTICE;
        assert(a.requestedAt != 0 && settled != escapes);
        if (!escapes) return;
        assert(h.finalized + 1 == h.next);
        assert(time >= uint256(a.requestedAt) + 7 days && time >= uint256(h.finalClosedAt) + 7 days);
    }

    function _isDebited(uint32 index, uint64 debit, bytes32[2] calldata siblings) private view {
        (, bytes32 root) = settlement.finalRoots(lane);
        bool beyond = root == 0 || index >> settlement.heads(lane).debitHeight != 0;
        if (debit == 0 && beyond) return;
        assert(root == _rootOver(Trees.debitLeaf(lane, index, ALICE, debit), index, siblings));
    }

    // ------------------------------------------------------------------ inside: trees of two levels

    function _rootOver(bytes32 node, uint32 index, bytes32[2] calldata siblings) private pure returns (bytes32) {
        for (uint256 i; i < 2; ++i) {
            node = (index >> i) & 1 == 0 ? Trees.parent(node, siblings[i]) : Trees.parent(siblings[i], node);
        }
        return node;
    }

    function _list(bytes32[2] calldata siblings) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](2);
        (proof[0], proof[1]) = (siblings[0], siblings[1]);
    }
}
