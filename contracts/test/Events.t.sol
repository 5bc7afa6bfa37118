// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../src/Headers.sol";
import {Role} from "../src/Roles.sol";
import {IAuthorizations} from "../src/interfaces/IAuthorizations.sol";
import {IBidBook} from "../src/interfaces/IBidBook.sol";
import {IKeys} from "../src/interfaces/IKeys.sol";
import {IMaker} from "../src/interfaces/IMaker.sol";
import {IOwed} from "../src/interfaces/IOwed.sol";
import {IQuestions} from "../src/interfaces/IQuestions.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {IStakeVault} from "../src/interfaces/IStakeVault.sol";
import {Base} from "./Base.sol";
import {TestMaker} from "./Judges.sol";
import {MockToken} from "./Tokens.sol";
import {Sparse, Trees} from "./Trees.sol";
import {World} from "./World.sol";

/// @dev Ledgers, auditors and mirrors know the chain by its events alone: each says what happened, and all of it.
contract SettlementEventsTest is Base {
    using Trees for Sparse;

    function test_ALanesLifeIsInItsEvents() external {
        ISettlement.Terms memory terms = ISettlement.Terms(WINDOW, ANSWER, 1, 7);
        address salted = _next("another", terms);
        token.transfer(operator, BOND);
        vm.startPrank(operator);
        _expect();
        emit ISettlement.LaneOpened(salted, operator, terms);
        _expect();
        emit ISettlement.BondChanged(salted, BOND);
        _expect();
        emit ISettlement.LaneActive(salted, true);
        settlement.openLane("another", terms, BOND);
        _expect();
        emit ISettlement.PosterSet(lane, stranger);
        settlement.setPoster(lane, stranger);
        vm.stopPrank();
        token.approve(address(settlement), 5);
        _expect();
        emit ISettlement.BondChanged(lane, BOND + 5);
        settlement.addBond(lane, 5);
        vm.startPrank(operator);
        _expect();
        emit ISettlement.LaneActive(lane, false);
        settlement.setActive(lane, false);
        vm.warp(block.timestamp + 7 days);
        _expect();
        emit ISettlement.BondChanged(lane, 0);
        settlement.unbond(lane);
    }

    function test_MoneyInAndOutIsInItsEvents() external {
        token.approve(address(consumers), 77);
        _expect();
        emit ISettlement.Deposited(lane, consumer(2), 2, 77);
        consumers.deposit(lane, consumer(2), 77);
        spend(1, 1, 100);
        spend(1, 2, 50);
        Header memory h = nextHeader();
        vm.prank(operator);
        _expect();
        emit ISettlement.Committed(lane, 1, h, uint40(block.timestamp) + WINDOW);
        settlement.commit(lane, h, 0, noHeader());
        last = h;
        asksToLeave(3);
        vm.prank(consumer(3));
        _expect();
        emit ISettlement.WithdrawRequested(lane, consumer(3), false);
        consumers.cancelWithdraw(lane);
        vm.warp(block.timestamp + WINDOW);
        _expect();
        emit ISettlement.Finalized(lane, 1);
        settlement.finalize(lane, 1, h);
        bytes32[] memory proof = payouts().prove(1);
        _expect();
        emit ISettlement.Claimed(lane, 1, payee(1), 100);
        settlement.claim(lane, 1, payee(1), 100, proof);
        _claimsTheSecond();
        vm.prank(consumer(3));
        _expect();
        emit ISettlement.WithdrawRequested(lane, consumer(3), true);
        consumers.requestWithdraw(lane);
        vm.warp(block.timestamp + NOTICE + 1);
        spend(2, 1, 1);
        settle();
        proof = debits().prove(3);
        _expect();
        emit ISettlement.Withdrawn(lane, consumer(3), DEPOSIT, false);
        settlement.withdraw(lane, consumer(3), 0, proof);
    }

    function test_AnEscapeIsInItsEvent() external {
        asksToLeave(1);
        vm.warp(block.timestamp + 7 days);
        _expect();
        emit ISettlement.Withdrawn(lane, consumer(1), DEPOSIT, true);
        settlement.escapeWithdraw(lane, consumer(1), 0, new bytes32[](0));
    }

    function test_AFallIsInItsEvents() external {
        uint64 id = post();
        bytes24 hash = settlement.batches(lane, id).hash;
        _expect();
        emit ISettlement.Owed(challenger, BOND / 2);
        _expect();
        emit ISettlement.Owed(treasury, BOND / 2);
        _expect();
        emit ISettlement.Fell(lane, 1, 2, challenger, BOND);
        _expect();
        emit ISettlement.BondChanged(lane, 0);
        _expect();
        emit ISettlement.LaneActive(lane, false);
        asReferee.convict(lane, id, hash, challenger);
        _expect();
        emit ISettlement.Collected(challenger, BOND / 2);
        settlement.collect(challenger);
    }

    function test_KeysAreInTheirEvents() external {
        vm.startPrank(consumer(1));
        _expect(address(keys));
        emit IKeys.SessionKeySet(consumer(1), stranger);
        keys.setSessionKey(stranger);
        _expect(address(keys));
        emit IKeys.SessionKeyRevoked(consumer(1), stranger, block.timestamp + SESSION_NOTICE);
        keys.revokeSessionKey(stranger);
        vm.stopPrank();
        vm.startPrank(operator);
        _expect(address(keys));
        emit IKeys.GatewayAdded(lane, stranger, 1);
        keys.addGateway(lane, stranger);
        _expect(address(keys));
        emit IKeys.GatewayRevoked(lane, stranger, block.timestamp + 2 * DAY);
        keys.revokeGateway(lane, stranger);
        _expect(address(keys));
        emit IKeys.UrlSet(lane, "https://lane.example");
        keys.setUrl(lane, "https://lane.example");
        vm.stopPrank();
    }

    function test_StakesAreInTheirEvents() external {
        uint40 releaseAt = uint40(block.timestamp) + 37 days;
        token.transfer(operator, 11);
        vm.startPrank(operator);
        token.approve(address(vault), 11);
        _expect(address(vault));
        emit IStakeVault.StakeChanged(operator, 11, 0, 0);
        vault.stake(11);
        _expect(address(vault));
        emit IStakeVault.StakeChanged(operator, 7, 4, releaseAt);
        vault.unbond(4);
        vm.stopPrank();
        _expect(address(vault));
        emit IStakeVault.StakeChanged(operator, 0, 0, 0);
        _expect(address(vault));
        emit IStakeVault.Slashed(operator, 11, challenger, 5);
        _expect(address(vault));
        emit IOwed.Credited(challenger, 5);
        _expect(address(vault));
        emit IOwed.Credited(treasury, 6);
        asReferee.punish(lane, challenger);
        _expect(address(vault));
        emit IOwed.Collected(challenger, 5);
        vault.collect(challenger);
    }

    function test_AuthorizationsAreInTheirEvents() external {
        bytes memory s = authorization(consumerKey(1), false, stranger, 0, 0, type(uint256).max, "n");
        _expect(address(token));
        emit IAuthorizations.AuthorizationUsed(consumer(1), "n");
        auth().transferWithAuthorization(consumer(1), stranger, 0, 0, type(uint256).max, "n", s);
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes32 hash = keccak256(abi.encode(typehash, consumer(1), bytes32("m")));
        s = signed(consumerKey(1), keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), hash)));
        _expect(address(token));
        emit IAuthorizations.AuthorizationCanceled(consumer(1), "m");
        auth().cancelAuthorization(consumer(1), "m", s);
    }

    // ------------------------------------------------------------------ helpers

    function _claimsTheSecond() private {
        uint256[] memory rows = new uint256[](1);
        rows[0] = (uint256(uint160(payee(2))) << 64) | 50;
        bytes32[] memory proof = payouts().prove(2);
        _expect();
        emit ISettlement.ClaimedRange(lane, 2, rows);
        settlement.claimRange(lane, 2, rows, proof);
    }

    /// @dev The lane that the operator opens with this salt, looked up by opening it and taking it back.
    function _next(bytes32 salt, ISettlement.Terms memory terms) private returns (address opened) {
        uint256 before = vm.snapshotState();
        opened = openLane(operator, salt, terms, BOND);
        vm.revertToState(before);
    }

    function _expect() private {
        vm.expectEmit(address(settlement));
    }

    function _expect(address emitter) private {
        vm.expectEmit(emitter);
    }
}

