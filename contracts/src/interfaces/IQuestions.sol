// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Tree} from "../Headers.sol";

/// @title Questions: what an operator must show on chain when somebody asks
/// @notice Batch files are public, but nobody can be made to serve them. So anybody may ask for a part of a batch, for
/// a fee, and the operator, or whoever holds the file, shows it here within the lane's `answerTime`. A question that is
/// not answered in time convicts the lane. Every answer is emitted in full, so that it can be read by whoever asked,
/// however it was sent.
///
/// **Batches.** A question about a pending batch names it by lane, id and header, and ends with it: when the batch
/// falls, the question only closes and its fee is owed back. No later batch has the same header, because a header holds
/// its era. Questions can be asked until twice the answer time before the window ends, so that after the last answer
/// one answer time is left to prove what it shows.
///
/// **Final trees.** A question about the final payout or debit tree names lane, tree and index. Its answer is the word
/// in the tree that is final when the answer comes. It outlives batches, and ends with a fall. An operator must not let
/// the height of these trees shrink: what stood in them can be asked for.
///
/// **The same question** can be open once. Whoever needs its answer waits for that one: its deadline is the earlier,
/// and anybody may close it. Asked again after its answer, it costs again.
///
/// **Fees.** A question costs `feeAt(kind, base fee)` wei: twice what its kind's dearest answer costs, and at least
/// `floor`. What was sent above it is owed back. Whoever answers is owed the price of that answer at the base fee of
/// its block, at most the fee; the rest stays here for good, so that asking oneself costs too. A question without an
/// answer gives its fee back. Nothing is pushed: `collectWei` pays.
///
/// Times are seconds. Amounts are wei, but vouchers and debits, which are atoms of the settlement token.
interface IQuestions {
    // ------------------------------------------------------------------ values

    /// @notice What can be asked.
    enum Kind {
        /// The words of a subtree, eight levels below a node.
        words,
        /// A receipt with its terms.
        receipt,
        /// The consumer's consent to a debit that grew.
        mandate,
        /// A word of the final payout or debit tree.
        finalWord
    }

    /// @notice What a batch debits an account, in all.
    struct Debit {
        /// The account's place in the debit tree.
        uint32 index;
        address account;
        uint64 cumulative;
    }

    /// @notice An open question. One slot.
    struct Question {
        address asker;
        /// Answers are taken until then, that second included.
        uint40 deadline;
        /// 2^56 gwei are 72 million ether.
        uint56 feeGwei;
    }

    // ------------------------------------------------------------------ events

    /// @notice Somebody asks for the words eight levels below a node of batch `id`; `hash` is the header's id.
    event WordsAsked(
        address indexed lane,
        uint64 indexed id,
        bytes32 indexed question,
        bytes24 hash,
        Tree tree,
        uint8 depth,
        uint64 position,
        address asker,
        uint40 deadline
    );
    /// @notice Somebody asks for the receipt at a place of batch `id`.
    event ReceiptAsked(
        address indexed lane,
        uint64 indexed id,
        bytes32 indexed question,
        bytes24 hash,
        uint64 place,
        address asker,
        uint40 deadline
    );
    /// @notice Somebody asks for the mandate of a debit that grew in batch `id`.
    event MandateAsked(
        address indexed lane,
        uint64 indexed id,
        bytes32 indexed question,
        bytes24 hash,
        Debit debit,
        address asker,
        uint40 deadline
    );
    /// @notice Somebody asks for a word of a lane's final payout or debit tree.
    event FinalAsked(
        address indexed lane, bytes32 indexed question, Tree tree, uint32 index, address asker, uint40 deadline
    );

    /// @notice The words `2^levels * position...` that stand at `depth + levels`, and the path from their common node.
    event WordsShown(bytes32 indexed question, bytes32[] words, bytes32[] path);
    /// @notice The receipt's record (Receipts), its terms, and its path. No record and no terms: the zero word stands
    /// there.
    event ReceiptShown(bytes32 indexed question, bytes record, bytes terms, bytes32[] path);
    /// @notice The mandate: up to `cumMax` by a voucher; 0 if none was needed.
    event MandateShown(bytes32 indexed question, uint64 cumMax, bytes signature);
    /// @notice The word in the tree that is final now, and its path.
    event FinalShown(bytes32 indexed question, bytes32 word, bytes32[] path);

    /// @notice A question is answered, and `paid` owed to the answerer.
    event Answered(bytes32 indexed question, address indexed answerer, uint256 paid);
    /// @notice A question ended without an answer; its fee is owed back. `late`: by its deadline, which convicts the
    /// lane.
    event Closed(bytes32 indexed question, bool late);
    /// @notice `amount` more is `who`'s to collect, or was collected.
    event OwedWei(address indexed who, uint256 amount);
    event CollectedWei(address indexed who, uint256 amount);

    // ------------------------------------------------------------------ errors

    error FloorOutOfRange(uint256 floor, uint256 dataFee);
    error PlaceUnknown(uint256 position, uint256 width);
    error TreeUnfit(Tree tree);
    error PreviousHeaderWrong(bytes24 given, bytes24 expected);
    error NotGrown(uint64 before, uint64 cumulative);
    error MandateNotNeeded(uint256 covered, uint64 cumulative);
    error LaneStopped(address lane);
    error FeeTooSmall(uint256 sent, uint256 fee);
    error QuestionOpen(bytes32 question, uint40 deadline);
    error QuestionUnknown(bytes32 question);
    error DeadlinePassed(uint40 deadline);
    error TooEarly(uint256 time, uint256 from);
    error WordCountWrong(uint256 words, uint256 expected);
    error TermsWrong();
    error ProofInvalid();
    error SignatureInvalid(address account);
    error MandateTooSmall(uint256 mandate, uint64 cumulative);
    error NothingOwed(address who);
    error PaymentRefused(address who);

