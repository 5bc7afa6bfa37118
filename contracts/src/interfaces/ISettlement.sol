// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Settlement: one transaction per batch, whatever the number of calls, consumers and payees
/// @notice An operator bonds and opens a **lane**. Consumers deposit into a lane once. Off chain, calls are metered and
/// split; on chain, one `commit` per batch posts three cumulative facts as Merkle-sum roots: what was received, what
/// each payee earned, what each consumer was debited. A batch is final when its window has passed and no challenge is
/// open. Until then anyone can prove it wrong: it is void, with every batch after it, and the operator's bond is
/// slashed. Payees claim what is final minus what they claimed. Nobody, the operator included, can move money otherwise.
///
/// Amounts are atoms of `token`. Indices, lane ids and batch ids start at 1; 0 is none. Times are seconds.
interface ISettlement {
    // ------------------------------------------------------------------ values

    /// @notice What an operator commits to, per batch. Roots are nodes `hash192 << 64 | sum64` (SumTree).
    struct Header {
        /// Hash of the previous header, `keccak256(abi.encode(header))`; zero for batch 1.
        bytes32 prev;
        /// Tree of the batch's receipts in place order, no higher than they need; its sum is what they charge.
        bytes32 receiptsRoot;
        /// Tree of all payees' cumulative earnings, each at its Registry index.
        bytes32 payoutRoot;
        /// Tree of all consumers' cumulative debits, each at its lane index.
        bytes32 debitRoot;
        /// Double entry of this batch: per run of 64 receipts, what each payee earned and each consumer was charged.
        bytes32 linesRoot;
        /// The bids in force in `epoch`, as a tree anybody rebuilds from BidBook's events (`ledger/core/epochs.py`); zero when
        /// there are none, or the operator does not say. A convenience for light readers: no proof takes it. What a line
        /// must be is what BidBook's own history says at the receipt's epoch (`proveBadBid`).
        bytes32 bookRoot;
        /// keccak256 of the journals table: per gateway `address(20) first(8) count(4)`, sorted by gateway.
        bytes32 journals;
        /// sha256 of the public batch file.
        bytes32 dataRef;
        /// Calls in all batches before this one.
        uint64 firstCall;
        /// Calls in this batch.
        uint32 calls;
        /// The epoch the batch was closed in.
        uint64 epoch;
    }

    /// @notice A lane. `net` is deposits minus withdrawals: all that its batches can ever pay out.
    struct Lane {
        address operator;
        uint64 net;
        bool active;
        uint64 bond;
        uint64 insurance;
        uint32 window;
        uint32 answerTime;
        uint40 closedAt;
    }

    /// @notice Where a lane's chain of batches stands. One slot.
    struct Head {
        /// Total of the last batch's payout tree.
        uint64 cumulative;
        /// Id of the next batch.
        uint32 next;
        /// Id of the last final batch.
        uint32 finalized;
        /// When the last final batch was posted.
        uint40 finalPostedAt;
        /// Consumers that ever deposited.
        uint32 consumers;
        /// Calls in all batches.
        uint56 calls;
    }

    /// @notice A posted batch in the ring: the high 192 bits of its header's hash, when, and its open challenges. One slot.
    struct Posted {
        bytes24 hash;
        uint40 time;
        uint24 open;
    }

    /// @notice A consumer in a lane. One slot.
    struct Account {
        uint64 deposited;
        uint64 withdrawn;
        uint32 index;
        /// When it asked to leave; 0 if it stays.
        uint40 requestedAt;
        /// It left by the escape exit once: its debits may lawfully reach `deposited`, the bond makes up the difference.
        bool escaped;
    }

    /// @notice A challenge waiting for an answer until `deadline`; zero once answered. One slot. Its key is
    /// `keccak256(abi.encode(index, account, cumulative))` for a debit, `keccak256(abi.encode(tree, node, index, depth))`
    /// for a node.
    struct Challenge {
        address challenger;
        uint40 deadline;
    }

    /// @notice Which tree of a header a node belongs to.
    enum Tree {
        receipts,
        payouts,
        debits,
        lines
    }

    // ------------------------------------------------------------------ events

