// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../../src/interfaces/IReferee.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Calls} from "../Calls.sol";
import {Trees} from "../Trees.sol";

/// @dev Lines that are not what receipts give, payouts and debits that are not their lines' sum.
contract RefereeLinesTest is Calls {
    function setUp() public override {
        super.setUp();
        serve(1);
        serve(2);
        serve(1);
    }

    // ------------------------------------------------------------------ proveBadRun

    function test_ProveBadRun_APayeesLineIsShort() external {
        Batch memory b = draft();
        (--b.lines[0].amount, ++b.lines[1].amount);
        _badRun(b, 1);
    }

    function test_ProveBadRun_APayeesLineIsDropped() external {
        Batch memory b = draft();
        b.lines[1].amount += b.lines[0].amount;
        b.lines = _without(b.lines, 0);
        _badRun(b, 1);
    }

    function test_ProveBadRun_AConsumersLineIsLong() external {
        Batch memory b = draft();
        (++b.lines[3].amount, --b.lines[4].amount);
        _badRun(b, CONSUMER | 1);
    }

    function test_RevertWhen_ARunIsRight_AlsoOfWhoIsNotInIt() external {
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint32 i = 1; i <= PAYEES; ++i) _refusesRun(IReferee.NotProven.selector, runProof(id, b, i));
        for (uint32 i = 1; i <= CONSUMERS; ++i) {
            _refusesRun(IReferee.NotProven.selector, runProof(id, b, CONSUMER | i));
        }
    }

    function test_RevertWhen_ARunIsShownInPart_OrForAnother_OrUnderOtherTerms() external {
        Batch memory b = draft();
        uint64 id = send(b);
        RunProof memory p = runProof(id, b, 1);
        p.account = payee(2);
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.terms[0] = termsOfLines(1, termsLine(payee(1), MAKER, 0, 1, 0));
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.run = 1; // the batch has no such run
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.receipts[1].seq = 9;
        _refusesRun(IReferee.ProofInvalid.selector, p);
        p = runProof(id, b, 1);
        p.line = edge(b, 3, 0); // another's place
        _refusesRun(IReferee.ProofInvalid.selector, p);
    }

    // ------------------------------------------------------------------ provePayout

    function test_ProvePayout_APayeeIsShortChanged() external {
        (--earned[1], ++earned[2]);
        _payout(ISettlement.Tree.payouts, 1);
    }

    function test_ProvePayout_AConsumerPaysForAnother() external {
        (++debited[1], --debited[2]);
        _payout(ISettlement.Tree.debits, 1);
    }

    function test_ProvePayout_AnIncreaseIsShortInALaterBatch() external {
        Batch memory before = draft();
        send(before);
        bytes32[] memory was = payoutLeaves();
        uint64 had = earned[2];
        serve(3);
        (++earned[1], --earned[2]);
        Batch memory b = draft();
        PayoutProof memory p = _proof(send(b), b, ISettlement.Tree.payouts, 2);
        p.prevHeader = before.header;
        p.before = IReferee.AccountLeaf(payee(2), had, Trees.prove(was, 2));
        vm.prank(challenger);
        provePayout(p);
        fell(2);
    }

    function test_RevertWhen_APayoutIsItsLinesSum() external {
        Batch memory b = draft();
        uint64 id = send(b);
        for (uint32 i = 1; i <= PAYEES; ++i) {
            _refusesPayout(IReferee.NotProven.selector, _proof(id, b, ISettlement.Tree.payouts, i));
        }
        for (uint32 i = 1; i <= CONSUMERS; ++i) {
            _refusesPayout(IReferee.NotProven.selector, _proof(id, b, ISettlement.Tree.debits, i));
        }
    }

    function test_RevertWhen_APayoutIsShownByOtherLines_OrAnotherBatch() external {
        Batch memory b = draft();
        uint64 id = send(b);
        PayoutProof memory p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.low = edge(b, 3, 0); // begins too late
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.high = edge(b, 2, 0); // ends too early
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.before.cumulative = 1; // there is no batch before
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        p = _proof(id, b, ISettlement.Tree.payouts, 2);
        p.tree = ISettlement.Tree.receipts;
        _refusesPayout(IReferee.ProofInvalid.selector, p);
        serve(3);
        Batch memory next = draft();
        p = _proof(send(next), next, ISettlement.Tree.payouts, 2);
        p.prevHeader = next.header;
        _refusesPayout(IReferee.PreviousHeaderWrong.selector, p);
    }

    /// @dev Else a place that never is would be given the lines of a consumer, and convict anybody.
    function test_RevertWhen_APayoutAboveAllIndicesIsAccused() external {
        Batch memory b = draft();
        PayoutProof memory p = _proof(send(b), b, ISettlement.Tree.payouts, 1);
        p.index = CONSUMER | 1;
        p.afterwards = IReferee.AccountLeaf(address(0), 0, Trees.prove(b.payouts, 0));
        (p.low, p.high) = (edge(b, CONSUMER | 1, 0), edge(b, CONSUMER | 2, 0));
        _refusesPayout(IReferee.ProofInvalid.selector, p);
    }

    // ------------------------------------------------------------------ helpers

    function _badRun(Batch memory b, uint32 party) private {
        RunProof memory p = runProof(send(b), b, party);
        vm.prank(challenger);
        proveBadRun(p);
        fell(1);
    }

    function _refusesRun(bytes4 why, RunProof memory p) private {
        refuses(why);
        proveBadRun(p);
    }

    function _payout(ISettlement.Tree tree, uint32 index) private {
        Batch memory b = draft();
        PayoutProof memory p = _proof(send(b), b, tree, index);
        vm.prank(challenger);
        provePayout(p);
        fell(1);
    }

    function _refusesPayout(bytes4 why, PayoutProof memory p) private {
        refuses(why);
        provePayout(p);
    }

    /// @dev What shows an account of batch `b`, the lane's first.
    function _proof(uint64 id, Batch memory b, ISettlement.Tree tree, uint32 index)
        private
        view
        returns (PayoutProof memory p)
    {
        (p.lane, p.id, p.header, p.tree, p.index) = (lane, id, b.header, tree, index);
        bool payouts = tree == ISettlement.Tree.payouts;
        p.afterwards.cumulative = payouts ? earned[index] : debited[index];
        if (p.afterwards.cumulative != 0) p.afterwards.account = payouts ? payee(index) : consumer(index);
        p.afterwards.proof = Trees.prove(payouts ? b.payouts : b.debits, index);
        uint256 party = payouts ? index : index | CONSUMER;
        (p.low, p.high) = (edge(b, party, 0), edge(b, party + 1, 0));
    }

    function _without(Line[] memory lines, uint256 dropped) private pure returns (Line[] memory kept) {
        kept = new Line[](lines.length - 1);
        for (uint256 i; i < kept.length; ++i) kept[i] = lines[i < dropped ? i : i + 1];
    }
}
