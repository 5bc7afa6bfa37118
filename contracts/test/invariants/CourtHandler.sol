// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tree} from "../../src/Headers.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IMaker} from "../../src/interfaces/IMaker.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {TestMaker} from "../Judges.sol";
import {Sparse, Trees} from "../Trees.sol";
import {Handler} from "./Handler.sol";

/// @dev The same lives before the real Referee: what it can prove of accounts, it must prove of liars, and must not of the
/// honest, whenever it is asked. What Questions and Prices prove is still said to their stubs.
contract CourtHandler is Handler {
    using Trees for Sparse;

    IRegistry private registry;
    IReferee private referee;

    function makers() internal override returns (IMaker[3] memory m, bytes[3] memory arguments) {
        registry = IRegistry(create("Registry", abi.encode(token, uint64(1), uint32(1 hours), uint32(5 minutes))));
        m[0] = m[2] = IMaker(address(new TestMaker()));
        (m[1], arguments[1]) = (makerOf("Referee"), abi.encode(registry));
        for (uint256 i = 1; i <= PAYEES; ++i) registry.registerPayee(payee(i));
    }

    /// @dev Whoever likes accuses a pending batch of everything, rightly or wrongly.
    function accuses(uint256 l, uint256 which) external inLane(l) {
        l %= LANES;
        if (l == UNWATCHED) return;
        ISettlement.Head memory h = settlement.heads(lane);
        uint64 pending = h.next - 1 - h.finalized;
        if (pending == 0) return;
        uint64 id = h.finalized + 1 + uint64(which % pending);
        bool wrong = guilty(l, id);
        uint64 bond = settlement.books(lane).bond;
        if (!_accused(l, id)) return;
        if (!wrong) broken = "C10: an honest bond stays";
        if (settlement.books(lane).bond != 0 || bond == 0) broken = "C12: a liar loses its bond";
        rolledBack(l, h.finalized + 1);
    }

    function _convicts(uint256 l, uint64 id) internal override {
        if (_accused(l, id)) return;
        bytes24 hash = settlement.batches(lane, id).hash;
        (bool other, bool accounts) = _whatElse(l, id);
        if (accounts && !other) broken = "C12: the Referee proves every lie about an account";
        asQuestions.convict(lane, id, hash, challenger);
    }

    /// @dev Tries every proof about accounts; true when one convicted.
    function _accused(uint256 l, uint64 id) private returns (bool) {
        Filed memory f = fileOf(l, id);
        Filed memory b = before(l, id);
        if (f.withheld || b.withheld || block.timestamp >= settlement.batches(lane, id).until) return false;
        referee = IReferee(settlement.referee());
        (Sparse memory was, Sparse memory is_) = (debitTree(l, b), debitTree(l, f));
        for (uint32 i = 1; i <= WHO; ++i) {
            IJudge.Word memory word = _word(is_, i);
            if (_tries(abi.encodeCall(referee.proveOverdraft, (lane, id, f.header, consumerOf[i], word)))) return true;
            if (f.header.prev == 0) continue;
            IJudge.Word memory earlier = _word(was, i);
            if (
                _tries(
                    abi.encodeCall(
                        referee.proveDebitAfterExit, (lane, id, f.header, b.header, consumerOf[i], earlier, word)
                    )
                )
            ) return true;
            if (_fell(id, f, b, Tree.debits, i, earlier, word)) return true;
        }
        if (f.header.prev == 0) return false;
        (was, is_) = (payoutTree(l, b), payoutTree(l, f));
        for (uint32 i = 1; i <= PAYEES; ++i) {
            if (_fell(id, f, b, Tree.payouts, i, _word(was, i), _word(is_, i))) return true;
        }
        return false;
    }

    function _fell(
        uint64 id,
        Filed memory f,
        Filed memory b,
        Tree tree,
        uint32 index,
        IJudge.Word memory earlier,
        IJudge.Word memory word
    ) private returns (bool) {
        return _tries(
            abi.encodeCall(referee.proveRegression, (lane, id, f.header, b.header, tree, index, earlier, word))
        );
    }

    function _tries(bytes memory accusation) private returns (bool done) {
        bytes memory why;
        vm.prank(challenger);
        (done, why) = address(referee).call(accusation);
        if (!done && bytes4(why) != IJudge.NotProven.selector) broken = "an accusation is malformed";
    }

    /// @dev Whether a batch lies about an account, and whether about something else.
    function _whatElse(uint256 l, uint64 id) private view returns (bool other, bool accounts) {
        Filed memory f = fileOf(l, id);
        Filed memory b = before(l, id);
        other = f.withheld || b.withheld || f.open != 0;
        for (uint256 i = 1; i <= WHO; ++i) {
            ISettlement.Account memory a = settlement.accounts(lane, consumerOf[i]);
            accounts = accounts || f.debited[i] > a.deposited - a.withdrawn || f.debited[i] < b.debited[i]
                || (f.debited[i] > b.debited[i] && _leftBefore(a, b));
            uint64 mandate = vouchers[l][i] > a.debitAtExit ? vouchers[l][i] : a.debitAtExit;
            other = other || f.debited[i] > uint256(mandate) + a.paidIn;
        }
        for (uint256 i = 1; i <= PAYEES; ++i) other = other || f.earned[i] != b.earned[i] + f.due[i];
    }

    function _word(Sparse memory t, uint32 index) private pure returns (IJudge.Word memory) {
        return IJudge.Word(t.node(t.height, index), t.prove(index));
    }
}
