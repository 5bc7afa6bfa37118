// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Model} from "./Model.sol";

/// @dev Everybody at once, at random, in three lanes: an honest operator, one that lies and is watched, one that lies and is
/// not, and goes on afterwards. Consumers that come, pay by x402, leave, escape and come back; payees that the token refuses;
/// accusers that cannot be paid; a token that takes fees, says false, and calls back. What an actor may lawfully find refused, it
/// checks beforehand, so any other revert fails the run; what must be refused is tried, and `broken` names the law when it is
/// not.
contract Handler is Model {
    using Trees for Sparse;

    constructor() {
        setUp();
    }

    function world() external view returns (ISettlement, address, address[] memory) {
        return (settlement, address(coin), lanes);
    }

    /// @dev C7: no action in one lane moves another's vault.
    modifier inLane(uint256 l) {
        lane = lanes[l % LANES];
        uint256[LANES] memory held;
        for (uint256 i; i < LANES; ++i) held[i] = coin.balanceOf(lanes[i]);
        _;
        for (uint256 i; i < LANES; ++i) {
            if (lanes[i] != lane && coin.balanceOf(lanes[i]) != held[i]) broken = "C7: no call moves another vault";
        }
    }

    // ------------------------------------------------------------------ a hostile token

    /// @dev How the token treats whom it pays next.
    enum Mood {
        fair,
        takesAFee,
        saysFalse,
        refuses,
        callsBack
    }

    function _moodOf(uint8 seed) private pure returns (Mood) {
        return seed % 8 > uint8(Mood.callsBack) ? Mood.fair : Mood(seed % 8);
    }

    /// @dev Whoever is paid next may be refused, or calls Settlement back.
    function _turns(Mood mood, address to, bytes memory again) private {
        if (mood == Mood.takesAFee) coin.setFee(1);
        if (mood == Mood.saysFalse) coin.setLies(true);
        if (mood == Mood.refuses) coin.blacklist(to, true);
        if (mood == Mood.callsBack) coin.onTransferTo(to, address(settlement), again);
    }

    function _calms(Mood mood, address to) private {
        if (mood == Mood.takesAFee) coin.setFee(0);
        if (mood == Mood.saysFalse) coin.setLies(false);
        if (mood == Mood.refuses) coin.blacklist(to, false);
        if (mood == Mood.callsBack) coin.onTransferTo(to, address(0), ""); // nobody is called
    }

    /// @dev Pays somebody out. Whom the token did not pay, it pays later.
    function _exits(Mood mood, address to, bytes memory exit) private returns (bool done, bytes memory why) {
        if (mood == Mood.takesAFee) mood = Mood.fair; // the payee bears it
        _turns(mood, to, exit);
        (done, why) = address(settlement).call(exit);
        _calms(mood, to);
        if (!done && mood != Mood.fair) (done, why) = address(settlement).call(exit);
    }

    // ------------------------------------------------------------------ consumers

    function deposits(uint256 l, uint256 who, uint64 amount, uint8 seed) external inLane(l) {
        address account = consumerOf[1 + who % WHO];
        uint40 requested = settlement.accounts(lane, account).requestedAt;
        amount = 1 + amount % 5_000;
        coin.approve(address(consumers), amount);
        Mood mood = _moodOf(seed);
        _turns(mood, lane, mood == Mood.callsBack ? _claim(l % LANES) : bytes(""));
        try consumers.deposit(lane, account, amount) {
            if (!settlement.lanes(lane).active) broken = "C6: a pause stops deposits";
            if (mood != Mood.fair && mood != Mood.callsBack) broken = "C7: what did not come is not booked";
        } catch {
            if (settlement.lanes(lane).active && mood == Mood.fair) broken = "C6: a deposit is taken";
        }
        _calms(mood, lane);
        if (settlement.accounts(lane, account).requestedAt != requested) broken = "C6: a deposit changes no exit";
    }

    /// @dev By x402: also into a stopped lane. Twice is refused.
    function pays(uint256 l, uint256 who, uint64 amount, uint8 seed) external inLane(l) {
        who = 1 + who % WHO;
        amount = 1 + amount % 2_000;
        coin.transfer(consumerOf[who], amount);
        bytes32 salt = bytes32(++nonce);
        uint256 until = block.timestamp + 1;
        bytes memory signature = authorization(consumerKey(who), false, lane, amount, 0, until, salt);
        Mood mood = _moodOf(seed);
        if (mood != Mood.fair && mood != Mood.callsBack) {
            _turns(mood, lane, "");
            try consumers.depositFromInbox(lane, consumerOf[who], amount, 0, until, salt, signature) {
                broken = "C7: what did not come is not booked";
            } catch {}
            _calms(mood, lane);
        }
        consumers.depositFromInbox(lane, consumerOf[who], amount, 0, until, salt, signature);
        try consumers.depositFromInbox(lane, consumerOf[who], amount, 0, until, salt, signature) {
            broken = "C7: a payment is booked once";
        } catch {}
    }

    function requests(uint256 l, uint256 who, uint8 stays) external inLane(l) {
        address account = consumerOf[_oftenTheAccomplice(who)];
        bool leaves = stays % 4 != 0;
        uint40 requestedAt = settlement.accounts(lane, account).requestedAt;
        if (leaves == (requestedAt != 0)) return;
        if (!leaves && block.timestamp > requestedAt + NOTICE) return;
        vm.prank(account);
        if (leaves) consumers.requestWithdraw(lane);
        else consumers.cancelWithdraw(lane);
    }

    function withdraws(uint256 l, uint256 who, uint8 seed) external inLane(l) {
        _withdraws(l % LANES, _oftenTheAccomplice(who), _moodOf(seed));
    }

    function _withdraws(uint256 l, uint256 who, Mood mood) private {
        Model.Filed memory f = finalOf(l);
        ISettlement.Account memory a = settlement.accounts(lane, consumerOf[who]);
        if (f.withheld) return; // nobody can prove anything
        bool lawful = a.requestedAt != 0 && f.header.closedAt > a.requestedAt + NOTICE;
        uint256 held = coin.balanceOf(consumerOf[who]);
        (bool done, bytes memory why) = _exits(mood, consumerOf[who], _exit(settlement.withdraw.selector, l, who, f));
        if (done && !lawful) broken = "C5: an exit needs a final batch closed after its request and notice";
        if (!done && lawful && !_lawfullyShort(l, why)) broken = "C5: who may leave leaves";
        if (done) _left(l, who, a, f, held);
    }

    function escapes(uint256 l, uint256 who, uint8 seed) external inLane(l) {
        _escapes(l % LANES, _oftenTheAccomplice(who), _moodOf(seed));
    }

    function _escapes(uint256 l, uint256 who, Mood mood) private {
        Model.Filed memory f = finalOf(l);
        ISettlement.Account memory a = settlement.accounts(lane, consumerOf[who]);
        if (f.withheld) return;
        bool lawful = _mayEscape(a);
        uint32 era = settlement.lanes(lane).era;
        uint256 held = coin.balanceOf(consumerOf[who]);
        bytes memory exit = _exit(settlement.escapeWithdraw.selector, l, who, f);
        (bool done, bytes memory why) = _exits(mood, consumerOf[who], exit);
        if (!done && lawful && !_lawfullyShort(l, why)) broken = "C5: who may escape escapes";
        if (!done) return;
        if (!lawful) broken = "C5: an escape needs a lane that stands still";
        if (settlement.lanes(lane).era != era + 1) broken = "C4: an escape begins an era";
        _left(l, who, a, f, held);
    }

    function _mayEscape(ISettlement.Account memory a) private view returns (bool) {
        ISettlement.Head memory h = settlement.heads(lane);
        uint256 from = (a.requestedAt > h.finalClosedAt ? a.requestedAt : h.finalClosedAt) + 7 days;
        return a.requestedAt != 0 && h.finalized + 1 == h.next && block.timestamp >= from
            && h.finalClosedAt <= a.requestedAt + NOTICE;
    }

    /// @dev The call of either exit.
    function _exit(bytes4 selector, uint256 l, uint256 who, Model.Filed memory f) private view returns (bytes memory) {
        return abi.encodeWithSelector(selector, lane, consumerOf[who], f.debited[who], debitTree(l, f).prove(who));
    }

    function _oftenTheAccomplice(uint256 who) private pure returns (uint256) {
        return who % 2 == 0 ? WHO : 1 + (who >> 8) % WHO;
    }

    function _left(uint256 l, uint256 who, ISettlement.Account memory a, Model.Filed memory f, uint256 held) private {
        uint64 has = a.deposited - a.withdrawn;
        uint64 rest = has > f.debited[who] ? has - f.debited[who] : 0;
        if (coin.balanceOf(consumerOf[who]) - held != rest) broken = "C5: deposited - withdrawn - final debit";
        for (uint256 i = 1; i <= PAYEES; ++i) calls_[l][i][who] = 0; // an honest operator bears what it did not post
    }

    /// @dev Where nobody looked, the last ones out may find less than they should. Never elsewhere.
    function _lawfullyShort(uint256 l, bytes memory why) private view returns (bool) {
        return soiled[l] && bytes4(why) == ISettlement.AboveNet.selector;
    }

    // ------------------------------------------------------------------ operators

    /// @dev A call that an honest gateway serves: the account stays, signed a voucher, and has the money.
    function calls(uint256 l, uint256 who, uint256 to, uint64 amount) external inLane(l) {
        l %= LANES;
        (who, to, amount) = (1 + who % WHO, 1 + to % PAYEES, 1 + amount % 900);
        Model.Filed memory tip = tipOf(l);
        ISettlement.Account memory a = settlement.accounts(lane, consumerOf[who]);
        uint64 spent = tip.debited[who] + amount;
        for (uint256 i = 1; i <= PAYEES; ++i) spent += calls_[l][i][who];
        if (a.requestedAt != 0 || spent > a.deposited - a.withdrawn) return;
        calls_[l][to][who] += amount;
        if (spent > mandateOf(l, who, uint40(block.timestamp) + SESSION_NOTICE)) _signs(l, who, spent);
    }

    /// @dev A gateway takes no voucher of a key that was revoked, though it still counts.
    function _signs(uint256 l, uint256 who, uint64 spent) internal virtual {
        vouchers[l][who] = spent;
    }

    /// @dev Posts what was served; the liars add a lie.
    function posts(uint256 l, uint256 lie, uint256 lag, uint8 taller) external inLane(l) {
        _posts(l % LANES, lie, lag, taller);
    }

    /// @dev Posts a batch, waits and makes it final: most of a lane's life.
    function settles(uint256 l, uint256 lie) external inLane(l) {
        l %= LANES;
        _posts(l, lie, 0, 1);
        _finishes(l, 0);
    }

    /// @dev Poc8: the operator and its accomplice, which leaves between the finalities of two batches of one block.
    function races(uint256 l, uint256 lie) external inLane(l) {
        l %= LANES;
        if (l == HONEST) return;
        _asksToLeave();
        _pass(NOTICE + 1);
        lane = lanes[l];
        _posts(l, 0, 0, 1);
        _posts(l, (lie >> 8 << 8) | (lie % 2 == 0 ? 2 : 7), 0, 1);
        ISettlement.Head memory h = settlement.heads(lane);
        if (h.next < h.finalized + 3) return;
        _finishes(l, 1);
        _withdraws(l, WHO, Mood.fair);
        _finalizes(l);
    }

    /// @dev F3: the operator stands still until its accomplice has escaped, and then debits it once more.
    function vanishes(uint256 l, uint256 lie) external inLane(l) {
        l %= LANES;
        if (l == HONEST) return;
        _asksToLeave();
        _finishes(l, 0);
        _pass(7 days);
        lane = lanes[l];
        _escapes(l, WHO, Mood.fair);
        _posts(l, (lie >> 8 << 8) | 2, 0, 1);
    }

    function _asksToLeave() private {
        if (settlement.accounts(lane, consumerOf[WHO]).requestedAt != 0) return;
        vm.prank(consumerOf[WHO]);
        consumers.requestWithdraw(lane);
    }

    /// @dev Waits until the windows of all that pends have passed, and makes it final but for the last ones.
    function _finishes(uint256 l, uint256 last) private {
        ISettlement.Head memory h = settlement.heads(lane);
        uint256 until = block.timestamp;
        for (uint64 id = h.finalized + 1; id < h.next; ++id) {
            uint256 end = settlement.batches(lane, id).until;
            if (end > until) until = end;
        }
        if (until > block.timestamp) _pass(until - block.timestamp);
        lane = lanes[l];
        h = settlement.heads(lane);
        for (uint256 i = h.next - h.finalized; i > last + 1; --i) _finalizes(l);
    }

    function _posts(uint256 l, uint256 lie, uint256 lag, uint8 taller) private {
        ISettlement.Head memory h = settlement.heads(lane);
        if (h.next - h.finalized > 6) return;
        Model.Filed memory tip = tipOf(l);
        uint40 closedAt = _closing(h, lag);
        Model.Filed memory f = _draft(l, tip, closedAt);
        if (l != HONEST) _lies(f, lie);
        f.header.heights = shape(taller);
        _commits(l, f, tip, closedAt);
    }

    function _commits(uint256 l, Model.Filed memory f, Model.Filed memory tip, uint40 closedAt) private {
        ISettlement.Head memory h = settlement.heads(lane);
        uint64 grown = sum(f.earned) - sum(tip.earned);
        seal(l, f, tip, closedAt);
        ISettlement.Books memory b = settlement.books(lane);
        ISettlement.Lane memory n = settlement.lanes(lane);
        bool lawful = n.active && sum(f.debited) == sum(f.earned) && sum(f.earned) <= b.net
            && h.total + grown - b.settled <= uint256(b.bond) * n.leverage;
        vm.prank(operators[l]);
        try settlement.commit(lane, f.header, 0, noHeader()) {
            if (!lawful) broken = "C1, C2, C6, C9: a commit compares totals, net, bond and pause";
            filed[l][h.next] = abi.encode(f);
            delete calls_[l];
            uint256 until = block.timestamp + _windowOf(f.header.heights);
            if (settlement.batches(lane, h.next).until != until) broken = "C11: a window opens the longest path";
        } catch {
            if (lawful) broken = "C11: what is lawful is posted";
        }
    }

    /// @dev Heights, now and then as tall as trees may be.
    function shape(uint8 taller) internal pure virtual returns (uint48) {
        bool tall = taller % 8 == 0;
        return heightsOf(0, tall ? 3 + taller / 9 : 3, tall ? 31 - taller / 16 : 3, 0, 0, 0);
    }

    /// @dev Eight levels a round, and three answers more.
    function _windowOf(uint256 heights) private pure returns (uint256) {
        uint256 tallest = ((heights >> 32) & 0xff) + (heights >> 40);
        for (uint256 i; i < 4; ++i) {
            uint256 height = (heights >> (8 * i)) & 0xff;
            if (height > tallest) tallest = height;
        }
        uint256 needed = ((tallest + 7) / 8 + 3) * ANSWER_TIME;
        return needed > WINDOW ? needed : WINDOW;
    }

    function _closing(ISettlement.Head memory h, uint256 lag) private view returns (uint40 closedAt) {
        closedAt = uint40(block.timestamp - lag % (DAY + 1));
        if (closedAt < h.lastClosedAt) closedAt = h.lastClosedAt;
    }

    /// @dev An honest batch: all that was served, but of those who left before the batch before was closed, and what no
    /// mandate covers any more. A liar charges that too.
    function _draft(uint256 l, Model.Filed memory tip, uint40 closedAt) private view returns (Model.Filed memory f) {
        (f.earned, f.debited, f.sold) = (_copy(tip.earned), _copy(tip.debited), new uint64[](PAYEES * WHO));
        for (uint256 who = 1; who <= WHO; ++who) {
            ISettlement.Account memory a = settlement.accounts(lane, consumerOf[who]);
            if (a.requestedAt != 0 && tip.header.closedAt > a.requestedAt + NOTICE) continue;
            uint64 charged;
            for (uint256 to = 1; to <= PAYEES; ++to) charged += calls_[l][to][who];
            bool covered = f.debited[who] + charged <= mandateOf(l, who, closedAt);
            if (charged == 0 || (l == HONEST && !covered)) continue;
            for (uint256 to = 1; to <= PAYEES; ++to) sells(f, to, who, calls_[l][to][who]);
        }
        _splits(f);
    }

    /// @dev What was sold is earned.
    function _splits(Model.Filed memory f) private pure {
        uint64[] memory due = dueOf(f);
        for (uint256 to = 1; to <= PAYEES; ++to) f.earned[to] = f.earned[to] + due[to] - (f.due.length == 0 ? 0 : f.due[to]);
        f.due = due;
    }

    function _copy(uint64[] memory amounts) private pure returns (uint64[] memory) {
        return abi.decode(abi.encode(amounts), (uint64[]));
    }

    /// @dev A debit too high, of the accomplice or another; a payout moved to another payee; trees nobody has; totals that
    /// differ; a price above its terms; lines that their receipts do not say; another receipt than was signed.
    function _lies(Model.Filed memory f, uint256 lie) private view {
        uint64 amount = uint64(1 + (lie >> 64) % 12_000);
        (uint256 who, uint256 to) = (1 + (lie >> 8) % WHO, 1 + (lie >> 16) % PAYEES);
        uint256 kind = lie % 32; // most batches are honest: who always lies has nothing final to steal
        if (kind == 7) (kind, amount) = (1, _room(f));
        if (kind == 1 || kind == 2) {
            if (kind == 2) (who, amount) = (WHO, (lie >> 200) % 2 == 0 ? amount : _allOf(f));
            sells(f, to, who, amount);
            _splits(f);
        } else if (kind == 4) {
            uint256 from = 1 + (lie >> 24) % WHO;
            amount = f.debited[from];
            f.debited[from] = 0;
            f.debited[who] += amount;
        } else if (kind == 6) {
            f.earned[to] += amount; // what nobody is debited
        } else {
            _moves(f, kind, 1 + (lie >> 24) % PAYEES, to);
        }
    }

    function _moves(Model.Filed memory f, uint256 kind, uint256 from, uint256 to) private pure {
        if (kind == 3) {
            uint64 amount = f.earned[from];
            f.earned[from] = 0;
            f.earned[to] += amount;
        } else if (kind == 5) {
            f.withheld = true;
        } else if (kind == 8) {
            f.dear = sum(f.sold) != 0;
        } else if (kind == 9) {
            uint64 amount = f.due[from];
            (f.due[from], f.earned[from]) = (0, f.earned[from] - amount);
            (f.due[to], f.earned[to]) = (f.due[to] + amount, f.earned[to] + amount);
        } else if (kind == 10) {
            f.forged = sum(f.sold) != 0;
        }
    }

    /// @dev All that a commit lets pass.
    function _room(Model.Filed memory f) private view returns (uint64) {
        ISettlement.Books memory b = settlement.books(lane);
        uint256 total = sum(f.earned);
        uint256 limit = uint256(b.bond) * settlement.lanes(lane).leverage + b.settled;
        uint256 most = limit < b.net ? limit : b.net;
        return most > total ? uint64(most - total) : 0; // net has 64 bits
    }

    /// @dev What the accomplice still has: a lie only if it leaves with it too.
    function _allOf(Model.Filed memory f) private view returns (uint64) {
        ISettlement.Account memory a = settlement.accounts(lane, consumerOf[WHO]);
        uint64 has = a.deposited - a.withdrawn;
        return has > f.debited[WHO] ? has - f.debited[WHO] : 1;
    }

    /// @dev A batch that fell is posted again: as it was, or closed anew, which is refused; and as one of its new era, which is
    /// another batch with the same words.
    function reposts(uint256 l, bool anew) external inLane(l) {
        l %= LANES;
        if (voided[l].length == 0) return;
        Model.Filed memory f = abi.decode(voided[l], (Model.Filed));
        ISettlement.Head memory h = settlement.heads(lane);
        _isRefused(l, f.header, h.next);
        f.header.closedAt = _closing(h, 0);
        _isRefused(l, f.header, h.next);
        if (anew) _repostsAnew(l, f);
    }

    function _repostsAnew(uint256 l, Model.Filed memory f) private {
        _returns(l);
        ISettlement.Head memory h = settlement.heads(lane);
        Model.Filed memory tip = tipOf(l);
        if (h.next != h.finalized + 1 || f.header.prev != prevOf(tip)) return;
        (f.open, f.askedAt) = (0, 0);
        _commits(l, f, tip, _closing(h, 0));
    }

    /// @dev An operator whose lane stopped comes back as soon as it may.
    function _returns(uint256 l) private {
        if (settlement.lanes(lane).active) return;
        uint256 from = settlement.lives(lane).fellAt + DAY;
        if (block.timestamp < from) _pass(from - block.timestamp);
        lane = lanes[l];
        if (settlement.books(lane).bond < MIN_BOND) _bonds(l, Mood.fair);
        vm.prank(operators[l]);
        settlement.setActive(lane, true);
    }

    /// @dev F5: while a lie is in question the lane falls for another fault. Then it posts the same lie again.
    function relapses(uint256 l, uint256 lie) external inLane(l) {
        l %= LANES;
        if (l == HONEST) return;
        _posts(l, (lie >> 8 << 8) | (lie % 2 == 0 ? 1 : 5), 0, 1);
        _pass(0); // watchers ask
        lane = lanes[l];
        if (settlement.heads(lane).next == settlement.heads(lane).finalized + 1) return;
        _punishes(l);
        _repostsAnew(l, abi.decode(voided[l], (Model.Filed)));
    }

    function _isRefused(uint256 l, Header memory h, uint64 id) private {
        vm.prank(operators[l]);
        try settlement.commit(lane, h, 0, noHeader()) {
            broken = "C4: a void batch is not posted again";
        } catch {}
        try settlement.finalize(lane, id, h) {
            broken = "C4: a void batch never becomes final";
        } catch {}
    }

    function pauses(uint256 l, uint8 stops) external inLane(l) {
        l %= LANES;
        bool active = stops % 4 != 0;
        ISettlement.Life memory life = settlement.lives(lane);
        if (active && life.fellAt != 0 && block.timestamp < life.fellAt + DAY) {
            vm.prank(operators[l]);
            try settlement.setActive(lane, true) {
                broken = "C12: a lane rests after a fall";
            } catch {}
            return;
        }
        if (active && settlement.books(lane).bond < MIN_BOND) _bonds(l, _moodOf(stops / 8));
        vm.prank(operators[l]);
        settlement.setActive(lane, active);
    }

    function _bonds(uint256 l, Mood mood) private {
        coin.transfer(operators[l], MIN_BOND * 3);
        vm.startPrank(operators[l]);
        if (mood != Mood.fair && mood != Mood.callsBack) {
            _turns(mood, address(settlement), "");
            try settlement.addBond(lane, MIN_BOND * 3) {
                broken = "C7: a bond that did not come is not booked";
            } catch {}
            _calms(mood, address(settlement));
        }
        settlement.addBond(lane, MIN_BOND * 3);
        vm.stopPrank();
    }

    function unbonds(uint256 l) external inLane(l) {
        l %= LANES;
        if (l == HONEST) return;
        ISettlement.Head memory h = settlement.heads(lane);
        bool lawful = !settlement.lanes(lane).active && h.finalized + 1 == h.next && settlement.books(lane).bond != 0
            && block.timestamp >= settlement.lives(lane).stoppedAt + 7 days;
        vm.prank(operators[l]);
        try settlement.unbond(lane) {
            if (!lawful) broken = "C9: a bond stays while anything is at stake";
        } catch {
            if (lawful) broken = "C10: a bond leaves when nothing is";
        }
    }

    // ------------------------------------------------------------------ anybody

    function waits(uint256 time) external {
        _pass(time % 16 == 0 ? 8 days : time % 3 == 0 ? (time >> 8) % 600 : (time >> 8) % 2 days);
    }

    /// @dev Time passes; before and after, honest operators answer and watchers watch.
    function _pass(uint256 time) internal virtual {
        for (uint256 l; l < LANES; ++l) {
            lane = lanes[l];
            _answers(l);
            if (l != UNWATCHED) _catches(l);
        }
        vm.warp(block.timestamp + time);
        for (uint256 l; l < LANES; ++l) {
            lane = lanes[l];
            if (l != UNWATCHED) _catches(l);
        }
    }

    function finalizes(uint256 l) external inLane(l) {
        _finalizes(l % LANES);
    }

    function _finalizes(uint256 l) private {
        ISettlement.Head memory h = settlement.heads(lane);
        uint64 id = h.finalized + 1;
        if (id >= h.next) return;
        Model.Filed memory f = fileOf(l, id);
        if (block.timestamp < settlement.batches(lane, id).until) {
            try settlement.finalize(lane, id, f.header) {
                broken = "C4: final means its window passed";
            } catch {}
            return;
        }
        if (id + 1 < h.next) {
            Header memory later = fileOf(l, id + 1).header;
            try settlement.finalize(lane, id + 1, later) {
                broken = "C4: final in order";
            } catch {}
        }
        bool wrong = guilty(l, id);
        uint64 bond = settlement.books(lane).bond;
        try settlement.finalize(lane, id, f.header) {} catch {
            broken = "C11: a batch whose window passed is final or void";
            return;
        }
        if (settlement.heads(lane).finalized == id) {
            if (questionsOpen(l, f) != 0) broken = "C4: nothing final is in question";
            if (wrong && l != UNWATCHED) broken = "C12: where somebody looks no lie becomes final";
            becameFinal(l, id, wrong);
            return;
        }
        if (l == HONEST) broken = "C10: an honest bond stays";
        if (settlement.books(lane).bond != 0 || bond == 0) broken = "C12: a fall takes the bond";
        rolledBack(l, id);
    }

    // ------------------------------------------------------------------ payees

    /// @dev Somebody claims for all, then one alone. One may be refused or all, and one calls back to be paid twice.
    function claims(uint256 l, uint256 who, uint256 caller, uint8 seed) external inLane(l) {
        l %= LANES;
        who = 1 + who % PAYEES;
        caller = 1 + caller % PAYEES;
        Model.Filed memory f = finalOf(l);
        if (f.withheld || settlement.heads(lane).finalized == 0) return;
        bytes memory claim = _claim(l);
        Mood mood = _moodOf(seed);
        if (mood == Mood.takesAFee) mood = Mood.fair; // the payee bears it
        _turns(Mood.callsBack, payeeOf[caller], claim);
        _turns(mood, payeeOf[who], claim);
        (bool done, bytes memory why) = address(settlement).call(claim);
        for (uint32 i = 1; done && i <= PAYEES; ++i) {
            bool refused = mood == Mood.saysFalse || (mood == Mood.refuses && i == who);
            if (settlement.claimed(lane, i) < f.earned[i] && !refused) broken = "C3: who is not refused is paid";
        }
        if (!done && !_lawfullyShort(l, why)) broken = "C3: payees are paid";
        _calms(Mood.callsBack, payeeOf[caller]);
        _calms(mood, payeeOf[who]);
        _claimsAlone(l, f, payoutTree(l, f), uint32(who));
    }

    /// @dev The call that claims for all payees.
    function _claim(uint256 l) private view returns (bytes memory) {
        Model.Filed memory f = finalOf(l);
        if (f.withheld) return "";
        uint256[] memory rows = new uint256[](PAYEES);
        for (uint256 i = 1; i <= PAYEES; ++i) {
            if (f.earned[i] != 0) rows[i - 1] = (uint256(uint160(payeeOf[i])) << 64) | f.earned[i];
        }
        return abi.encodeCall(settlement.claimRange, (lane, 1, rows, payoutTree(l, f).proveRange(1, PAYEES)));
    }

    function _claimsAlone(uint256 l, Model.Filed memory f, Sparse memory tree, uint32 who) private {
        try settlement.claim(lane, who, payeeOf[who], f.earned[who], tree.prove(who)) {
            if (settlement.claimed(lane, who) < f.earned[who]) broken = "C3: a claim pays";
        } catch (bytes memory why) {
            if (!_lawfullyShort(l, why)) broken = "C3: a payee is paid";
        }
        for (uint32 i = 1; i <= PAYEES; ++i) {
            uint64 amount = settlement.claimed(lane, i);
            if (amount < seen[l][i]) broken = "C3: claimed only grows";
            seen[l][i] = amount;
        }
    }

    /// @dev Ranges that nothing proves, of amounts that go around.
    function forges(uint256 l, uint32 start, uint64 amount, bool around, uint8 length) external inLane(l) {
        amount = 1 + amount % (type(uint64).max - 1);
        uint256[] memory rows = new uint256[](2);
        rows[0] = (uint256(uint160(payeeOf[1])) << 64) | amount;
        rows[1] = (uint256(uint160(payeeOf[2])) << 64) | (around ? type(uint64).max - amount + 1 : amount);
        if (start % 2 == 0) start %= 5;
        try settlement.claimRange(lane, start, rows, new bytes32[](length % 32)) {
            broken = "C3: nobody claims without a proof";
        } catch {}
    }

    // ------------------------------------------------------------------ judges

    /// @dev The watched lanes' watchers; they cannot always be paid at once.
    function catches(uint256 l, bool refusing) external inLane(l) {
        l %= LANES;
        if (l == UNWATCHED) return;
        coin.blacklist(challenger, refusing);
        _catches(l);
        coin.blacklist(challenger, false);
    }

    function _catches(uint256 l) internal {
        ISettlement.Head memory h = settlement.heads(lane);
        for (uint64 id = h.finalized + 1; id < h.next; ++id) {
            if (!guilty(l, id)) continue;
            if (l == HONEST) broken = "C10: an honest batch is never guilty, whenever it is asked";
            ISettlement.Batch memory batch = settlement.batches(lane, id);
            if (block.timestamp >= batch.until) continue;
            (uint64 bond, uint256 owed) = (settlement.books(lane).bond, knownOwed());
            address accuser = _convicts(l, id);
            if (accuser == address(0)) continue; // there is a question first
            if (settlement.books(lane).bond != 0) broken = "C12: a liar loses its bond";
            if (knownOwed() - owed != bond || settlement.owed(accuser) < bond / 2) broken = "C12: an accuser gets half";
            if (settlement.heads(lane).next != h.finalized + 1) broken = "C12: all that pends is void";
            rolledBack(l, h.finalized + 1);
            return;
        }
    }

    /// @dev Stub judges convict whom the model knows to be guilty. Returns who accused, zero if nobody could yet.
    function _convicts(uint256, uint64 id) internal virtual returns (address) {
        convict(id);
        return challenger;
    }

    /// @dev An honest operator answers in time, a liar sometimes.
    function asks(uint256 l, uint256 which) external virtual inLane(l) {
        l %= LANES;
        if (l != HONEST && which % 4 != 0) return;
        ISettlement.Head memory h = settlement.heads(lane);
        uint64 pending = h.next - 1 - h.finalized;
        if (pending == 0) return;
        uint64 id = h.finalized + 1 + uint64((which >> 8) % pending);
        ISettlement.Batch memory batch = settlement.batches(lane, id);
        bool lawful = block.timestamp <= batch.until - 2 * uint256(ANSWER_TIME);
        try asQuestions.ask(lane, id, batch.hash) {
            if (!lawful) broken = "C10: every question leaves time for its answer";
        } catch {
            if (lawful) broken = "C12: every batch can be questioned";
            return;
        }
        if (settlement.batches(lane, id).until != batch.until) broken = "C11: nothing extends a window";
        Model.Filed memory f = fileOf(l, id);
        if (f.open++ == 0) f.askedAt = block.timestamp;
        filed[l][id] = abi.encode(f);
    }

    function answers(uint256 l, bool all) external inLane(l) {
        if (l % LANES == HONEST || all) _answers(l % LANES);
    }

    function _answers(uint256 l) internal virtual {
        ISettlement.Head memory h = settlement.heads(lane);
        for (uint64 id = h.finalized + 1; id < h.next; ++id) {
            Model.Filed memory f = fileOf(l, id);
            if (l != HONEST && id % 2 == 0) continue;
            if (f.withheld || f.open == 0 || block.timestamp > f.askedAt + ANSWER_TIME) continue;
            for (; f.open != 0; --f.open) asQuestions.answer(lane, id, idOf(f.header));
            filed[l][id] = abi.encode(f);
        }
    }

    /// @dev An offence of no single batch, of a liar.
    function punishes(uint256 l, uint8 rarely) external inLane(l) {
        l %= LANES;
        if (l != HONEST && rarely % 8 == 0) _punishes(l);
    }

    function _punishes(uint256 l) private {
        ISettlement.Head memory h = settlement.heads(lane);
        _offends(l);
        if (settlement.books(lane).bond != 0) broken = "C12: an offender loses its bond";
        if (h.next > h.finalized + 1) rolledBack(l, h.finalized + 1);
        else delete calls_[l];
    }

    function _offends(uint256) internal virtual {
        asPrices.punish(lane, challenger);
    }

    function questionsOpen(uint256, Filed memory f) internal view virtual returns (uint256) {
        return f.open;
    }

    function collects(bool who, uint8 seed) external {
        address to = who ? challenger : treasury;
        (uint256 owed, uint256 held) = (settlement.owed(to), coin.balanceOf(to));
        if (owed == 0) return;
        (bool done,) = _exits(_moodOf(seed), to, abi.encodeCall(settlement.collect, (to)));
        if (!done || coin.balanceOf(to) != held + owed) broken = "C12: what is owed is paid, once";
    }

    // ------------------------------------------------------------------ for the laws

    /// @dev What all accounts of a lane can still take, and whether one was finally debited more than it has.
    function claimsOn(uint256 l) external view returns (uint256 total, bool overdrawn) {
        Model.Filed memory f = finalOf(l);
        for (uint256 i = 1; i <= WHO; ++i) {
            ISettlement.Account memory a = settlement.accounts(lanes[l], consumerOf[i]);
            uint64 has = a.deposited - a.withdrawn;
            if (f.debited[i] > has) overdrawn = true;
            else total += has - f.debited[i];
        }
    }

    function finalSums(uint256 l) external view returns (uint64, uint64, bool) {
        Model.Filed memory f = finalOf(l);
        return (sum(f.earned), sum(f.debited), f.withheld);
    }

    function knownOwed() public view virtual returns (uint256) {
        return settlement.owed(challenger) + settlement.owed(treasury);
    }
}
