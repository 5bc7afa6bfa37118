// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IKeys} from "./interfaces/IKeys.sol";
import {IQuestions} from "./interfaces/IQuestions.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Header, Headers, Tree} from "./Headers.sol";
import {METERS} from "./Meters.sol";
import {Receipt, Receipts} from "./Receipt.sol";
import {Signatures} from "./Signatures.sol";
import {SumTree} from "./SumTree.sol";

/// @title Questions
/// @notice See IQuestions, the manual. Made for one Settlement by QuestionsMaker.
/// @dev A question's key names its whole cause: lane, batch, header and subject, or lane, tree and index. Only
/// `collectWei` calls a stranger, after its effects.
contract Questions is IQuestions {
    using Headers for Header;
    using SumTree for bytes32;

    /// @dev Levels between a node and the words that are shown of it.
    uint256 private constant LEVELS = 8;
    /// @dev The longest lawful terms: 16 lines that ask for every meter, and a deduction. Longer ones cannot be shown, so
    /// that no proof about terms is larger than a transaction.
    uint256 private constant MAX_TERMS_BYTES = 119 + 16 * (25 + 9 * METERS);
    uint256 private constant MAX_FLOOR = 1_000 ether;
    /// @dev As in Settlement: a stopped lane's bond leaves after it.
    uint256 private constant ESCAPE_DELAY = 7 days;
    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(address lane,address account,uint64 cumMax)");

    // The dearest answer of each kind as a transaction of its own, measured (test/Questions.t.sol) and rounded up.
    uint256 private constant WORDS_GAS = 455_000;
    uint256 private constant RECEIPT_GAS = 230_000;
    uint256 private constant MANDATE_GAS = 105_000;
    uint256 private constant FINAL_GAS = 120_000;

    ISettlement private immutable _settlement;
    /// @inheritdoc IQuestions
    uint256 public immutable floor;
    /// @inheritdoc IQuestions
    uint256 public immutable dataFee;

    mapping(bytes32 question => Question) private _questions;
    /// @inheritdoc IQuestions
    mapping(address who => uint256) public owedWei;

    constructor(ISettlement settlement, uint256 floor_, uint256 dataFee_) {
        if (floor_ == 0 || floor_ > MAX_FLOOR || dataFee_ > MAX_FLOOR) revert FloorOutOfRange(floor_, dataFee_);
        (_settlement, floor, dataFee) = (settlement, floor_, dataFee_);
    }

    // ------------------------------------------------------------------ asking

    /// @inheritdoc IQuestions
    function askWords(address lane, uint64 id, Header calldata header, Tree tree, uint8 depth, uint64 position)
        external
        payable
    {
        uint256 height = header.height(tree);
        if (depth > height || position >> depth != 0) revert PlaceUnknown(position, depth > height ? 0 : 1 << depth);
        bytes24 hash = header.id();
        (bytes32 question, uint40 deadline) = _ask(Kind.words, lane, id, hash, subjectOfWords(tree, depth, position));
        _settlement.ask(lane, id, hash);
        emit WordsAsked(lane, id, question, hash, tree, depth, position, msg.sender, deadline);
    }

    /// @inheritdoc IQuestions
    function askReceipt(address lane, uint64 id, Header calldata header, uint64 place) external payable {
        if (place >= header.calls()) revert PlaceUnknown(place, header.calls());
        bytes24 hash = header.id();
        (bytes32 question, uint40 deadline) = _ask(Kind.receipt, lane, id, hash, subjectOfReceipt(place));
        _settlement.ask(lane, id, hash);
        emit ReceiptAsked(lane, id, question, hash, place, msg.sender, deadline);
    }

    /// @inheritdoc IQuestions
    function askMandate(
        address lane,
        uint64 id,
        Header calldata header,
        Debit calldata debit,
        bytes32[] calldata path,
        Header calldata previous,
        bytes32 before,
        bytes32[] calldata beforePath
    ) external payable {
        _checkDebit(lane, header, debit, path);
        _checkBefore(header.prev, previous, debit.index, before, beforePath);
        if (before.sum() >= debit.cumulative) revert NotGrown(before.sum(), debit.cumulative);
        uint256 covered = _mandate(lane, debit.account, 0);
        if (covered >= debit.cumulative) revert MandateNotNeeded(covered, debit.cumulative);
        bytes24 hash = header.id();
        (bytes32 question, uint40 deadline) = _ask(Kind.mandate, lane, id, hash, subjectOfMandate(debit));
        _settlement.ask(lane, id, hash);
        emit MandateAsked(lane, id, question, hash, debit, msg.sender, deadline);
    }

    /// @inheritdoc IQuestions
    function askFinal(address lane, Tree tree, uint32 index) external payable {
        (, uint256 height) = _finalTree(lane, tree);
        if (index >> height != 0) revert PlaceUnknown(index, 1 << height);
        (bytes32 question, uint40 deadline) = _ask(Kind.finalWord, lane, 0, 0, subjectOfFinal(tree, index));
        if (!_settlement.lanes(lane).active) {
            uint256 answerTime = deadline - block.timestamp;
            uint256 bondLeaves = uint256(_settlement.lives(lane).stoppedAt) + ESCAPE_DELAY;
            if (deadline + answerTime > bondLeaves) revert LaneStopped(lane);
        }
        emit FinalAsked(lane, question, tree, index, msg.sender, deadline);
    }

    // ------------------------------------------------------------------ answering

    /// @inheritdoc IQuestions
    function answerWords(
        address lane,
        uint64 id,
        Header calldata header,
        Tree tree,
        uint8 depth,
        uint64 position,
        bytes32[] calldata words,
        bytes32[] calldata path
    ) external returns (bool) {
        bytes24 hash = header.id();
        bytes32 question = questionOf(lane, id, hash, subjectOfWords(tree, depth, position));
        if (!_isOpen(question, lane, id, hash)) return false;
        uint256 levels = header.height(tree) - depth; // the question was asked: its depth is in the tree
        if (levels > LEVELS) levels = LEVELS;
        bytes32 node = _nodeOver(words, levels);
        _checkPath(header.root(tree), depth, node, position, path);
        emit WordsShown(question, words, path);
        _answer(Kind.words, question);
        _settlement.answer(lane, id, hash);
        return true;
    }

    /// @inheritdoc IQuestions
    function answerReceipt(
        address lane,
        uint64 id,
        Header calldata header,
        uint64 place,
        bytes calldata record,
        bytes calldata terms,
        bytes32[] calldata path
    ) external returns (bool) {
        bytes24 hash = header.id();
        bytes32 question = questionOf(lane, id, hash, subjectOfReceipt(place));
        if (!_isOpen(question, lane, id, hash)) return false;
        bytes32 leaf = _receiptLeaf(lane, record, terms);
        _checkPath(header.receiptsRoot, header.height(Tree.receipts), leaf, place, path);
        emit ReceiptShown(question, record, terms, path);
        _answer(Kind.receipt, question);
        _settlement.answer(lane, id, hash);
        return true;
    }

    /// @inheritdoc IQuestions
    function answerMandate(
        address lane,
        uint64 id,
        Header calldata header,
        Debit calldata debit,
        uint64 cumMax,
        bytes calldata signature
    ) external returns (bool) {
        bytes24 hash = header.id();
        bytes32 question = questionOf(lane, id, hash, subjectOfMandate(debit));
        if (!_isOpen(question, lane, id, hash)) return false;
        if (cumMax != 0) _checkVoucher(lane, debit.account, cumMax, header.closedAt, signature);
        uint256 mandate = _mandate(lane, debit.account, cumMax);
        if (mandate < debit.cumulative) revert MandateTooSmall(mandate, debit.cumulative);
        emit MandateShown(question, cumMax, signature);
        _answer(Kind.mandate, question);
        _settlement.answer(lane, id, hash);
        return true;
    }

    /// @inheritdoc IQuestions
    function answerFinal(address lane, Tree tree, uint32 index, bytes32 word, bytes32[] calldata path)
        external
        returns (bool)
    {
        bytes32 question = questionOf(lane, 0, 0, subjectOfFinal(tree, index));
        if (!_isOpen(question, lane, 0, 0)) return false;
        (bytes32 root, uint256 height) = _finalTree(lane, tree);
        _checkPath(root, height, word, index, path);
        emit FinalShown(question, word, path);
        _answer(Kind.finalWord, question);
        return true;
    }

    /// @inheritdoc IQuestions
    function multicall(bytes[] calldata calls) external returns (bool[] memory succeeded) {
        succeeded = new bool[](calls.length);
        for (uint256 i; i < calls.length; ++i) {
            // this contract's own code, for the same caller, without value
            (succeeded[i],) = address(this).delegatecall(calls[i]);
        }
    }

    // ------------------------------------------------------------------ without an answer

    /// @inheritdoc IQuestions
    function close(address lane, uint64 id, bytes24 hash, bytes32 subject) external {
        bytes32 question = questionOf(lane, id, hash, subject);
        Question memory q = _questions[question];
        if (q.asker == address(0)) revert QuestionUnknown(question);
        bool late = _stands(q, lane, id, hash);
        if (late && block.timestamp <= q.deadline) revert TooEarly(block.timestamp, uint256(q.deadline) + 1);
        _refund(question, q, late);
        if (!late) return;
        if (id == 0) _settlement.punish(lane, q.asker);
        else _settlement.convict(lane, id, hash, q.asker);
    }

    /// @inheritdoc IQuestions
    function collectWei(address who) external returns (uint256 amount) {
        amount = owedWei[who];
        if (amount == 0) revert NothingOwed(who);
        owedWei[who] = 0;
        emit CollectedWei(who, amount);
        (bool ok,) = who.call{value: amount}("");
        if (!ok) revert PaymentRefused(who);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IQuestions
    function questions(bytes32 question) external view returns (Question memory) {
        return _questions[question];
    }

    /// @inheritdoc IQuestions
    function questionOf(address lane, uint64 id, bytes24 hash, bytes32 subject) public pure returns (bytes32) {
        return keccak256(abi.encode(lane, id, hash, subject));
    }

    /// @inheritdoc IQuestions
    function subjectOfWords(Tree tree, uint8 depth, uint64 position) public pure returns (bytes32) {
        return keccak256(abi.encode(Kind.words, tree, depth, position));
    }

    /// @inheritdoc IQuestions
    function subjectOfReceipt(uint64 place) public pure returns (bytes32) {
        return keccak256(abi.encode(Kind.receipt, place));
    }

    /// @inheritdoc IQuestions
    function subjectOfMandate(Debit calldata debit) public pure returns (bytes32) {
        return keccak256(abi.encode(Kind.mandate, debit));
    }

    /// @inheritdoc IQuestions
    function subjectOfFinal(Tree tree, uint32 index) public pure returns (bytes32) {
        return keccak256(abi.encode(Kind.finalWord, tree, index));
    }

    /// @inheritdoc IQuestions
    function gasOf(Kind kind) public pure returns (uint256) {
        if (kind == Kind.words) return WORDS_GAS;
        if (kind == Kind.receipt) return RECEIPT_GAS;
        return kind == Kind.mandate ? MANDATE_GAS : FINAL_GAS;
    }

    /// @inheritdoc IQuestions
    function feeAt(Kind kind, uint256 baseFee) public view returns (uint256 fee) {
        fee = 2 * _priceAt(kind, baseFee);
        if (fee < floor) fee = floor;
        fee = (fee + 1 gwei - 1) / 1 gwei * 1 gwei;
    }

    // ------------------------------------------------------------------ inside: questions

    function _ask(Kind kind, address lane, uint64 id, bytes24 hash, bytes32 subject)
        private
        returns (bytes32 question, uint40 deadline)
    {
        question = questionOf(lane, id, hash, subject);
        Question memory q = _questions[question];
        if (q.asker != address(0)) {
            if (_stands(q, lane, id, hash)) revert QuestionOpen(question, q.deadline);
            _refund(question, q, false);
        }
        uint256 fee = feeAt(kind, block.basefee);
        if (msg.value < fee) revert FeeTooSmall(msg.value, fee);
        deadline = uint40(block.timestamp + _settlement.lanes(lane).answerTime); // fits for 34,000 years
        _questions[question] = Question(msg.sender, deadline, uint56(fee / 1 gwei)); // nobody has 2^56 gwei to send
        _owe(msg.sender, msg.value - fee);
    }

    /// @dev True when an answer may be given. A question whose cause is gone is closed on the way.
    function _isOpen(bytes32 question, address lane, uint64 id, bytes24 hash) private returns (bool) {
        Question memory q = _questions[question];
        if (q.asker == address(0)) return false;
        if (!_stands(q, lane, id, hash)) {
            _refund(question, q, false);
            return false;
        }
        if (block.timestamp > q.deadline) revert DeadlinePassed(q.deadline);
        return true;
    }

    /// @dev True while the cause of an open question stands: its batch is pending, or the lane did not fall since a
    /// final tree was asked. A batch with an open question does not become final, so one that is not pending has
    /// fallen.
    function _stands(Question memory q, address lane, uint64 id, bytes24 hash) private view returns (bool) {
        if (id == 0) {
            uint256 askedAt = uint256(q.deadline) - _settlement.lanes(lane).answerTime; // which never changes
            return askedAt > _settlement.lives(lane).fellAt;
        }
        return id < _settlement.heads(lane).next && _settlement.batches(lane, id).hash == hash;
    }

    function _answer(Kind kind, bytes32 question) private {
        uint256 paid = _priceAt(kind, block.basefee);
        uint256 fee = uint256(_questions[question].feeGwei) * 1 gwei;
        if (paid > fee) paid = fee;
        delete _questions[question];
        _owe(msg.sender, paid);
        emit Answered(question, msg.sender, paid);
    }

    function _refund(bytes32 question, Question memory q, bool late) private {
        delete _questions[question];
        _owe(q.asker, uint256(q.feeGwei) * 1 gwei);
        emit Closed(question, late);
    }

    function _owe(address who, uint256 amount) private {
        if (amount == 0) return;
        owedWei[who] += amount;
        emit OwedWei(who, amount);
    }

    function _priceAt(Kind kind, uint256 baseFee) private view returns (uint256) {
        return baseFee * gasOf(kind) + dataFee;
    }

    // ------------------------------------------------------------------ inside: proofs

    function _checkPath(bytes32 root, uint256 depth, bytes32 word, uint256 position, bytes32[] calldata path)
        private
        pure
    {
        if (path.length != depth || !SumTree.verify(root, word, position, path)) revert ProofInvalid();
    }

    function _checkDebit(address lane, Header calldata header, Debit calldata debit, bytes32[] calldata path)
        private
        pure
    {
        bytes32 leaf = SumTree.accountLeaf(SumTree.DEBIT, lane, debit.index, debit.account, debit.cumulative);
        _checkPath(header.debitRoot, header.height(Tree.debits), leaf, debit.index, path);
    }

    /// @dev The word at `index` in the debit tree of the batch before; nothing before a lane's first batch.
    function _checkBefore(
        bytes24 prev,
        Header calldata previous,
        uint32 index,
        bytes32 before,
        bytes32[] calldata beforePath
    ) private pure {
        uint256 height;
        if (prev != 0) {
            if (previous.id() != prev) revert PreviousHeaderWrong(previous.id(), prev);
            height = previous.height(Tree.debits);
        }
        if (prev != 0 && index >> height == 0) _checkPath(previous.debitRoot, height, before, index, beforePath);
        else if (before != 0) revert ProofInvalid();
    }

    /// @dev The node `levels` above words.
    function _nodeOver(bytes32[] calldata words, uint256 levels) private pure returns (bytes32 node) {
        if (words.length != 1 << levels) revert WordCountWrong(words.length, 1 << levels);
        if (levels == 0) return words[0];
        node = SumTree.rangeRoot(words, 0, levels, words[:0]);
        // Zero says that a sum passes 64 bits. It is no node: a liar's tree may hold the zero word there.
        if (node == 0) revert ProofInvalid();
    }

    /// @dev The leaf of a receipt with its terms, the zero word for none.
    function _receiptLeaf(address lane, bytes calldata record, bytes calldata terms) private pure returns (bytes32) {
        if (record.length == 0) {
            if (terms.length != 0) revert TermsWrong();
            return 0;
        }
        Receipt memory receipt = Receipts.read(record);
        if (terms.length > MAX_TERMS_BYTES || keccak256(terms) != receipt.terms) revert TermsWrong();
        return SumTree.receiptLeaf(lane, Receipts.hash(receipt), receipt.charge);
    }

    /// @dev What an account may have been debited in all, given a voucher. It is read now, not as of `closedAt`, and
    /// that turns against no honest lane. It grows by what the account itself pays in. Only an exit sets it back: one
    /// by `withdraw` needs a final batch that was closed after request and notice, and no batch after that one may
    /// raise the debit; one by `escapeWithdraw` needs that no batch is pending. So no pending batch raises the debit of
    /// an account that just left.
    function _mandate(address lane, address account, uint64 cumMax) private view returns (uint256) {
        ISettlement.Account memory a = _settlement.accounts(lane, account);
        return uint256(cumMax > a.debitAtExit ? cumMax : a.debitAtExit) + a.paidIn;
    }

    function _checkVoucher(address lane, address account, uint64 cumMax, uint40 closedAt, bytes calldata signature)
        private
        view
    {
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, lane, account, cumMax));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", _settlement.DOMAIN_SEPARATOR(), structHash));
        address key = Signatures.signer(digest, signature); // zero if nobody signed, and zero speaks for nobody
        if (!IKeys(_settlement.keys()).speaksFor(account, key, closedAt)) revert SignatureInvalid(account);
    }

    /// @dev Only payouts and debits have a tree that is final.
    function _finalTree(address lane, Tree tree) private view returns (bytes32 root, uint256 height) {
        (bytes32 payouts, bytes32 debits) = _settlement.finalRoots(lane);
        ISettlement.Head memory h = _settlement.heads(lane);
        if (tree == Tree.payouts) return (payouts, h.payoutHeight);
        if (tree == Tree.debits) return (debits, h.debitHeight);
        revert TreeUnfit(tree);
    }
}