/// @dev The same of Questions.
contract QuestionsEventsTest is Base {
    using Trees for Sparse;

    uint256 private constant FLOOR = 0.001 ether;
    IQuestions private questions;
    uint40 private deadline;

    function setUp() public override {
        super.setUp();
        questions = IQuestions(settlement.questions());
        vm.deal(challenger, 1 ether);
        deadline = uint40(block.timestamp) + ANSWER;
        spend(1, 1, 100);
        post();
    }

    function makers() internal override returns (IMaker[3] memory m, bytes[3] memory arguments) {
        m[0] = makerOf("Questions");
        m[1] = m[2] = IMaker(address(new TestMaker()));
        arguments[0] = abi.encode(FLOOR, uint256(7));
    }

    function test_WordsAndTheirMoneyAreInTheirEvents() external {
        Header memory h = last;
        bytes32 q = questions.questionOf(lane, 1, idOf(h), questions.subjectOfWords(Tree.payouts, 1, 0));
        (bytes32[] memory words, bytes32[] memory path) = _words();
        vm.prank(challenger);
        _expect();
        emit IQuestions.OwedWei(challenger, 5);
        _expect();
        emit IQuestions.WordsAsked(lane, 1, q, idOf(h), Tree.payouts, 1, 0, challenger, deadline);
        questions.askWords{value: FLOOR + 5}(lane, 1, h, Tree.payouts, 1, 0);
        vm.prank(operator);
        _expect();
        emit IQuestions.WordsShown(q, words, path);
        _expect();
        emit IQuestions.OwedWei(operator, 7);
        _expect();
        emit IQuestions.Answered(q, operator, 7);
        questions.answerWords(lane, 1, h, Tree.payouts, 1, 0, words, path);
        _expect();
        emit IQuestions.CollectedWei(challenger, 5);
        questions.collectWei(challenger);
    }

    function test_AReceiptsQuestionIsInItsEvents() external {
        Header memory h = last;
        bytes32 subject = questions.subjectOfReceipt(0);
        bytes32 q = questions.questionOf(lane, 1, idOf(h), subject);
        vm.prank(challenger);
        _expect();
        emit IQuestions.ReceiptAsked(lane, 1, q, idOf(h), 0, challenger, deadline);
        questions.askReceipt{value: FLOOR}(lane, 1, h, 0);
        vm.warp(uint256(deadline) + 1);
        _expect();
        emit IQuestions.OwedWei(challenger, FLOOR);
        _expect();
        emit IQuestions.Closed(q, true);
        questions.close(lane, 1, idOf(h), subject);
    }

    function test_AnEmptyPlaceIsInItsEvent() external {
        Header memory h = nextHeader();
        h.heights |= 1; // two places, and one call
        h.receiptsRoot = Trees.parent(0, 0);
        post(h);
        bytes32 q = questions.questionOf(lane, 2, idOf(h), questions.subjectOfReceipt(0));
        vm.prank(challenger);
        questions.askReceipt{value: FLOOR}(lane, 2, h, 0);
        _expect();
        emit IQuestions.ReceiptShown(q, "", "", new bytes32[](1));
        questions.answerReceipt(lane, 2, h, 0, "", "", new bytes32[](1));
    }

    function test_AMandateIsInItsEvents() external {
        Header memory h = last;
        IQuestions.Debit memory debit = IQuestions.Debit(1, consumer(1), 100);
        bytes32 q = questions.questionOf(lane, 1, idOf(h), questions.subjectOfMandate(debit));
        bytes32[] memory path = debits().prove(1);
        vm.prank(challenger);
        _expect();
        emit IQuestions.MandateAsked(lane, 1, q, idOf(h), debit, challenger, deadline);
        questions.askMandate{value: FLOOR}(lane, 1, h, debit, path, noHeader(), 0, new bytes32[](0));
        bytes memory signature = voucher(consumerKey(1), lane, consumer(1), 130);
        _expect();
        emit IQuestions.MandateShown(q, 130, signature);
        questions.answerMandate(lane, 1, h, debit, 130, signature);
    }

    function test_AFinalWordIsInItsEvents() external {
        vm.warp(settlement.batches(lane, 1).until);
        settlement.finalize(lane, 1, last);
        bytes32 q = questions.questionOf(lane, 0, 0, questions.subjectOfFinal(Tree.payouts, 1));
        (bytes32 word, bytes32[] memory path) = (payouts().node(payouts().height, 1), payouts().prove(1));
        vm.prank(challenger);
        _expect();
        emit IQuestions.FinalAsked(lane, q, Tree.payouts, 1, challenger, uint40(block.timestamp) + ANSWER);
        questions.askFinal{value: FLOOR}(lane, Tree.payouts, 1);
        _expect();
        emit IQuestions.FinalShown(q, word, path);
        questions.answerFinal(lane, Tree.payouts, 1, word, path);
    }

    /// @dev The words below the left half of the payout tree, and the path from there.
    function _words() private view returns (bytes32[] memory words, bytes32[] memory path) {
        Sparse memory p = payouts();
        words = new bytes32[](1 << (p.height - 1));
        for (uint256 i; i < words.length; ++i) words[i] = p.node(p.height, i);
        path = p.proveNode(1, 0);
    }

    function _expect() private {
        vm.expectEmit(address(questions));
    }
}