    /// @notice A lane exists.
    event LaneOpened(uint32 indexed lane, address indexed operator, uint32 window, uint32 answerTime, uint64 bond);
    /// @notice The lane's bond changed: by the operator, a slash, or a shortfall it covered.
    event BondChanged(uint32 indexed lane, uint64 bond);
    /// @notice The operator paused or resumed the lane: no commits, no deposits while paused.
    event LaneActive(uint32 indexed lane, bool active);
    /// @notice `key` may, or may no longer, sign vouchers (for a consumer) or receipts (for an operator) as `account`.
    event SessionKeySet(address indexed account, address indexed key, bool active);
    /// @notice `amount` more is spendable by `account`, whose place in the debit tree is `index`.
    event Deposited(uint32 indexed lane, address indexed account, uint32 index, uint64 amount);
    /// @notice A batch is posted; its window runs.
    event Committed(uint32 indexed lane, uint64 indexed id, bytes32 headerHash);
    /// @notice A batch is final: its roots are what claims and withdrawals are measured by.
    event Finalized(uint32 indexed lane, uint64 indexed id);
    /// @notice Batch `id` and all after it are void, the lane is paused, and all its bond of `bond` is slashed: half of
    /// it, rounded down, to the accuser, the rest to the lane's insurance.
    event Voided(uint32 indexed lane, uint64 indexed id, address accuser, uint64 bond);
    /// @notice The lane is paused and all its bond of `bond` slashed, as for a void batch, for an offence of no one batch.
    event Punished(uint32 indexed lane, address accuser, uint64 bond);
    /// @notice `amount` was paid to `payee` for index `index`.
    event Claimed(uint32 indexed lane, uint32 index, address payee, uint64 amount);
    /// @notice Indices from `start` on were paid: per row `payee(20) << 64 | amount(8)`, zero where nothing was.
    event ClaimedRange(uint32 indexed lane, uint256 start, bytes32[] rows);
    /// @notice `account` asked to leave; the lane must not serve it from here on.
    event WithdrawRequested(uint32 indexed lane, address indexed account);
    /// @notice `account` left with `amount`.
    event Withdrawn(uint32 indexed lane, address indexed account, uint64 amount);
    /// @notice `account` left by the escape exit with `amount`.
    event Escaped(uint32 indexed lane, address indexed account, uint64 amount);
    /// @notice The operator must show a voucher for this debit within its answer time.
    event DebitChallenged(uint32 indexed lane, uint64 indexed id, uint32 index, address account, uint64 cumulative);
    /// @notice The operator must open this node within its answer time.
    event NodeDemanded(
        uint32 indexed lane, uint64 indexed id, Tree tree, bytes32 node, uint256 index, uint256 depth
    );
    /// @notice A challenge was answered in time.
    event Answered(uint32 indexed lane, uint64 indexed id, bytes32 key);
    /// @notice What a demanded inner node hides.
    event NodeOpened(bytes32 indexed key, bytes32 left, bytes32 right);
    /// @notice What a demanded leaf hides: its preimage; for a receipt also the terms' bytes.
    event LeafOpened(bytes32 indexed key, bytes preimage, bytes terms);
    /// @notice A challenger got its fee back: right, or overtaken by an earlier batch's fall.
    event Refunded(bytes32 indexed key, address indexed challenger);

    // ------------------------------------------------------------------ errors

    error ZeroAddress();
    error ZeroAmount();
    error TokenUnfit(address token);
    error LaneUnknown(uint32 lane);
    error LaneInactive(uint32 lane);
    error LaneBusy(uint32 lane);
    error NotOperator(address caller, address operator);
    error NotReferee(address caller);
    error BondTooSmall(uint64 bond, uint64 min);
    error TimesOutOfRange(uint32 window, uint32 answerTime);
    error TooEarly(uint256 time, uint256 from);
    error SignatureInvalid(address account);
    error SignatureExpired(uint256 deadline, uint256 time);
    error AmountNotReceived(uint256 expected, uint256 received);
    error HeaderUnknown(uint32 lane, uint64 id);
    error PreviousHeaderWrong(bytes32 given);
    error TotalsDiffer(uint64 payouts, uint64 debits, uint256 expected);
    error LinesDiffer(uint64 lines, uint256 expected);
    error FirstCallWrong(uint64 given, uint64 expected);
    error Insolvent(uint64 total, uint256 held);
    error TooManyPending(uint64 pending);
    error DataMismatch(bytes32 dataRef, bytes32 given);
    error OutOfOrder(uint64 id, uint64 expected);
    error WindowOpen(uint64 id, uint256 until);
    error WindowClosed(uint64 id, uint256 since);
    error ChallengesOpen(uint64 id, uint24 open);
    error ProofInvalid();
    error NotRequested(uint32 lane, address account);
    error NoFinalBatchSince(uint256 requestedAt, uint256 finalPostedAt);
    error BatchesPending(uint32 lane);
    error FeeWrong(uint256 given, uint256 fee);
    error FeeNotTaken(address to);
    error ChallengeExists(bytes32 key);
    error ChallengeUnknown(bytes32 key);
    error DeadlinePassed(uint256 deadline);
    error NotProven();
    error VoucherTooSmall(uint64 cumMax, uint64 cumulative);

    // ------------------------------------------------------------------ an operator's life