    // ------------------------------------------------------------------ asking

    /// @notice Asks for the words below the node at `position` of the level `depth` (the root's is 0): those of eight
    /// levels further down, or of the leaves if they are nearer. Who knows an index asks once, eight levels above the
    /// leaves; who searches asks from the root on.
    function askWords(address lane, uint64 id, Header calldata header, Tree tree, uint8 depth, uint64 position)
        external
        payable;

    /// @notice Asks for the receipt at a place of a batch, below its number of calls.
    function askReceipt(address lane, uint64 id, Header calldata header, uint64 place) external payable;

    /// @notice Asks what lets the lane debit an account as much as it does, by showing that the debit grew over the
    /// batch before. Refused when what the account paid in by x402, or was debited before it last left, covers it.
    /// @param previous The header before; ignored for a first batch.
    /// @param before The word at the debit's index in the tree before: zero, by any path, if that tree had no such
    /// index.
    function askMandate(
        address lane,
        uint64 id,
        Header calldata header,
        Debit calldata debit,
        bytes32[] calldata path,
        Header calldata previous,
        bytes32 before,
        bytes32[] calldata beforePath
    ) external payable;

    /// @notice Asks for the word at `index` of the final payout or debit tree. In a stopped lane until two answer times
    /// before its bond may leave, so that it cannot leave between question and deadline, and no question holds it.
    function askFinal(address lane, Tree tree, uint32 index) external payable;

    // ------------------------------------------------------------------ answering

    // Anybody may answer. False when no such question is open: it was answered already, or its batch fell.

    /// @notice Shows words and the path from their common node, `depth` words long.
    function answerWords(
        address lane,
        uint64 id,
        Header calldata header,
        Tree tree,
        uint8 depth,
        uint64 position,
        bytes32[] calldata words,
        bytes32[] calldata path
    ) external returns (bool);

    /// @notice Shows a receipt: its record, the bytes of its terms, and its path. For the zero word: no record, no
    /// terms.
    function answerReceipt(
        address lane,
        uint64 id,
        Header calldata header,
        uint64 place,
        bytes calldata record,
        bytes calldata terms,
        bytes32[] calldata path
    ) external returns (bool);

    /// @notice Shows a voucher `Voucher(address lane,address account,uint64 cumMax)`, in Settlement's domain, by the
    /// account or by a key that spoke for it when the batch was closed. The debit is covered up to the larger of
    /// `cumMax` and the account's debit when it last left, plus what it paid in by x402 since. An empty signature with
    /// `cumMax` 0 says that these suffice. A contract's word (ERC-1271) is none, since it can be unsaid.
    function answerMandate(
        address lane,
        uint64 id,
        Header calldata header,
        Debit calldata debit,
        uint64 cumMax,
        bytes calldata signature
    ) external returns (bool);

    /// @notice Shows the word at `index` in the tree that is final now, and its path.
    function answerFinal(address lane, Tree tree, uint32 index, bytes32 word, bytes32[] calldata path)
        external
        returns (bool);

    /// @notice Makes many calls of this contract at once, for the caller. One that fails is passed over, so that no
    /// question keeps another from its answer. Takes no wei.
    function multicall(bytes[] calldata calls) external returns (bool[] memory succeeded);

    // ------------------------------------------------------------------ without an answer

    /// @notice Ends a question that was not answered; anybody may. Its fee is owed back to the asker. If it is past its
    /// deadline and its batch still pending, the lane falls, and the asker is the accuser. If its batch fell, or the
    /// lane since a final tree was asked, it only closes.
    /// @param id 0, with `hash` 0, for a question about a final tree.
    /// @param subject What is asked: `subjectOf...`.
    function close(address lane, uint64 id, bytes24 hash, bytes32 subject) external;

    /// @notice Pays what is owed to `who`.
    function collectWei(address who) external returns (uint256 amount);

    // ------------------------------------------------------------------ views

    /// @notice An open question; no asker if there is none.
    function questions(bytes32 question) external view returns (Question memory);
    /// @notice The question's name: keccak256(abi.encode(lane, id, hash, subject)).
    function questionOf(address lane, uint64 id, bytes24 hash, bytes32 subject) external pure returns (bytes32);
    /// @notice keccak256(abi.encode(Kind.words, tree, depth, position)).
    function subjectOfWords(Tree tree, uint8 depth, uint64 position) external pure returns (bytes32);
    /// @notice keccak256(abi.encode(Kind.receipt, place)).
    function subjectOfReceipt(uint64 place) external pure returns (bytes32);
    /// @notice keccak256(abi.encode(Kind.mandate, debit)).
    function subjectOfMandate(Debit calldata debit) external pure returns (bytes32);
    /// @notice keccak256(abi.encode(Kind.finalWord, tree, index)).
    function subjectOfFinal(Tree tree, uint32 index) external pure returns (bytes32);
    /// @notice Gas of the dearest answer of a kind, its transaction's calldata included.
    function gasOf(Kind kind) external pure returns (uint256);
    /// @notice What a question of a kind costs at a base fee, in wei: whole gwei. A node's `eth_call` may show a base
    /// fee of 0, so callers name the one of the newest block, with room for it to rise.
    function feeAt(Kind kind, uint256 baseFee) external view returns (uint256);
    /// @notice The least fee of a question.
    function floor() external view returns (uint256);
    /// @notice What an answer costs besides gas: an L2's data fee. 0 on L1.
    function dataFee() external view returns (uint256);
    /// @notice Wei owed to an account.
    function owedWei(address who) external view returns (uint256);
}