/// @dev The same of Registry and BidBook.
contract RegistryEventsTest is World {
    bytes32 private constant MODEL = keccak256("model");
    bytes32 private constant ORG = "tollway-1";
    uint256 private constant HOUR = 1 hours;
    uint32 private constant NOW = 500_000;

    MockToken private token;
    IRegistry private registry;
    IBidBook private book;

    function setUp() external {
        vm.warp(NOW * HOUR + HOUR / 2);
        token = new MockToken();
        registry = IRegistry(create("Registry", abi.encode(token, uint64(1_000), uint32(HOUR), uint32(300))));
        book = IBidBook(create("BidBook", abi.encode(registry)));
        address[2] memory all = [maker, provider];
        for (uint256 i; i < 2; ++i) {
            token.mint(all[i], 1_000_000);
            vm.prank(all[i]);
            token.approve(address(registry), type(uint256).max);
        }
    }

    function test_AModelsLifeIsInItsEvents() external {
        bytes32 lineage = keccak256(abi.encode(new IRegistry.Parent[](0)));
        bytes32 commitment = keccak256(abi.encode(MODEL, maker, bytes32("salt")));
        vm.startPrank(maker);
        vm.expectEmit(address(registry));
        emit IRegistry.Committed(commitment);
        registry.commit(commitment);
        vm.warp(block.timestamp + 1);
        vm.expectEmit(address(registry));
        emit IRegistry.PayeeRegistered(1, maker);
        vm.expectEmit(address(registry));
        emit IRegistry.ModelRegistered(
            MODEL, maker, new IRegistry.Parent[](0), lineage, keccak256("terms"), NOW + 1, 1, 1
        );
        registry.register(MODEL, new IRegistry.Parent[](0), keccak256("terms"), "salt");
        vm.warp(block.timestamp + HOUR);
        vm.expectEmit(address(registry));
        emit IRegistry.TermsChanged(MODEL, keccak256("dearer"), NOW + 2, 2);
        registry.changeTerms(MODEL, lineage, keccak256("terms"), keccak256("dearer"));
        vm.warp(block.timestamp + 1 days);
        uint40 until = uint40(block.timestamp + 1 days);
        bytes24 content = bytes24(keccak256(abi.encode(lineage, keccak256("dearer"))));
        IRegistry.Offer memory offer = IRegistry.Offer(maker, provider, 300, until, content, "agreement");
        vm.expectEmit(address(registry));
        emit IRegistry.ModelOffered(MODEL, offer);
        registry.offerModel(MODEL, provider, 300, until, "agreement");
        vm.expectEmit(address(registry));
        emit IRegistry.OfferWithdrawn(MODEL);
        registry.withdrawOffer(MODEL);
        registry.offerModel(MODEL, provider, 300, until, "agreement");
        vm.stopPrank();
        vm.prank(provider);
        vm.expectEmit(address(registry));
        emit IRegistry.OwnerChanged(MODEL, maker, provider, NOW + 26, 2);
        vm.expectEmit(address(registry));
        emit IRegistry.ModelSold(MODEL, maker, provider, 300, "agreement", NOW + 26);
        registry.buyModel(MODEL, offer);
    }

    function test_AnOrganisationsLifeIsInItsEvents() external {
        _commit(ORG);
        vm.startPrank(maker);
        vm.expectEmit(address(registry));
        emit IRegistry.OrganisationChanged(ORG, maker);
        registry.registerOrganisation(ORG, "salt");
        vm.expectEmit(address(registry));
        emit IRegistry.OrganisationKeySet(ORG, provider, true);
        registry.setOrganisationKey(ORG, provider, true);
        vm.stopPrank();
        _commit(MODEL);
        vm.startPrank(maker);
        registry.register(MODEL, new IRegistry.Parent[](0), 0, "salt");
        vm.expectEmit(address(registry));
        emit IRegistry.NamePublished(ORG, "model", MODEL);
        registry.publishName(ORG, "model", MODEL);
        vm.expectEmit(address(registry));
        emit IRegistry.OrganisationChanged(ORG, address(0));
        vm.expectEmit(address(registry));
        emit IOwed.Credited(maker, 1_000);
        registry.releaseOrganisation(ORG);
        vm.expectEmit(address(registry));
        emit IOwed.Collected(maker, 1_000);
        registry.collect(maker);
        vm.stopPrank();
    }

    function test_ABidIsInItsEvent() external {
        vm.expectEmit(address(book));
        emit IBidBook.BidPlaced(MODEL, provider, Role.compute, 0, asksOf(12), NOW + 1, 1);
        vm.prank(provider);
        book.placeBid(MODEL, Role.compute, 0, asksOf(12));
    }

    function _commit(bytes32 what) private {
        vm.prank(maker);
        registry.commit(keccak256(abi.encode(what, maker, bytes32("salt"))));
        vm.warp(block.timestamp + 1);
    }
}