    /// @notice Opens a lane with the caller as operator; `bond` is taken from it and must be at least `minBond`.
    /// @param window Seconds a batch can be challenged in. @param answerTime Seconds an operator has to answer.
    function openLane(uint32 window, uint32 answerTime, uint256 bond) external returns (uint32 lane);

    /// @notice Adds to a lane's bond; anyone may.
    function addBond(uint32 lane, uint64 amount) external;

    /// @notice The operator's pause: false stops commits and deposits, never claims, withdrawals or finalizing; true
    /// resumes and needs `minBond`.
    function setActive(uint32 lane, bool active) external;

    /// @notice Takes the bond back: the lane paused for `ESCAPE_DELAY`, every batch final.
    function unbond(uint32 lane) external;

    // ------------------------------------------------------------------ keys

    /// @notice Lets `key` sign as the caller, or stops it. A key that was ever active still counts in answers and proofs:
    /// revoking binds those who serve, and cannot turn an honest operator's old vouchers against it.
    function setSessionKey(address key, bool active) external;

    /// @notice The same by the account's signature `SetSessionKey(address account,address key,bool active,uint256 nonce,uint256 deadline)`.
    function setSessionKeyFor(address account, address key, bool active, uint256 deadline, bytes calldata signature)
        external;

    // ------------------------------------------------------------------ deposits

    /// @notice Deposits the caller's tokens (by allowance) for `account`.
    function deposit(uint32 lane, address account, uint64 amount) external;

