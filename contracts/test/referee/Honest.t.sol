// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {Receipt} from "../../src/Receipt.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Court} from "../Court.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev C10: random lives of a lane whose operator keeps the rules of FIELDS.md, with two consumers that come, ask to leave,
/// change their minds, leave, escape and come back, with pauses, falls by others' hands and logs that come late. Whatever
/// is accused, whenever: nothing is proven. The ledger here knows what it saw, not what the chain keeps.
contract RefereeHonestTest is Court {
    using Trees for Sparse;

    uint256 private constant LIFE = 30 days;
    uint256 private constant STEPS = 60;

    struct Served {
        uint256 who;
        uint256 ended;
    }

    struct Posted {
        Header header;
        Header prev;
        uint64 first;
        uint64 count;
        /// A bit for each empty place.
        uint256 barred;
        /// What the two were debited.
        uint64[3] debits;
    }

    /// @dev The gateway's log; receipt `seq` is at seq - 1.
    Served[] private _log;
    Posted[] private _posted;
    /// @dev Batches that are final.
    uint256 private _final;
    /// @dev What a consumer asked, when it last left, what it has: as the ledger saw it.
    uint256[3] private _askedAt;
    uint256[3] private _leftAt;
    uint64[3] private _spent; // served, and neither barred nor void
    uint256 private _returnedAt;
    uint256 private _seed;

    // ------------------------------------------------------------------ the law

    function testFuzz_WhoKeepsTheRulesIsNeverConvicted(uint256 seed) external {
        _seed = seed;
        for (uint256 i; i < STEPS; ++i) {
            _step();
        }
        for (uint256 i; i < 30; ++i) {
            _accuse();
        }
    }

    function _step() private {
        uint256 what = _random(20);
        uint256 who = 1 + _random(2);
        if (what < 6) _serve(who);
        else if (what < 9) vm.warp(block.timestamp + 1 + _random(_random(4) == 0 ? 2 days : NOTICE));
        else if (what < 12) _close();
        else if (what == 12) _ask(who);
        else if (what == 13) _stay(who);
        else if (what == 14) _finalize();
        else if (what == 15) _leave(who);
        else if (what == 16) _come(who);
        else if (what == 17) _stumble();
        else _accuse();
    }

    // ------------------------------------------------------------------ an honest gateway and ledger

    /// @dev Serves whom it may, as far as it knows: it may have seen a request late, but within the notice.
    function _serve(uint256 who) private {
        bool knows = _askedAt[who] != 0 && block.timestamp > _askedAt[who] + _random(NOTICE + 1);
        if (knows || !settlement.lanes(lane).active) return;
        ISettlement.Account memory a = settlement.accounts(lane, consumer(who));
        if (_spent[who] + PRICE > a.deposited - a.withdrawn) return;
        _spent[who] += PRICE;
        _log.push(Served(who, block.timestamp));
    }

    /// @dev Closes a batch: what is due, and as much of the rest of the log as has come.
    function _close() private {
        if (!settlement.lanes(lane).active || _posted.length - _final > 20) return;
        Posted memory p;
        (p.first, p.prev) = (_next(), _last().header);
        if (p.first > _log.length) return;
        uint256 rest = _log.length - (p.first - 1);
        if (rest > 16) rest = 16;
        p.count = uint64(_random(rest + 1));
        while (p.count < rest && _isDue(_log[p.first - 1 + p.count])) ++p.count;
        p.debits = _last().debits;
        for (uint256 i; i < p.count; ++i) {
            Served memory s = _log[p.first - 1 + i];
            if (_isBarred(s, p.prev.closedAt)) p.barred |= 1 << i;
            else p.debits[s.who] += PRICE;
        }
        if (p.count == 16 && _log.length > p.first + 15 && _isDue(_log[p.first + 15])) return; // never so much here
        p.header = _headOf(p);
        vm.prank(operator);
        settlement.commit(lane, p.header, 0, noHeader());
        _posted.push();
        _store(_posted[_posted.length - 1], p);
    }

    function _isDue(Served memory s) private view returns (bool) {
        uint256 from = s.ended > _returnedAt ? s.ended : _returnedAt;
        return from + DAY < block.timestamp;
    }

    /// @dev In the words of CONTRACTS, principles 4 and 9.
    function _isBarred(Served memory s, uint256 prevClosedAt) private view returns (bool) {
        if (s.ended + LIFE < block.timestamp) return true;
        if (s.ended < _leftAt[s.who]) return true;
        return _askedAt[s.who] != 0 && prevClosedAt > _askedAt[s.who] + NOTICE;
    }

    function _headOf(Posted memory p) private view returns (Header memory h) {
        (h.prev, h.era) = (p.prev.era == 0 ? bytes24(0) : idOf(p.prev), settlement.lanes(lane).era);
        h.closedAt = uint40(block.timestamp);
        Sparse memory places = _placesOf(p);
        Sparse memory owed = _debitsOf(p);
        Sparse memory paid = _payoutsOf(p);
        h.heights = heightsOf(places.height, paid.height, owed.height, 1, 0, 1);
        (h.receiptsRoot, h.payoutRoot, h.debitRoot) = (places.root(), paid.root(), owed.root());
        (h.gatewaysRoot, h.linesRoot) = (rowsOf(p.first, p.count).root(), bytes32(Trees.sumOf(h.receiptsRoot)));
    }

    // ------------------------------------------------------------------ what consumers do

    function _ask(uint256 who) private {
        if (_askedAt[who] != 0) return;
        _askedAt[who] = block.timestamp;
        asksToLeave(who);
    }

    /// @dev Also when it may not any more.
    function _stay(uint256 who) private {
        vm.prank(consumer(who));
        (bool done,) = address(consumers).call(abi.encodeCall(consumers.cancelWithdraw, (lane)));
        if (done) _askedAt[who] = 0;
    }

    function _leave(uint256 who) private {
        uint64[3] memory amounts;
        if (_final != 0) amounts = _posted[_final - 1].debits;
        bytes32[] memory path;
        if (_final != 0) path = _debitsOf(_posted[_final - 1]).prove(who);
        bytes memory way = _random(2) == 0
            ? abi.encodeCall(ISettlement.withdraw, (lane, consumer(who), amounts[who], path))
            : abi.encodeCall(ISettlement.escapeWithdraw, (lane, consumer(who), amounts[who], path));
        (bool done,) = address(settlement).call(way);
        if (!done) return;
        bool escaped = bytes4(way) == ISettlement.escapeWithdraw.selector;
        _leftAt[who] = escaped ? block.timestamp : _posted[_final - 1].header.closedAt;
        (_askedAt[who], _spent[who]) = (0, amounts[who]);
    }

    function _come(uint256 who) private {
        if (settlement.lanes(lane).active) depositFor(consumer(who), 100);
    }

    function _finalize() private {
        if (_final == _posted.length) return;
        uint256 until = settlement.batches(lane, uint64(_final + 1)).until;
        if (block.timestamp < until) {
            if (_random(3) != 0) return;
            vm.warp(until);
        }
        settlement.finalize(lane, uint64(_final + 1), _posted[_final].header);
        ++_final;
    }

    /// @dev A pause of a while after everything was posted; or the lane falls (a question was missed) and returns; or it
    /// is silent for so long that consumers may escape.
    function _stumble() private {
        uint256 how = _random(3);
        if (how == 0) {
            if (_next() <= _log.length) return;
            setActive(false);
            vm.warp(block.timestamp + _random(3 days));
            _accuse();
            setActive(true);
        } else if (how == 1) {
            vm.prank(address(referee));
            settlement.punish(lane, challenger);
            while (_posted.length > _final) _posted.pop();
            vm.warp(block.timestamp + DAY + _random(DAY));
            _accuse();
            addBond(BOND);
            setActive(true);
            _returnedAt = block.timestamp;
        } else if (_posted.length == _final) {
            vm.warp(block.timestamp + (_random(2) == 0 ? 8 days : 31 days));
        }
    }

    // ------------------------------------------------------------------ accusers

    /// @dev One accusation of each kind, of any pending batch and any receipt.
    function _accuse() private {
        if (_log.length == 0) return;
        uint64 seq = uint64(1 + _random(_log.length));
        Receipt memory r = _receipt(seq);
        IJudge.Signed memory s = signedBy(GATEWAY, r);
        _unposted(s);
        if (_posted.length == _final) return;
        uint256 at_ = _final + _random(_posted.length - _final);
        Posted memory p = _posted[at_];
        uint64 id = uint64(at_ + 1);
        IJudge.Word memory stands;
        if (seq >= p.first && seq < p.first + p.count) stands = wordAt(_placesOf(p), seq - p.first);
        IJudge.Row memory row_ = IJudge.Row(1, gateway, p.first, p.count, rowsOf(p.first, p.count).prove(1));
        _stands(abi.encodeCall(IReferee.proveOmittedReceipt, (lane, id, p.header, p.prev, s, row_, stands)));
        uint256 who = 1 + _random(2);
        IJudge.Word memory debit = wordAt(_debitsOf(p), who);
        _stands(abi.encodeCall(IReferee.proveOverdraft, (lane, id, p.header, consumer(who), debit)));
        if (at_ == 0) return;
        IJudge.Word memory before = wordAt(_debitsOf(_posted[at_ - 1]), who);
        address account = consumer(who);
        _stands(abi.encodeCall(IReferee.proveDebitAfterExit, (lane, id, p.header, p.prev, account, before, debit)));
    }

    function _unposted(IJudge.Signed memory s) private {
        if (_posted.length == 0) {
            _stands(abi.encodeCall(IReferee.proveUnpostedReceipt, (lane, noHeader(), s, noRow())));
            return;
        }
        Posted memory p = _posted[_posted.length - 1];
        IJudge.Row memory row_ = IJudge.Row(1, gateway, p.first, p.count, rowsOf(p.first, p.count).prove(1));
        _stands(abi.encodeCall(IReferee.proveUnpostedReceipt, (lane, p.header, s, row_)));
    }

    function _stands(bytes memory accusation) private {
        (bool done, bytes memory why) = address(referee).call(accusation);
        vm.assertFalse(done, "an honest operator was convicted");
        vm.assertEq(bytes32(bytes4(why)), bytes32(IJudge.NotProven.selector), "a proof that was not heard");
    }

    // ------------------------------------------------------------------ inside

    /// @dev The last batch; before the first, one of nothing, which receipt 1 follows.
    function _last() private view returns (Posted memory p) {
        if (_posted.length != 0) return _posted[_posted.length - 1];
        p.first = 1;
    }

    function _next() private view returns (uint64) {
        return _last().first + _last().count;
    }

    function _receipt(uint64 seq) private view returns (Receipt memory r) {
        r = aReceipt(seq);
        Served memory s = _log[seq - 1];
        (r.consumer, r.endedAt, r.epoch) = (consumer(s.who), uint64(s.ended * 1000), uint64(s.ended / EPOCH));
    }

    function _placesOf(Posted memory p) private view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](p.count);
        for (uint64 i; i < p.count; ++i) {
            if ((p.barred >> i) & 1 == 0) leaves[i] = leafOf(_receipt(p.first + i));
        }
        return Trees.dense(leaves, 4);
    }

    function _debitsOf(Posted memory p) private view returns (Sparse memory) {
        uint64[] memory amounts = new uint64[](4);
        (amounts[1], amounts[2]) = (p.debits[1], p.debits[2]);
        return debitsOf(amounts);
    }

    function _payoutsOf(Posted memory p) private view returns (Sparse memory) {
        uint64[] memory amounts = new uint64[](2);
        amounts[1] = p.debits[1] + p.debits[2];
        return payoutsOf(amounts);
    }

    function _store(Posted storage into, Posted memory p) private {
        (into.header, into.prev, into.first, into.count) = (p.header, p.prev, p.first, p.count);
        (into.barred, into.debits) = (p.barred, p.debits);
    }

    function _random(uint256 below) private returns (uint256) {
        _seed = uint256(keccak256(abi.encode(_seed)));
        return below == 0 ? 0 : _seed % below;
    }
}
