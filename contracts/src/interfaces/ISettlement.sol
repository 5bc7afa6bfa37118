// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "../Headers.sol";

/// @title Settlement: one transaction per batch, whatever the number of calls, consumers and payees
/// @notice An operator bonds and opens a **lane**. Consumers deposit into it once. Off chain, calls are metered and split;
/// on chain, one `commit` per batch posts the roots of receipts, cumulative payouts, cumulative debits and lines. A batch
/// is final when its window has passed and no question about it is open. Until then anybody can prove it wrong: it is
/// void, with every batch after it, and the operator's bond is taken. Payees claim what is final minus what they claimed.
///
/// A lane's tokens lie at the lane's own address, its vault, and that address names the lane everywhere. Three counters
/// bound every exit: `paid <= final <= net`. So what a liar can take is at most its own lane's money, and at most what is
/// at stake in one window, which its bond covers.
///
/// Amounts are atoms of `token`. Indices and batch ids start at 1; 0 is none. Times are seconds.
interface ISettlement {
    // ------------------------------------------------------------------ values

    /// @notice What an operator chooses when it opens a lane. It never changes.
    struct Terms {
        /// Seconds in which a batch can be challenged, at least; 30 days at most.
        uint24 window;
        /// Seconds an operator has to answer a question; 3 days at most, so that no batch waits longer than 30.
        uint24 answerTime;
        /// What is not yet final may be at most the bond times this.
        uint8 leverage;
        /// The least first deposit of an account.
        uint64 minDeposit;
    }

    /// @notice A lane's life. One slot, read by every commit.
    struct Lane {
        address operator;
        uint24 window;
        uint24 answerTime;
        uint8 leverage;
        /// Counted up by every fall and every escape: a header of another era is refused.
        uint32 era;
        /// False before the bond stands, while paused, and after a fall.
        bool active;
    }

    /// @notice A lane's money. One slot.
    struct Books {
        /// Deposits less withdrawals.
        uint64 net;
        /// Total of the last final payout tree.
        uint64 settled;
        /// Claimed by payees.
        uint64 paid;
        uint64 bond;
    }

    /// @notice Where a lane's batches stand. One slot.
    struct Head {
        /// Total of the last batch's payout tree.
        uint64 total;
        /// Id of the next batch.
        uint32 next;
        /// Id of the last final batch.
        uint32 finalized;
        /// When the last final batch was closed, and the last batch.
        uint40 finalClosedAt;
        uint40 lastClosedAt;
        /// Consumers that ever deposited.
        uint32 consumers;
        /// Levels of the final payout and debit trees.
        uint8 payoutHeight;
        uint8 debitHeight;
    }

    /// @notice What only an operator's life and disputes touch.
    struct Life {
        /// A second key that may commit.
        address poster;
        /// The last fall; 0 if there was none.
        uint40 fellAt;
        /// The first activation after the last fall.
        uint40 activeSince;
        /// The last pause or fall; bonds leave `ESCAPE_DELAY` after it.
        uint40 stoppedAt;
        /// The least first deposit of an account.
        uint64 minDeposit;
    }

    /// @notice A posted batch in the ring. One slot.
    struct Batch {
        /// The header's id.
        bytes24 hash;
        /// End of its window, fixed at commit: nothing extends it.
        uint40 until;
        /// Open questions.
        uint24 open;
    }

    /// @notice A consumer in a lane. Two slots.
    struct Account {
        uint64 deposited;
        uint64 withdrawn;
        uint32 index;
        /// When it asked to leave; 0 if it stays.
        uint40 requestedAt;
        /// When the batch was closed by which it last left, or when it last escaped: what ended before and was not debited
        /// never will be.
        uint40 leftAt;
        /// Its final debit when it last left: what was debited before needs no mandate any more.
        uint64 debitAtExit;
        /// x402 payments booked since: as good as a voucher for as much.
        uint64 paidIn;
    }

    /// @notice What a deployment fixes for all lanes.
    struct Rules {
        uint64 minBond;
        uint8 maxLeverage;
        uint32 minWindow;
        uint32 minAnswerTime;
        /// Seconds between a request to leave and the closing of the batch that settles it, at least.
        uint32 exitNotice;
        /// One measure for lag, inclusion and the rest after a fall: 1 day, but on development chains. At most half of
        /// `ESCAPE_DELAY`: an operator that stops has a `day` to post what is left, and its bond leaves a `day` later at the
        /// earliest, so that whoever holds a receipt in no batch can show it (`proveUnpostedReceipt`).
        uint32 day;
    }

    // ------------------------------------------------------------------ events