    /// @notice Deposits with an ERC-2612 permit of the caller. A permit somebody else submitted first does no harm.
    function depositWithPermit(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Deposits by the ERC-3009 receive authorization of `account`, whose nonce is
    /// `keccak256(abi.encode(lane, account, salt))`: whoever relays it, it can only land here.
    function depositWithAuthorization(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice Deposits by a plain ERC-3009 transfer authorization of `account` to the lane's inbox (Inboxes), as x402's `exact`
    /// scheme makes them. Also when somebody else submitted it first, if the token keeps what spent a nonce (AICoin);
    /// for a token that does not, only the lane's operator may then book it.
    function depositFromInbox(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    // ------------------------------------------------------------------ batches

    /// @notice Posts the lane's next batch and, when it is ripe, finalizes batch `finalizeId` in the same transaction.
    /// @param finalizeId Type's maximum for none. A batch not ripe, or final already, is passed over silently, so that
    /// nobody can make a commit fail by challenging an older batch.
    function commit(uint32 lane, Header calldata header, uint64 finalizeId, Header calldata finalizeHeader) external;

    /// @notice As `commit`, with the batch file itself as calldata; its sha256 must be `header.dataRef`.
    function commitWithData(
        uint32 lane,
        Header calldata header,
        uint64 finalizeId,
        Header calldata finalizeHeader,
        bytes calldata data
    ) external;

    /// @notice Makes the lane's oldest pending batch final: window passed, no challenge open, in order. Anyone may.
    function finalize(uint32 lane, uint64 id, Header calldata header) external;

    // ------------------------------------------------------------------ claims

    /// @notice Pays a payee what is final and not yet claimed. Money goes to the payee in the leaf, whoever calls; a stale
    /// claim does nothing.
    function claim(uint32 lane, uint32 index, address payee, uint64 cumulative, bytes32[] calldata proof)
        external
        returns (uint64 paid);

    /// @notice Claims for neighbours in the tree at once. A payee that cannot be paid is passed over and can claim later.
    /// @param start Index of the first row. @param height Levels of the payout tree.
    /// @param rows `payee(20) << 64 | cumulative(8)` per index; zero where nobody stands.
    /// @param proof Boundary siblings, per level left then right.
    function claimRange(uint32 lane, uint32 start, uint256 height, bytes32[] calldata rows, bytes32[] calldata proof)
        external
        returns (uint64 paid);

    // ------------------------------------------------------------------ a consumer's exit

    /// @notice The caller asks to leave the lane with what it has not spent. Serving must stop.
    function requestWithdraw(uint32 lane) external;

    /// @notice The same by the account's signature `RequestWithdraw(address lane,address account,uint256 nonce,uint256 deadline)`.
    function requestWithdrawFor(uint32 lane, address account, uint256 deadline, bytes calldata signature) external;

    /// @notice Pays an account its deposits minus withdrawals minus final debit. Needs a final batch posted more than
    /// `exitNotice` after the request: it contains all that the lane may still charge.
    /// @param cumulativeDebit The account's leaf in the final debit tree; 0 with a proof of the empty leaf if it has none.
    function withdraw(uint32 lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external;

    /// @notice Leaves a lane whose operator vanished: asked `ESCAPE_DELAY` ago, no final batch posted since, none pending.
    /// If the operator returns and still debits what the account spent, the lane's bond and insurance pay it.
    function escapeWithdraw(uint32 lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external;

    // ------------------------------------------------------------------ disputes

    /// @notice Asks for the voucher behind a debit. Costs `challengeFee`, which goes to whoever answers.
    function challengeDebit(
        uint32 lane,
        uint64 id,
        Header calldata header,
        uint32 index,
        address account,
        uint64 cumulative,
        bytes32[] calldata proof
    ) external payable;

    /// @notice Answers with a voucher `Voucher(address lane,address account,uint64 cumMax)` for at least the debit, signed by
    /// the account or a key it ever authorised.
    function answerDebit(
        uint32 lane,
        uint64 id,
        uint32 index,
        address account,
        uint64 cumulative,
        uint64 cumMax,
        bytes calldata signature
    ) external;

    /// @notice Demands the opening of a node of a posted tree. Costs `challengeFee`. The node is shown to be there by
    /// `proof`; the root itself needs none.
    function demandNode(
        uint32 lane,
        uint64 id,
        Header calldata header,
        Tree tree,
        bytes32 node,
        uint256 index,
        bytes32[] calldata proof
    ) external payable;

    /// @notice Opens an inner node.
    function answerNode(
        uint32 lane,
        uint64 id,
        Tree tree,
        bytes32 node,
        uint256 index,
        uint256 depth,
        bytes32 left,
        bytes32 right
    ) external;

    /// @notice Opens a leaf. `preimage`: 33 bytes of a payout or debit leaf, 17 of a line, both as hashed, 672 of a
    /// receipt (its fields as ABI words) together with the bytes of its terms.
    function answerLeaf(
        uint32 lane,
        uint64 id,
        Tree tree,
        bytes32 node,
        uint256 index,
        uint256 depth,
        bytes calldata preimage,
        bytes calldata terms
    ) external;

    /// @notice Convicts a batch whose operator left a challenge unanswered. The reward is the challenger's.
    function timeout(uint32 lane, uint64 id, Header calldata header, bytes32 key) external;

    /// @notice Gives a challenger its fee back when the challenged batch fell for another reason.
    function refund(uint32 lane, uint64 id, bytes24 hash, bytes32 key) external;

    /// @notice Convicts a batch with an inner node whose sum is not the sum of its children.
    function proveBadSum(
        uint32 lane,
        uint64 id,
        Header calldata header,
        Tree tree,
        bytes32 node,
        bytes32 left,
        bytes32 right,
        uint256 index,
        bytes32[] calldata proof
    ) external;

    /// @notice Convicts a batch on the Referee's word, which it gives only for a proof.
    function convict(uint32 lane, uint64 id, Header calldata header, address accuser) external;

    /// @notice Slashes a lane's bond and its operator's stake on the Referee's word, for an offence of no single batch.
    function punish(uint32 lane, address accuser) external;

    // ------------------------------------------------------------------ views

    /// @notice The settlement token.
    function token() external view returns (address);
    /// @notice Judge of one-shot proofs.
    function referee() external view returns (address);
    /// @notice Where plain x402 payments arrive.
    function inboxes() external view returns (address);
    /// @notice Vault of providers' and operators' stakes.
    function stakeVault() external view returns (address);
    /// @notice Fee of a challenge, in wei.
    function challengeFee() external view returns (uint256);
    /// @notice Smallest bond of an active lane.
    function minBond() external view returns (uint64);
    /// @notice Seconds between a request and the posting of the batch that settles it, at least.
    function exitNotice() external view returns (uint32);
    /// @notice Number of lanes.
    function laneCount() external view returns (uint32);
    /// @notice A lane.
    function lanes(uint32 lane) external view returns (Lane memory);
    /// @notice Where a lane's batches stand.
    function head(uint32 lane) external view returns (Head memory);
    /// @notice A consumer in a lane.
    function accounts(uint32 lane, address account) external view returns (Account memory);
    /// @notice What index `index` has claimed, in all.
    function claimed(uint32 lane, uint32 index) external view returns (uint64);
    /// @notice The final payout and debit roots.
    function finalRoots(uint32 lane) external view returns (bytes32 payoutRoot, bytes32 debitRoot);
    /// @notice A batch in the ring; meaningful for `RING` ids back from the next.
    function posted(uint32 lane, uint64 id) external view returns (Posted memory);
    /// @notice A challenge of a batch.
    function challenge(uint32 lane, uint64 id, bytes24 hash, bytes32 key) external view returns (Challenge memory);
    /// @notice True when `key` is `account` itself or was ever its session key.
    function speaksFor(address account, address key) external view returns (bool);
    /// @notice True while `key` is `account`'s session key.
    function sessionKey(address account, address key) external view returns (bool);
    /// @notice EIP-712 domain separator: name "Tollway", version "1".
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    /// @notice Next nonce of an account's relayed requests.
    function nonces(address account) external view returns (uint256);
}
