// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../../src/Receipt.sol";
import {Header, Tree} from "../../src/Headers.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IQuestions} from "../../src/interfaces/IQuestions.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {PlainReceipts} from "../PlainReceipts.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Files} from "./Files.sol";

/// @dev Has no way to take the chain's coin.
contract Refuser {}

/// @dev Questions of every kind before the real Questions, answered in time or not, by anybody; and consumers' keys, which
/// come, go and never come again.
abstract contract AskingHandler is Files {
    using Trees for Sparse;

    /// @dev A question that is open, as Questions knows it. `id` 0: of a tree that is final.
    struct Asked {
        uint64 id;
        bytes24 hash;
        IQuestions.Kind kind;
        Tree tree;
        uint8 depth;
        uint64 place; // also an index
        IQuestions.Debit debit;
        bytes32 subject;
        uint256 askedAt;
        address asker;
    }

    address internal refuser;
    mapping(uint256 l => Asked[]) private asked;
    mapping(uint256 who => uint256[]) private revokedAt; // of each of a consumer's keys, 0 while it stands
    mapping(uint256 l => mapping(uint256 who => uint256)) private voucherKey; // 0: the account itself signed

    function populate() internal override {
        super.populate();
        refuser = address(new Refuser());
        vm.deal(challenger, 1e9 ether);
        vm.deal(refuser, 1e9 ether);
        for (uint256 who = 1; who <= WHO; ++who) revokedAt[who].push();
    }

    // ------------------------------------------------------------------ consumers' keys

    /// @dev A consumer takes a new key, or revokes the one it has. None comes twice, none goes twice.
    function rekeys(uint256 who, bool revokes) external {
        who = 1 + who % (WHO - 1); // the accomplice signs itself
        uint256 n = revokedAt[who].length;
        vm.startPrank(consumerOf[who]);
        if (!revokes && n < 9) {
            keys.setSessionKey(_session(who, n));
            revokedAt[who].push();
        } else if (n > 1 && revokedAt[who][n - 1] == 0) {
            address key = _session(who, n - 1);
            keys.revokeSessionKey(key);
            revokedAt[who][n - 1] = block.timestamp;
            try keys.revokeSessionKey(key) {
                broken = "C10: a key is revoked once";
            } catch {}
            try keys.setSessionKey(key) {
                broken = "C12: a revoked key is never set again";
            } catch {}
        }
        vm.stopPrank();
    }

    function _session(uint256 who, uint256 n) private pure returns (address) {
        return vm.addr(_sessionKey(who, n));
    }

    function _sessionKey(uint256 who, uint256 n) private pure returns (uint256) {
        return n == 0 ? consumerKey(who) : 5000 + 100 * who + n;
    }

    /// @dev By the newest key, if it stands.
    function _signs(uint256 l, uint256 who, uint64 spent) internal override {
        super._signs(l, who, spent);
        uint256 n = revokedAt[who].length - 1;
        voucherKey[l][who] = revokedAt[who][n] == 0 ? n : 0;
    }

    function isValid(uint256 l, uint256 who, uint40 closedAt) internal view override returns (bool) {
        uint256 revoked = revokedAt[who][voucherKey[l][who]];
        return revoked == 0 || closedAt < revoked + SESSION_NOTICE;
    }

    // ------------------------------------------------------------------ asking

    /// @dev Anybody asks anything, of a pending batch or of what is final; of liars seldom, for not all of them answer.
    function asks(uint256 l, uint256 which) external override inLane(l) {
        l %= LANES;
        if (l != HONEST && which % 4 != 0) return;
        ISettlement.Head memory h = settlement.heads(lane);
        uint64 pending = h.next - 1 - h.finalized;
        address asker = (which >> 8) % 2 == 0 ? challenger : refuser;
        which >>= 16;
        if (pending == 0 || which % 4 == 0) return _asksFinal(l, asker, which >> 8);
        uint64 id = h.finalized + 1 + uint64((which >> 8) % pending);
        if (which % 4 == 1) _asksWords(l, id, asker, which >> 16);
        else if (which % 4 == 2) _asksReceipt(l, id, asker, which >> 16);
        else _asksMandate(l, id, asker, 1 + (which >> 16) % WHO);
    }

    function _asksWords(uint256 l, uint64 id, address asker, uint256 which) private {
        Asked memory q = _about(l, id, asker);
        Filed memory f = fileOf(l, id);
        (q.kind, q.tree) = (IQuestions.Kind.words, Tree(which % 5));
        uint256 height = _heightOf(f, q.tree);
        q.depth = uint8((which >> 8) % (height + 1));
        q.place = uint64(((which >> 16) % 6) >> (height - q.depth)); // where something may stand
        if (q.depth < 9 && which % 7 == 0) q.place = uint64((which >> 32) % (uint256(1) << q.depth));
        q.subject = questions.subjectOfWords(q.tree, q.depth, q.place);
        _asks(l, q, abi.encodeCall(questions.askWords, (lane, id, f.header, q.tree, q.depth, q.place)));
    }

    function _asksReceipt(uint256 l, uint64 id, address asker, uint256 which) private {
        Asked memory q = _about(l, id, asker);
        Filed memory f = fileOf(l, id);
        uint64 calls = callsIn(f);
        if (calls == 0) return;
        (q.kind, q.place) = (IQuestions.Kind.receipt, uint64(which % calls));
        q.subject = questions.subjectOfReceipt(q.place);
        _asks(l, q, abi.encodeCall(questions.askReceipt, (lane, id, f.header, q.place)));
    }

    /// @dev If the debit grew and needs a voucher.
    function _asksMandate(uint256 l, uint64 id, address asker, uint256 who) private {
        Asked memory q = _about(l, id, asker);
        Filed memory f = fileOf(l, id);
        Filed memory b = before(l, id);
        if (f.withheld || b.withheld || !_needsMandate(f, b, who)) return;
        q.kind = IQuestions.Kind.mandate;
        q.debit = IQuestions.Debit(uint32(who), consumerOf[who], f.debited[who]);
        q.subject = questions.subjectOfMandate(q.debit);
        _asks(l, q, _mandateCall(l, q, f, b));
    }

    function _needsMandate(Filed memory f, Filed memory b, uint256 who) private view returns (bool) {
        ISettlement.Account memory a = settlement.accounts(lane, consumerOf[who]);
        return f.debited[who] > b.debited[who] && f.debited[who] > uint256(a.debitAtExit) + a.paidIn;
    }

    function _mandateCall(uint256 l, Asked memory q, Filed memory f, Filed memory b) private view returns (bytes memory) {
        bytes32[] memory path = debitTree(l, f).prove(q.debit.index);
        IJudge.Word memory was; // there is none before a lane's first batch
        if (f.header.prev != 0) was = wordAt(debitTree(l, b), q.debit.index);
        bytes4 selector = questions.askMandate.selector;
        return abi.encodeWithSelector(selector, lane, q.id, f.header, q.debit, path, b.header, was.word, was.proof);
    }

    function _asksFinal(uint256 l, address asker, uint256 which) private {
        Asked memory q = _about(l, 0, asker);
        Filed memory f = finalOf(l);
        if (settlement.heads(lane).finalized == 0) return;
        (q.kind, q.tree) = (IQuestions.Kind.finalWord, which % 2 == 0 ? Tree.payouts : Tree.debits);
        q.place = uint64((which >> 8) % 8);
        q.subject = questions.subjectOfFinal(q.tree, uint32(q.place));
        _asks(l, q, abi.encodeCall(questions.askFinal, (lane, q.tree, uint32(q.place))));
        if (f.withheld && l == HONEST) broken = "an honest file is there";
    }

    function _about(uint256, uint64 id, address asker) private view returns (Asked memory q) {
        (q.id, q.asker, q.askedAt) = (id, asker, block.timestamp);
        if (id != 0) q.hash = settlement.batches(lane, id).hash;
    }

    function _asks(uint256 l, Asked memory q, bytes memory call_) private {
        uint256 i = _find(l, q);
        bool open = i < asked[l].length && _stands(asked[l][i]);
        bool lawful = !open && (q.id == 0 ? _leavesTime() : block.timestamp <= _until(q.id) - 2 * uint256(ANSWER_TIME));
        uint40 until = settlement.batches(lane, q.id).until;
        vm.prank(q.asker);
        (bool done,) = address(questions).call{value: FLOOR}(call_);
        if (done && !lawful) broken = "C10: a question once, and with time to answer";
        if (!done && lawful) broken = "C12: whatever stands can be questioned";
        if (settlement.batches(lane, q.id).until != until) broken = "C11: nothing extends a window";
        if (!done) return;
        if (i < asked[l].length) asked[l][i] = q; // the old one's cause is gone
        else asked[l].push(q);
    }

    /// @dev A stopped lane's bond is not held by questions.
    function _leavesTime() private view returns (bool) {
        uint256 leaves = settlement.lives(lane).stoppedAt + 7 days;
        return settlement.lanes(lane).active || block.timestamp + 2 * uint256(ANSWER_TIME) <= leaves;
    }

    function _until(uint64 id) private view returns (uint256) {
        return settlement.batches(lane, id).until;
    }

    function _find(uint256 l, Asked memory q) private view returns (uint256 i) {
        while (i < asked[l].length && (asked[l][i].subject != q.subject || asked[l][i].hash != q.hash)) ++i;
    }

    /// @dev That its cause is not gone.
    function _stands(Asked memory q) private view returns (bool) {
        if (q.id == 0) return q.askedAt > settlement.lives(lane).fellAt;
        return q.id < settlement.heads(lane).next && settlement.batches(lane, q.id).hash == q.hash;
    }

    // ------------------------------------------------------------------ answering

    /// @dev The honest answer all that stands, in one call. A liar answers what it likes, if it can.
    function _answers(uint256 l) internal override {
        if (asked[l].length == 0) return;
        bytes[] memory calls = new bytes[](asked[l].length);
        uint256 count;
        for (uint256 i; i < asked[l].length; ++i) {
            Asked memory q = asked[l][i];
            bool open = _stands(q) && block.timestamp <= q.askedAt + ANSWER_TIME;
            if (open && (l == HONEST || q.place % 2 == 0)) calls[i] = _answerTo(l, q);
            if (calls[i].length != 0) ++count;
        }
        if (count == 0) return;
        vm.prank(operators[l]);
        bool[] memory said = questions.multicall(calls);
        for (uint256 left = calls.length; left != 0; --left) {
            uint256 i = left - 1; // backwards, for the last one takes a forgotten one's place
            if (calls[i].length == 0) continue;
            bool mandated = _mayAnswer(l, asked[l][i]);
            if (said[i] && !mandated) broken = "C12: a debit without a mandate stands";
            if (!said[i] && mandated) broken = "C10: an answer is taken";
            if (said[i]) _forget(l, i);
        }
    }

    function _mayAnswer(uint256 l, Asked memory q) private view returns (bool) {
        if (q.kind != IQuestions.Kind.mandate) return true;
        return q.debit.cumulative <= mandateOf(l, q.debit.index, fileOf(l, q.id).header.closedAt);
    }

    /// @dev The call that answers; none where nobody has the words.
    function _answerTo(uint256 l, Asked memory q) private view returns (bytes memory) {
        if (q.id == 0) return _finalAnswer(l, q);
        Filed memory f = fileOf(l, q.id);
        if (q.kind == IQuestions.Kind.mandate) return _mandateAnswer(l, q, f);
        if (q.kind == IQuestions.Kind.receipt) {
            Files.Log memory log = logOf(f);
            bytes memory record = PlainReceipts.encode(receiptAt(l, f, log, q.place));
            bytes32[] memory path_ = receiptTree(l, f, log).prove(q.place);
            bytes memory terms = termsAt(f, q.place);
            return abi.encodeCall(questions.answerReceipt, (lane, q.id, f.header, q.place, record, terms, path_));
        }
        if (f.withheld && (q.tree == Tree.payouts || q.tree == Tree.debits)) return "";
        Sparse memory t = treeOf(l, f, q.tree);
        uint256 levels = t.height - q.depth > 8 ? 8 : t.height - q.depth;
        bytes32[] memory words = t.wordsBelow(q.depth, q.place, levels);
        bytes32[] memory path = t.proveNode(q.depth, q.place);
        return abi.encodeCall(questions.answerWords, (lane, q.id, f.header, q.tree, q.depth, q.place, words, path));
    }

    function _mandateAnswer(uint256 l, Asked memory q, Filed memory f) private view returns (bytes memory) {
        uint256 who = q.debit.index;
        uint64 most = vouchers[l][who];
        bytes memory signature = voucher(_sessionKey(who, voucherKey[l][who]), lane, consumerOf[who], most);
        return abi.encodeCall(questions.answerMandate, (lane, q.id, f.header, q.debit, most, signature));
    }

    function _finalAnswer(uint256 l, Asked memory q) private view returns (bytes memory) {
        Filed memory f = finalOf(l);
        if (f.withheld) return "";
        Sparse memory t = treeOf(l, f, q.tree);
        if (q.place >> t.height != 0) return "";
        bytes32 word = t.node(t.height, q.place);
        return abi.encodeCall(questions.answerFinal, (lane, q.tree, uint32(q.place), word, t.prove(q.place)));
    }

    // ------------------------------------------------------------------ without an answer

    /// @dev Anybody closes whatever is asked: too early it is refused, with its cause gone nothing falls.
    function closes(uint256 l, uint256 which) external inLane(l) {
        l %= LANES;
        if (asked[l].length == 0) return;
        uint64 from = settlement.heads(lane).finalized + 1;
        uint64 next = settlement.heads(lane).next;
        if (!_closes(l, which % asked[l].length)) return;
        if (l == HONEST) broken = "C10: who answers keeps its bond";
        if (settlement.books(lane).bond != 0) broken = "C12: who does not answer loses its bond";
        if (next > from) rolledBack(l, from);
        else delete calls_[l];
    }

    /// @dev Returns whether the lane fell.
    function _closes(uint256 l, uint256 i) private returns (bool fell) {
        Asked memory q = asked[l][i];
        bool stands = _stands(q);
        bool late = block.timestamp > q.askedAt + ANSWER_TIME;
        bool over = q.id != 0 && block.timestamp >= _until(q.id);
        uint32 era = settlement.lanes(lane).era;
        try questions.close(lane, q.id, q.hash, q.subject) {
            fell = settlement.lanes(lane).era != era;
            if (fell != (stands && late)) broken = "C10, C12: a lane falls for what stands and was not answered in time";
            _forget(l, i);
        } catch {
            if (!stands || (late && !over)) broken = "C11: every question ends";
        }
    }

    /// @dev What only a question shows: asked now, closed when its time is over. Returns whose question it was.
    function _doubted(uint256 l, uint64 id, Filed memory f, Filed memory b) internal returns (address) {
        for (uint256 i; i < asked[l].length; ++i) {
            Asked memory q = asked[l][i];
            if (q.id == id && q.hash == idOf(f.header) && block.timestamp > q.askedAt + ANSWER_TIME) {
                return _closes(l, i) ? q.asker : address(0);
            }
        }
        if (questionsOpen(l, f) != 0 && _isAskedBy(l, f)) return address(0);
        if (block.timestamp > _until(id) - 2 * uint256(ANSWER_TIME)) return address(0);
        if (f.withheld) _asksWords(l, id, challenger, 1);
        else if (unmandated(l, f, b) != 0) _asksMandate(l, id, challenger, unmandated(l, f, b));
        return address(0);
    }

    function _isAskedBy(uint256 l, Filed memory f) private view returns (bool) {
        bytes32 root = questions.subjectOfWords(Tree.payouts, 0, 0);
        for (uint256 i; i < asked[l].length; ++i) {
            Asked memory q = asked[l][i];
            if (q.hash == idOf(f.header) && (q.subject == root || q.kind == IQuestions.Kind.mandate)) return true;
        }
        return false;
    }

    /// @dev Watchers come back as soon as a question's time is over.
    function _pass(uint256 time) internal override {
        if (time <= ANSWER_TIME + 1) return super._pass(time);
        super._pass(ANSWER_TIME + 1);
        super._pass(time - ANSWER_TIME - 1);
    }

    function _forget(uint256 l, uint256 i) private {
        asked[l][i] = asked[l][asked[l].length - 1];
        asked[l].pop();
    }

    function isLate(uint256 l, Filed memory f) internal view override returns (bool) {
        for (uint256 i; i < asked[l].length; ++i) {
            if (asked[l][i].hash == idOf(f.header) && block.timestamp > asked[l][i].askedAt + ANSWER_TIME) return true;
        }
        return false;
    }

    function questionsOpen(uint256 l, Filed memory f) internal view override returns (uint256 open) {
        for (uint256 i; i < asked[l].length; ++i) if (asked[l][i].hash == idOf(f.header)) ++open;
    }

    function _heightOf(Filed memory f, Tree tree) private pure returns (uint256) {
        uint256 heights = f.header.heights;
        if (tree == Tree.receipts) return heights & 0xff;
        if (tree == Tree.payouts) return (heights >> 8) & 0xff;
        if (tree == Tree.debits) return (heights >> 16) & 0xff;
        return tree == Tree.gateways ? (heights >> 24) & 0xff : ((heights >> 32) & 0xff) + ((heights >> 40) & 0xff);
    }

    // ------------------------------------------------------------------ fees

    /// @dev A stranger that cannot be paid stops nobody but itself.
    function collectsWei(uint256 who) external {
        address to = who % 3 == 0 ? refuser : who % 3 == 1 ? challenger : operators[who % LANES];
        uint256 owed = questions.owedWei(to);
        try questions.collectWei(to) returns (uint256 amount) {
            if (to == refuser || amount != owed || owed == 0) broken = "fees: what is owed, once";
        } catch {
            if (to != refuser && owed != 0) broken = "fees: what is owed is paid";
        }
        if (to == refuser && questions.owedWei(to) != owed) broken = "fees: refused money stays owed";
    }

    /// @dev Questions has what it owes, and the fee of every open question.
    function feesAreThere() external view returns (bool) {
        uint256 due = questions.owedWei(challenger) + questions.owedWei(refuser);
        for (uint256 l; l < LANES; ++l) due += questions.owedWei(operators[l]) + FLOOR * asked[l].length;
        return due <= address(questions).balance;
    }

    function knownOwed() public view override returns (uint256) {
        return super.knownOwed() + settlement.owed(refuser);
    }
}
