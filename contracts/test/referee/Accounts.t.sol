// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../../src/Headers.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IReferee} from "../../src/interfaces/IReferee.sol";
import {Receipt} from "../../src/Receipt.sol";
import {Batch, Court} from "../Court.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev Debits and payouts that are more, less, or somebody else's.
contract RefereeAccountsTest is Court {
    using Trees for Sparse;

    // ------------------------------------------------------------------ proveOverdraft

    function test_Overdraft_ADebitAboveWhatTheAccountHas() external {
        Header memory h = postBatch(aBatch(_costing(DEPOSIT + 1)));
        convicts(_overdraft(h, consumer(1), wordAt(debits(), 1)), "one atom above");
        acquits(_overdraft(h, consumer(2), wordAt(debits(), 2)), "another account");
        depositFor(consumer(1), 1);
        acquits(_overdraft(h, consumer(1), wordAt(debits(), 1)), "covered meanwhile");
    }

    function test_Overdraft_NotOfAnHonestDebit_NorAfterTheAccountLeft() external {
        leavesSoon(1);
        Header memory h = postBatch(aBatch(_costing(DEPOSIT)));
        acquits(_overdraft(h, consumer(1), wordAt(debits(), 1)), "all of it");
        finalizeLast();
        takeRest(1);
        h = postBatch(aBatch(_costing(0)));
        acquits(_overdraft(h, consumer(1), wordAt(debits(), 1)), "all of it, and gone");
    }

    function test_Overdraft_OfWhatTheAccountTookWithIt() external {
        leavesSoon(1);
        postBatch(aBatch(_costing(PRICE)));
        finalizeLast();
        takeRest(1);
        Batch memory b = aBatch(receiptsFrom(2, 1));
        Header memory h = postBatch(b);
        convicts(_overdraft(h, consumer(1), wordAt(b.owed, 1)), "it has nothing any more");
    }

    function test_RevertWhen_OverdraftIsShownOfSomethingElse() external {
        Header memory h = postBatch(aBatch(receiptsFrom(1, 1)));
        malformed(_overdraft(h, consumer(1), wordAt(debits(), 2)), "another's word");
        malformed(_overdraft(h, stranger, wordAt(debits(), 0)), "nobody's account");
        IJudge.Word memory short = IJudge.Word(debits().node(1, 1), debits().proveNode(1, 1));
        malformed(_overdraft(h, consumer(1), short), "an inner node, at the same number of its level");
    }

    // ------------------------------------------------------------------ proveDebitAfterExit

    function test_DebitAfterExit_ADebitThatGrewAfterRequestAndNotice() external {
        leavesSoon(1);
        (Header memory first, Sparse memory before) = (postBatch(aBatch(receiptsFrom(1, 1))), debits());
        Header memory second = postBatch(aBatch(receiptsFrom(2, 1)));
        bytes memory accusation = _afterExit(second, first, wordAt(before, 1), wordAt(debits(), 1));
        convicts(accusation, "grew by a receipt");
        refuses(IJudge.PreviousHeaderWrong.selector);
        referee.proveDebitAfterExit(lane, 2, second, second, consumer(1), wordAt(debits(), 1), wordAt(debits(), 1));
        malformed(_afterExit(second, first, wordAt(debits(), 1), wordAt(debits(), 1)), "another word before");
    }

    function test_DebitAfterExit_NotOfTheBatchThatSettlesIt_NorOfOneBefore() external {
        (Header memory zeroth, Sparse memory start) = (postBatch(aBatch(receiptsFrom(1, 1))), debits());
        asksToLeave(1);
        vm.warp(block.timestamp + NOTICE);
        (Header memory first, Sparse memory before) = (postBatch(aBatch(receiptsFrom(2, 1))), debits());
        acquits(_afterExit(first, zeroth, wordAt(start, 1), wordAt(before, 1)), "closed within the notice");
        vm.warp(block.timestamp + 1);
        Header memory second = postBatch(aBatch(receiptsFrom(3, 1)));
        acquits(_afterExit(second, first, wordAt(before, 1), wordAt(debits(), 1)), "the batch that settles it");
    }

    function test_DebitAfterExit_NotWhenTheAccountStays() external {
        asksToLeave(1);
        vm.prank(consumer(1));
        consumers.cancelWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        (Header memory first, Sparse memory before) = (postBatch(aBatch(receiptsFrom(1, 1))), debits());
        Header memory second = postBatch(aBatch(receiptsFrom(2, 1)));
        acquits(_afterExit(second, first, wordAt(before, 1), wordAt(debits(), 1)), "it stays");
        asksToLeave(1);
        acquits(_afterExit(second, first, wordAt(before, 1), wordAt(debits(), 1)), "it asks again, later");
    }

    // ------------------------------------------------------------------ proveRegression

    function test_Regression_AnAmountThatFell() external {
        (Header memory first, Sparse memory before) = (postBatch(aBatch(receiptsFrom(1, 2))), payouts());
        Batch memory b = aBatch(receiptsFrom(3, 1));
        (earned[1], earned[2]) = (19, 11); // the same total, another payee
        b.paid = payouts();
        Header memory second = postBatch(b);
        convicts(_regression(second, first, Tree.payouts, 1, wordAt(before, 1), wordAt(b.paid, 1)), "20, then 19");
        acquits(_regression(second, first, Tree.payouts, 2, wordAt(before, 2), wordAt(b.paid, 2)), "0, then 11");
        malformed(
            _regression(second, first, Tree.payouts, 1, wordAt(b.paid, 1), wordAt(b.paid, 1)), "another word before"
        );
    }

    function test_Regression_AnIndexThatTheTreeLost() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        (debited[1], debited[3]) = (5, 5);
        b.owed = debits();
        (Header memory first, Sparse memory before) = (postBatch(b), debits());
        b = aBatch(receiptsFrom(2, 1));
        uint64[] memory two = new uint64[](2);
        two[1] = 20;
        b.owed = debitsOf(two);
        Header memory second = postBatch(b);
        convicts(_regression(second, first, Tree.debits, 3, wordAt(before, 3), noWord()), "the tree is lower");
        malformed(_regression(second, first, Tree.receipts, 0, noWord(), noWord()), "no tree of accounts");
    }

    function test_Regression_NotOfAmountsThatGrowOrStay() external {
        (Header memory first, Sparse memory before) = (postBatch(aBatch(receiptsFrom(1, 1))), payouts());
        Header memory second = postBatch(aBatch(receiptsFrom(2, 1)));
        acquits(_regression(second, first, Tree.payouts, 1, wordAt(before, 1), wordAt(payouts(), 1)), "grew");
        acquits(_regression(second, first, Tree.payouts, 2, wordAt(before, 2), wordAt(payouts(), 2)), "stayed");
        bytes memory batchOne = _regression(first, noHeader(), Tree.payouts, 1, noWord(), wordAt(before, 1));
        refusedBy(address(referee), batchOne, IJudge.PreviousHeaderWrong.selector, "batch 1 has none before");
    }

    // ------------------------------------------------------------------ proveWrongPayee, proveWrongConsumer

    function test_WrongPayee_AnotherPayee_OrNobodysIndex() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        b.paid.words[0] = Trees.payoutLeaf(lane, 1, payee(2), PRICE);
        Header memory h = postBatch(b);
        convicts(_payee(h, 1, wordAt(b.paid, 1)), "another payee");
        acquits(_payee(h, 2, wordAt(b.paid, 2)), "nothing at 2");
    }

    function test_WrongPayee_WhereNobodyStands() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        b.paid.places[0] = 7;
        b.paid.words[0] = Trees.payoutLeaf(lane, 7, address(0), PRICE);
        Header memory h = postBatch(b);
        convicts(_payee(h, 7, wordAt(b.paid, 7)), "nobody");
    }

    function test_WrongPayee_AWordOfNoAmount() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        bytes32[] memory words = new bytes32[](3);
        (words[1], words[2]) = (b.paid.words[0], bytes32(uint256(1) << 64));
        b.paid = Trees.dense(words);
        Header memory h = postBatch(b);
        convicts(_payee(h, 2, wordAt(b.paid, 2)), "a leaf of nothing");
        acquits(_payee(h, 1, wordAt(b.paid, 1)), "the honest one");
        acquits(_payee(h, 900, noWord()), "beyond the tree");
        malformed(_payee(h, 900, wordAt(b.paid, 1)), "something beyond the tree");
        malformed(_payee(h, 900, IJudge.Word(0, b.paid.prove(1))), "beyond the tree, with a path");
    }

    function test_WrongConsumer_AnothersAccount_OrNobodysIndex() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        b.owed.words[0] = Trees.debitLeaf(lane, 1, consumer(2), PRICE);
        Header memory h = postBatch(b);
        convicts(_consumer(h, 1, consumer(1), wordAt(b.owed, 1)), "another account");
        malformed(_consumer(h, 1, consumer(2), wordAt(b.owed, 1)), "who does not stand there");
        acquits(_consumer(h, 2, consumer(2), wordAt(b.owed, 2)), "nothing at 2");
    }

    function test_WrongConsumer_NotTheLastOne() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        (debited[1], debited[CONSUMERS]) = (0, PRICE);
        b.owed = debits();
        Header memory h = postBatch(b);
        acquits(_consumer(h, uint32(CONSUMERS), consumer(CONSUMERS), wordAt(b.owed, CONSUMERS)), "index 3 of 3");
    }

    function test_WrongConsumer_WhereNobodyStands() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        b.owed.places[0] = 0;
        Header memory h = postBatch(b);
        convicts(_consumer(h, 0, address(0), wordAt(b.owed, 0)), "index 0");
        acquits(_consumer(h, 4, address(0), noWord()), "nothing beyond the consumers");
    }

    function test_WrongConsumer_BeyondTheLanesConsumers() external {
        Batch memory b = aBatch(receiptsFrom(1, 1));
        (b.owed.height, b.owed.places[0]) = (3, CONSUMERS + 1);
        Header memory h = postBatch(b);
        convicts(_consumer(h, uint32(CONSUMERS + 1), consumer(1), wordAt(b.owed, CONSUMERS + 1)), "index 4");
    }

    // ------------------------------------------------------------------ inside

    function _costing(uint64 price) private view returns (Receipt[] memory rs) {
        rs = receiptsFrom(1, 1);
        (rs[0].price, rs[0].charge) = (price, price);
    }

    function _overdraft(Header memory h, address who, IJudge.Word memory word) private view returns (bytes memory) {
        return abi.encodeCall(IReferee.proveOverdraft, (lane, idOfLast(), h, who, word));
    }

    function _afterExit(Header memory h, Header memory prev, IJudge.Word memory before, IJudge.Word memory afterwards)
        private
        view
        returns (bytes memory)
    {
        address who = consumer(1);
        return abi.encodeCall(IReferee.proveDebitAfterExit, (lane, idOfLast(), h, prev, who, before, afterwards));
    }

    function _regression(
        Header memory h,
        Header memory prev,
        Tree tree,
        uint32 index,
        IJudge.Word memory before,
        IJudge.Word memory afterwards
    ) private view returns (bytes memory) {
        uint64 id = idOfLast();
        return abi.encodeCall(IReferee.proveRegression, (lane, id, h, prev, tree, index, before, afterwards));
    }

    function _payee(Header memory h, uint32 index, IJudge.Word memory word) private view returns (bytes memory) {
        return abi.encodeCall(IReferee.proveWrongPayee, (lane, idOfLast(), h, index, word));
    }

    function _consumer(Header memory h, uint32 index, address who, IJudge.Word memory word)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(IReferee.proveWrongConsumer, (lane, idOfLast(), h, index, who, word));
    }
}