    /// @notice A lane exists.
    event LaneOpened(address indexed lane, address indexed operator, Terms terms);
    /// @notice The second key that may commit.
    event PosterSet(address indexed lane, address poster);
    /// @notice The lane's bond changed, by the operator or a fall.
    event BondChanged(address indexed lane, uint64 bond);
    /// @notice The lane was resumed or paused: no commits, no deposits while paused.
    event LaneActive(address indexed lane, bool active);
    /// @notice `amount` more is spendable by `account`, whose place in the debit tree is `index`.
    event Deposited(address indexed lane, address indexed account, uint32 index, uint64 amount);
    /// @notice A batch is posted; its window runs.
    event Committed(address indexed lane, uint64 indexed id, Header header, uint40 until);
    /// @notice A batch is final: its roots are what claims and withdrawals are measured by.
    event Finalized(address indexed lane, uint64 indexed id);
    /// @notice Batches from `from` on are void, the lane is paused and its bond taken: half of it, rounded down, is owed to
    /// the accuser, the rest to the treasury; all of it if there is no accuser.
    event Fell(address indexed lane, uint64 from, uint32 era, address accuser, uint64 bond);
    /// @notice `amount` was paid to `payee` for index `index`.
    event Claimed(address indexed lane, uint32 index, address payee, uint64 amount);
    /// @notice Indices from `start` on were paid: per row `payee(20) << 64 | amount(8)`, zero where nothing was.
    event ClaimedRange(address indexed lane, uint256 start, uint256[] rows);
    /// @notice `account` asked to leave: once a batch is closed after the notice, nothing more may be debited. Or it stays.
    event WithdrawRequested(address indexed lane, address indexed account, bool leaves);
    /// @notice `account` left with `amount`; `escaped` if by the escape exit, which begins a new era.
    event Withdrawn(address indexed lane, address indexed account, uint64 amount, bool escaped);
    /// @notice `amount` is `who`'s to collect, or was collected.
    event Owed(address indexed who, uint256 amount);
    event Collected(address indexed who, uint256 amount);

    // ------------------------------------------------------------------ errors

    error TokenUnfit(address token);
    error RulesOutOfRange();
    error JudgesMissing();
    error TermsOutOfRange(Terms terms);
    error LaneInactive(address lane);
    error LaneActiveStill(address lane);
    error LaneFull(address lane);
    error NotOperator(address caller, address operator);
    error NotConsumers(address caller);
    error NotJudge(address caller);
    error BondTooSmall(uint256 bond, uint256 min);
    error DepositTooSmall(uint64 amount, uint64 min);
    error ZeroAmount();
    error TooEarly(uint256 time, uint256 from);
    error NotReceived(uint256 expected, uint256 received);
    error EraWrong(uint32 given, uint32 era);
    error HeaderUnknown(address lane, uint64 id);
    error PreviousHeaderWrong(bytes24 given, bytes24 expected);
    error HeaderMisshapen();
    error ClosedAtOutOfRange(uint40 closedAt, uint256 from, uint256 to);
    error TotalsDiffer(uint64 payouts, uint64 debits, uint256 expected);
    error LinesDiffer(uint64 lines, uint64 expected);
    error AboveNet(uint256 total, uint64 net);
    error AboveBond(uint256 atStake, uint256 limit);
    error TooManyPending(uint64 pending);
    error OutOfOrder(uint64 id, uint64 expected);
    error WindowOpen(uint64 id, uint256 until);
    error WindowClosed(uint64 id, uint256 since);
    error BatchesPending(address lane);
    error ProofInvalid();
    error NotRequested(address lane, address account);
    error RequestUnchanged(address lane, address account);
    error NoFinalBatchSince(uint256 requestedAt, uint256 finalClosedAt);
    error WithdrawInstead(address lane, address account);
    error PaymentRefused(address to);
    error NothingOwed(address who);

    // ------------------------------------------------------------------ an operator's life

    /// @notice Opens a lane with the caller as operator, and takes its bond. The lane's address follows from caller, salt
    /// and terms, so the same three open one lane only. It takes deposits and batches at once.
    function openLane(bytes32 salt, Terms calldata terms, uint64 bond) external returns (address lane);

    /// @notice Names a second key that may commit; zero for none.
    function setPoster(address lane, address poster) external;

    /// @notice Adds to a lane's bond; anybody may.
    function addBond(address lane, uint64 amount) external;

    /// @notice The operator's pause: false stops commits and deposits, never claims, exits or finalizing. True resumes; it
    /// needs `minBond`, and a `day` since a fall.
    function setActive(address lane, bool active) external;

    /// @notice Takes the bond back: the lane stopped for `ESCAPE_DELAY`, every batch final.
    function unbond(address lane) external;

    // ------------------------------------------------------------------ deposits

    /// @notice Books what Consumers brought to the lane for an account. `paidIn`: by x402, also in a stopped lane. C7: the
    /// lane must hold net - paid afterwards.
    function credit(address lane, address account, uint64 amount, bool paidIn) external;

    // ------------------------------------------------------------------ batches

    /// @notice Posts the lane's next batch and, when batch `finalizeId` is ripe, finalizes it in the same transaction.
    /// @param finalizeId 0 for none. A batch not ripe, or final already, is passed over, so that nobody can make a commit
    /// fail by asking about an older batch.
    function commit(address lane, Header calldata header, uint64 finalizeId, Header calldata finalizeHeader) external;

    /// @notice Makes the lane's oldest batch final when its window has passed. One that cannot become final, because a
    /// question is open or its total is above the deposits, falls instead. Anybody may.
    function finalize(address lane, uint64 id, Header calldata header) external;

    // ------------------------------------------------------------------ claims

    /// @notice Pays a payee what is final and not yet claimed. Money goes to the payee in the leaf, whoever calls; a stale
    /// claim does nothing.
    function claim(address lane, uint32 index, address payee, uint64 cumulative, bytes32[] calldata proof)
        external
        returns (uint64 paid);

    /// @notice Claims for neighbours in the tree at once, at most 256. A payee that the token refuses is passed over and can
    /// claim later.
    /// @param start Index of the first row.
    /// @param rows `payee(20) << 64 | cumulative(8)` per index; zero where nobody stands.
    /// @param proof Boundary siblings, per level left then right.
    function claimRange(address lane, uint32 start, uint256[] calldata rows, bytes32[] calldata proof)
        external
        returns (uint64 paid);

    // ------------------------------------------------------------------ a consumer's exit

    /// @notice An account asks to leave the lane with what it has not spent, or stays after all; Consumers says so for it.
    /// It may change its mind until its notice has passed: afterwards batches left its receipts out because it leaves, and
    /// what was right when they were closed must stay right.
    function request(address lane, address account, bool leaves) external;

    /// @notice Pays an account its deposits minus withdrawals minus final debit. Needs a final batch closed more than
    /// `exitNotice` after the request: it contains all that the lane may still charge.
    /// @param cumulativeDebit The account's leaf in the final debit tree; 0 with a proof of the zero word if it has none, or
    /// with no proof if its index is beyond the tree.
    function withdraw(address lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external;

    /// @notice Leaves a lane whose operator vanished: asked `ESCAPE_DELAY` ago, no batch closed since, none pending. Begins a
    /// new era, so that nothing closed before can be posted.
    function escapeWithdraw(address lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external;

    // ------------------------------------------------------------------ money owed

    /// @notice Pays what is owed to `who`: rewards and taken bonds.
    function collect(address who) external returns (uint256 amount);

    // ------------------------------------------------------------------ for the judges (Questions, Referee, Prices)

    /// @notice A question about a pending batch is open: it cannot become final. Until twice the answer time before the end
    /// of the window.
    function ask(address lane, uint64 id, bytes24 hash) external;

    /// @notice A question was answered. Does nothing for a batch that fell meanwhile.
    function answer(address lane, uint64 id, bytes24 hash) external;

    /// @notice A pending batch is wrong, or a question about it was not answered in time: the lane falls.
    function convict(address lane, uint64 id, bytes24 hash, address accuser) external;

    /// @notice An offence of no single batch: the lane falls, and its operator's stake is taken.
    function punish(address lane, address accuser) external;

    // ------------------------------------------------------------------ views

    /// @notice The settlement token.
    function token() external view returns (address);
    /// @notice Earns the protocol's share, and the part of a fallen bond that no accuser gets.
    function treasury() external view returns (address);
    /// @notice Where consumers deposit, and ask to leave.
    function consumers() external view returns (address);
    /// @notice Session keys of consumers and gateway keys of lanes.
    function keys() external view returns (address);
    /// @notice Vault of providers' and operators' stakes.
    function stakeVault() external view returns (address);
    /// @notice The judges: questions and answers; accounts and receipts; prices and lines.
    function questions() external view returns (address);
    function referee() external view returns (address);
    function prices() external view returns (address);
    /// @notice What this deployment fixes for all lanes.
    function rules() external view returns (Rules memory);
    function lanes(address lane) external view returns (Lane memory);
    function books(address lane) external view returns (Books memory);
    function heads(address lane) external view returns (Head memory);
    function lives(address lane) external view returns (Life memory);
    function accounts(address lane, address account) external view returns (Account memory);
    /// @notice A batch in the ring; meaningful for 256 ids back from the next.
    function batches(address lane, uint64 id) external view returns (Batch memory);
    /// @notice What index `index` has claimed, in all.
    function claimed(address lane, uint32 index) external view returns (uint64);
    /// @notice The final payout and debit roots.
    function finalRoots(address lane) external view returns (bytes32 payoutRoot, bytes32 debitRoot);
    /// @notice Atoms owed to an account.
    function owed(address who) external view returns (uint256);
    /// @notice EIP-712 domain separator: name "Tollway", version "2".
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}
