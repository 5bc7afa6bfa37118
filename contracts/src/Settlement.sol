// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IMaker} from "./interfaces/IMaker.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Consumers} from "./Consumers.sol";
import {Eip712} from "./Eip712.sol";
import {Header, Headers} from "./Headers.sol";
import {Keys} from "./Keys.sol";
import {LaneVault} from "./LaneVault.sol";
import {StakeVault} from "./StakeVault.sol";
import {SumTree} from "./SumTree.sol";

/// @title Settlement
/// @notice See ISettlement, the manual.
/// @dev Effects come before interactions in every function, so a token that calls back finds the books already closed; no
/// guard, and no opcode newer than Shanghai, is needed. A commit reads four slots (lane, books, head, ring) and writes two
/// (head, ring); one that finalizes writes three more (books, the roots).
contract Settlement is ISettlement, Eip712 {
    using Headers for Header;
    using SafeERC20 for IERC20;
    using SumTree for bytes32;

    /// @dev Headers remembered per lane.
    uint64 private constant RING = 256;
    /// @dev Batches that may wait for finality at once: the ring always holds them and their predecessor.
    uint64 private constant MAX_PENDING = 128;
    /// @notice Without a batch for this long, consumers leave by the escape exit and operators with their bond.
    uint32 public constant ESCAPE_DELAY = 7 days;
    uint32 private constant MAX_WINDOW = 30 days;
    /// @dev An operator that stops has a `day` to post; then as long is left to show a receipt in no batch before the bond leaves.
    uint32 private constant MAX_DAY = ESCAPE_DELAY / 2;
    /// @dev The tallest trees take seven rounds of questions and three answer times more: no batch waits longer than `MAX_WINDOW`.
    uint32 private constant MAX_ANSWER_TIME = MAX_WINDOW / 10;
    uint32 private constant MAX_CONSUMERS = type(uint32).max >> 1;
    uint256 private constant MAX_ROWS = 256;

    IERC20 private immutable _token;
    Consumers private immutable _consumers;
    Keys private immutable _keys;
    StakeVault private immutable _stakeVault;
    address public immutable treasury;
    address public immutable questions;
    address public immutable referee;
    address public immutable prices;
    uint64 private immutable _minBond;
    uint8 private immutable _maxLeverage;
    uint32 private immutable _minWindow;
    uint32 private immutable _minAnswerTime;
    uint32 private immutable _exitNotice;
    uint32 private immutable _day;

    mapping(address lane => Lane) private _lanes;
    mapping(address lane => Books) private _books;
    mapping(address lane => Head) private _heads;
    mapping(address lane => Life) private _lives;
    mapping(address lane => mapping(uint64 slot => Batch)) private _ring;
    mapping(address lane => bytes32) private _payoutRoots;
    mapping(address lane => bytes32) private _debitRoots;
    /// @dev Four cumulative amounts to a slot: neighbours in a range claim share it.
    mapping(address lane => mapping(uint32 word => uint256)) private _claimed;
    mapping(address lane => mapping(address account => Account)) private _accounts;
    /// @inheritdoc ISettlement
    mapping(address who => uint256) public owed;

    /// @param makers Of Questions, Referee and PriceJudge, which they have made for this address.
    /// @param arguments What each of them takes besides this contract.
    constructor(
        IERC20 token_,
        address treasury_,
        Rules memory rules_,
        IMaker[3] memory makers,
        bytes[3] memory arguments
    ) Eip712("Tollway", "2") {
        if (IERC20Metadata(address(token_)).decimals() > 9) revert TokenUnfit(address(token_));
        bool bounded = rules_.minBond != 0 && rules_.maxLeverage != 0 && rules_.day != 0 && rules_.day <= MAX_DAY
            && rules_.minWindow != 0 && rules_.minWindow <= MAX_WINDOW && rules_.minAnswerTime != 0
            && rules_.minAnswerTime <= MAX_ANSWER_TIME && rules_.exitNotice <= rules_.day && treasury_ != address(0);
        if (!bounded) revert RulesOutOfRange();
        _token = token_;
        treasury = treasury_;
        _minBond = rules_.minBond;
        _maxLeverage = rules_.maxLeverage;
        _minWindow = rules_.minWindow;
        _minAnswerTime = rules_.minAnswerTime;
        _exitNotice = rules_.exitNotice;
        _day = rules_.day;
        _consumers = new Consumers(this, token_);
        _keys = new Keys(this, rules_.day);
        // no lane that keeps its consumers posts later than the one, none is final later than the other
        _stakeVault = new StakeVault(token_, address(this), treasury_, ESCAPE_DELAY + MAX_WINDOW);
        questions = makers[0].judgeOf(address(this), arguments[0]);
        referee = makers[1].judgeOf(address(this), arguments[1]);
        prices = makers[2].judgeOf(address(this), arguments[2]);
        if (questions == address(0) || referee == address(0) || prices == address(0)) revert JudgesMissing();
    }

    // ------------------------------------------------------------------ an operator's life

    /// @inheritdoc ISettlement
    function openLane(bytes32 salt, Terms calldata terms, uint64 bond) external returns (address lane) {
        bool bounded = terms.window >= _minWindow && terms.window <= MAX_WINDOW && terms.answerTime >= _minAnswerTime
            && terms.answerTime <= MAX_ANSWER_TIME && terms.leverage != 0 && terms.leverage <= _maxLeverage;
        if (!bounded) revert TermsOutOfRange(terms);
        if (bond < _minBond) revert BondTooSmall(bond, _minBond);
        bytes32 vaultSalt = keccak256(abi.encode(msg.sender, salt, terms));
        lane = address(new LaneVault{salt: vaultSalt}(_token, address(_consumers)));
        _lanes[lane] = Lane(msg.sender, terms.window, terms.answerTime, terms.leverage, 1, true);
        _books[lane].bond = bond;
        _heads[lane].next = 1;
        _lives[lane].minDeposit = terms.minDeposit;
        _lives[lane].activeSince = uint40(block.timestamp); // fits for 34,000 years, here and below
        emit LaneOpened(lane, msg.sender, terms);
        emit BondChanged(lane, bond);
        emit LaneActive(lane, true);
        _pull(bond);
    }

    /// @inheritdoc ISettlement
    function setPoster(address lane, address poster) external {
        _onlyOperator(lane);
        _lives[lane].poster = poster;
        emit PosterSet(lane, poster);
    }

    /// @inheritdoc ISettlement
    function addBond(address lane, uint64 amount) external {
        _laneOf(lane);
        uint64 bond = _books[lane].bond + amount;
        _books[lane].bond = bond;
        emit BondChanged(lane, bond);
        _pull(amount);
    }

    /// @inheritdoc ISettlement
    function setActive(address lane, bool active) external {
        _onlyOperator(lane);
        if (_lanes[lane].active == active) return;
        Life memory life = _lives[lane];
        if (active) {
            if (_books[lane].bond < _minBond) revert BondTooSmall(_books[lane].bond, _minBond);
            uint256 from = uint256(life.fellAt) + _day;
            if (life.fellAt != 0 && block.timestamp < from) revert TooEarly(block.timestamp, from);
            if (life.activeSince <= life.fellAt) life.activeSince = uint40(block.timestamp);
        } else {
            life.stoppedAt = uint40(block.timestamp);
        }
        _lives[lane] = life;
        _lanes[lane].active = active;
        emit LaneActive(lane, active);
    }

    /// @inheritdoc ISettlement
    function unbond(address lane) external {
        address operator = _onlyOperator(lane);
        if (_lanes[lane].active) revert LaneActiveStill(lane);
        Head memory h = _heads[lane];
        if (h.finalized + 1 != h.next) revert BatchesPending(lane);
        uint256 from = uint256(_lives[lane].stoppedAt) + ESCAPE_DELAY;
        if (block.timestamp < from) revert TooEarly(block.timestamp, from);
        uint64 bond = _books[lane].bond;
        if (bond == 0) revert ZeroAmount();
        _books[lane].bond = 0;
        emit BondChanged(lane, 0);
        _token.safeTransfer(operator, bond);
    }

    // ------------------------------------------------------------------ deposits

    /// @inheritdoc ISettlement
    function credit(address lane, address account, uint64 amount, bool paidIn) external {
        if (msg.sender != address(_consumers)) revert NotConsumers(msg.sender);
        if (amount == 0) revert ZeroAmount();
        if (!paidIn && !_lanes[lane].active) revert LaneInactive(lane);
        Account storage a = _accounts[lane][account];
        uint32 index = a.index;
        if (index == 0) a.index = index = _enroll(lane, amount);
        a.deposited += amount;
        if (paidIn) a.paidIn += amount;
        Books memory b = _books[lane];
        b.net += amount;
        uint256 held = _token.balanceOf(lane);
        if (held < b.net - b.paid) revert NotReceived(b.net - b.paid, held);
        _books[lane].net = b.net;
        emit Deposited(lane, account, index, amount);
    }

    // ------------------------------------------------------------------ batches

    /// @inheritdoc ISettlement
    function commit(address lane, Header calldata header, uint64 finalizeId, Header calldata finalizeHeader) external {
        Lane memory l = _lanes[lane];
        if (msg.sender != l.operator && msg.sender != _lives[lane].poster) revert NotOperator(msg.sender, l.operator);
        if (!l.active) revert LaneInactive(lane);
        Head memory h = _heads[lane];
        Books memory b = _books[lane];
        if (_isRipe(lane, h, b, finalizeId, finalizeHeader)) _finalize(lane, h, b, finalizeId, finalizeHeader);
        _checkHeader(lane, l, h, header);
        _checkTotals(l, h, b, header);
        uint64 id = h.next;
        if (id - h.finalized > MAX_PENDING) revert TooManyPending(id - h.finalized);
        uint256 asked = (header.rounds() + 3) * l.answerTime;
        uint40 until = uint40(block.timestamp + (asked > l.window ? asked : l.window));
        _ring[lane][id % RING] = Batch(header.id(), until, 0);
        h.total = header.total();
        h.next = uint32(id + 1); // 2^32 batches take longer than the seconds since 1970
        h.lastClosedAt = header.closedAt;
        _heads[lane] = h;
        emit Committed(lane, id, header, until);
    }

    /// @inheritdoc ISettlement
    function finalize(address lane, uint64 id, Header calldata header) external {
        Head memory h = _heads[lane];
        if (id != uint64(h.finalized) + 1 || id >= h.next) revert OutOfOrder(id, uint64(h.finalized) + 1);
        Batch memory batch = _ring[lane][id % RING];
        if (block.timestamp < batch.until) revert WindowOpen(id, batch.until);
        if (batch.hash != header.id()) revert HeaderUnknown(lane, id);
        Books memory b = _books[lane];
        if (batch.open != 0 || header.total() > b.net) return _fall(lane, address(0));
        _finalize(lane, h, b, id, header);
        _heads[lane] = h;
    }

    // ------------------------------------------------------------------ claims

    /// @inheritdoc ISettlement
    function claim(address lane, uint32 index, address payee, uint64 cumulative, bytes32[] calldata proof)
        external
        returns (uint64 paid)
    {
        bytes32 leaf = SumTree.accountLeaf(SumTree.PAYOUT, lane, index, payee, cumulative);
        _checkProof(_payoutRoots[lane], _heads[lane].payoutHeight, leaf, index, proof);
        uint256 word = _claimed[lane][index >> 2];
        uint256 shift = (index & 3) << 6;
        uint64 before = uint64(word >> shift); // the quarter of the word at this index
        if (cumulative <= before) return 0;
        paid = cumulative - before;
        _claimed[lane][index >> 2] = word ^ (uint256(cumulative ^ before) << shift);
        _addPaid(lane, paid);
        emit Claimed(lane, index, payee, paid);
        _pay(lane, payee, paid);
    }

    /// @inheritdoc ISettlement
    function claimRange(address lane, uint32 start, uint256[] calldata rows, bytes32[] calldata proof)
        external
        returns (uint64 paid)
    {
        if (rows.length > MAX_ROWS) revert ProofInvalid();
        bytes32[] memory nodes = _rangeLeaves(lane, start, rows);
        bytes32 root = SumTree.rangeRoot(nodes, start, _heads[lane].payoutHeight, proof);
        // zero says that something is amiss; it is no root, also where nothing is final yet
        if (root == 0 || root != _payoutRoots[lane]) revert ProofInvalid();
        uint256[] memory due;
        (due, paid) = _bookRange(lane, start, rows);
        if (paid == 0) return 0;
        _addPaid(lane, paid);
        uint256 refused = LaneVault(lane).pay(due);
        if (refused != 0) paid -= _unbookRange(lane, start, due, refused);
        emit ClaimedRange(lane, start, due);
    }

    // ------------------------------------------------------------------ a consumer's exit

    /// @inheritdoc ISettlement
    function request(address lane, address account, bool leaves) external {
        if (msg.sender != address(_consumers)) revert NotConsumers(msg.sender);
        Account storage a = _accounts[lane][account];
        uint256 requestedAt = a.requestedAt;
        bool late = !leaves && block.timestamp > requestedAt + _exitNotice;
        if (a.index == 0 || late || leaves == (requestedAt != 0)) revert RequestUnchanged(lane, account);
        a.requestedAt = leaves ? uint40(block.timestamp) : 0;
        emit WithdrawRequested(lane, account, leaves);
    }

    /// @inheritdoc ISettlement
    function withdraw(address lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external {
        Account memory a = _accounts[lane][account];
        if (a.requestedAt == 0) revert NotRequested(lane, account);
        uint40 closedAt = _heads[lane].finalClosedAt;
        if (!_isSettled(a, closedAt)) revert NoFinalBatchSince(a.requestedAt, closedAt);
        a.leftAt = closedAt;
        _leave(lane, account, a, cumulativeDebit, proof, false);
    }

    /// @inheritdoc ISettlement
    function escapeWithdraw(address lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external {
        Account memory a = _accounts[lane][account];
        if (a.requestedAt == 0) revert NotRequested(lane, account);
        Head memory h = _heads[lane];
        if (_isSettled(a, h.finalClosedAt)) revert WithdrawInstead(lane, account);
        if (h.finalized + 1 != h.next) revert BatchesPending(lane);
        // the later of the request and the last sign of life
        uint256 from = uint256(a.requestedAt > h.finalClosedAt ? a.requestedAt : h.finalClosedAt) + ESCAPE_DELAY;
        if (block.timestamp < from) revert TooEarly(block.timestamp, from);
        ++_lanes[lane].era;
        a.leftAt = uint40(block.timestamp);
        _leave(lane, account, a, cumulativeDebit, proof, true);
    }

    // ------------------------------------------------------------------ money owed

    /// @inheritdoc ISettlement
    function collect(address who) external returns (uint256 amount) {
        amount = owed[who];
        if (amount == 0) revert NothingOwed(who);
        owed[who] = 0;
        emit Collected(who, amount);
        _token.safeTransfer(who, amount);
    }

    // ------------------------------------------------------------------ for the judges

    /// @inheritdoc ISettlement
    function ask(address lane, uint64 id, bytes24 hash) external {
        if (msg.sender != questions) revert NotJudge(msg.sender);
        Batch memory batch = _pending(lane, id, hash);
        uint256 last = uint256(batch.until) - 2 * uint256(_lanes[lane].answerTime);
        if (block.timestamp > last) revert WindowClosed(id, last);
        ++batch.open;
        _ring[lane][id % RING] = batch;
    }

    /// @inheritdoc ISettlement
    function answer(address lane, uint64 id, bytes24 hash) external {
        if (msg.sender != questions) revert NotJudge(msg.sender);
        if (_isPending(lane, id, hash)) --_ring[lane][id % RING].open;
    }

    /// @inheritdoc ISettlement
    function convict(address lane, uint64 id, bytes24 hash, address accuser) external {
        _onlyJudge();
        Batch memory batch = _pending(lane, id, hash);
        if (block.timestamp >= batch.until) revert WindowClosed(id, batch.until);
        _fall(lane, accuser);
    }

    /// @inheritdoc ISettlement
    function punish(address lane, address accuser) external {
        _onlyJudge();
        _fall(lane, accuser);
        _stakeVault.slash(_lanes[lane].operator, accuser);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISettlement
    function token() external view returns (address) {
        return address(_token);
    }

    /// @inheritdoc ISettlement
    function consumers() external view returns (address) {
        return address(_consumers);
    }

    /// @inheritdoc ISettlement
    function keys() external view returns (address) {
        return address(_keys);
    }

    /// @inheritdoc ISettlement
    function stakeVault() external view returns (address) {
        return address(_stakeVault);
    }

    /// @inheritdoc ISettlement
    function rules() external view returns (Rules memory) {
        return Rules(_minBond, _maxLeverage, _minWindow, _minAnswerTime, _exitNotice, _day);
    }

    /// @inheritdoc ISettlement
    function lanes(address lane) external view returns (Lane memory) {
        return _lanes[lane];
    }

    /// @inheritdoc ISettlement
    function books(address lane) external view returns (Books memory) {
        return _books[lane];
    }

    /// @inheritdoc ISettlement
    function heads(address lane) external view returns (Head memory) {
        return _heads[lane];
    }

    /// @inheritdoc ISettlement
    function lives(address lane) external view returns (Life memory) {
        return _lives[lane];
    }

    /// @inheritdoc ISettlement
    function accounts(address lane, address account) external view returns (Account memory) {
        return _accounts[lane][account];
    }

    /// @inheritdoc ISettlement
    function batches(address lane, uint64 id) external view returns (Batch memory) {
        return _ring[lane][id % RING];
    }

    /// @inheritdoc ISettlement
    function claimed(address lane, uint32 index) external view returns (uint64) {
        return uint64(_claimed[lane][index >> 2] >> ((index & 3) << 6));
    }

    /// @inheritdoc ISettlement
    function DOMAIN_SEPARATOR() public view override(ISettlement, Eip712) returns (bytes32) {
        return super.DOMAIN_SEPARATOR();
    }

    /// @inheritdoc ISettlement
    function finalRoots(address lane) external view returns (bytes32, bytes32) {
        return (_payoutRoots[lane], _debitRoots[lane]);
    }

    // ------------------------------------------------------------------ inside: lanes

    function _laneOf(address lane) private view returns (Lane memory l) {
        l = _lanes[lane];
        if (l.operator == address(0)) revert LaneInactive(lane);
    }

    function _onlyOperator(address lane) private view returns (address operator) {
        operator = _lanes[lane].operator;
        if (msg.sender != operator) revert NotOperator(msg.sender, operator);
    }

    function _onlyJudge() private view {
        if (msg.sender != questions && msg.sender != referee && msg.sender != prices) revert NotJudge(msg.sender);
    }

    /// @dev A new consumer's index.
    function _enroll(address lane, uint64 amount) private returns (uint32 index) {
        uint64 least = _lives[lane].minDeposit;
        // a stopped lane takes x402 payments alone, of any size: what lies at its address must be able to leave
        if (amount < least && _lanes[lane].active) revert DepositTooSmall(amount, least);
        index = _heads[lane].consumers + 1;
        if (index > MAX_CONSUMERS) revert LaneFull(lane);
        _heads[lane].consumers = index;
    }

    /// @dev Takes a bond from the caller.
    function _pull(uint256 amount) private {
        uint256 held = _token.balanceOf(address(this));
        _token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = _token.balanceOf(address(this)) - held;
        if (received != amount) revert NotReceived(amount, received);
    }

    // ------------------------------------------------------------------ inside: batches

    function _checkHeader(address lane, Lane memory l, Head memory h, Header calldata header) private view {
        if (header.era != l.era) revert EraWrong(header.era, l.era);
        bytes24 prev = h.next == 1 ? bytes24(0) : _ring[lane][(h.next - 1) % RING].hash;
        if (header.prev != prev) revert PreviousHeaderWrong(header.prev, prev);
        if (!header.wellShaped()) revert HeaderMisshapen();
        uint256 from = block.timestamp - _day;
        if (from < h.lastClosedAt) from = h.lastClosedAt;
        if (header.closedAt < from || header.closedAt > block.timestamp) {
            revert ClosedAtOutOfRange(header.closedAt, from, block.timestamp);
        }
    }

    /// @dev C1, C2, C9.
    function _checkTotals(Lane memory l, Head memory h, Books memory b, Header calldata header) private pure {
        uint64 total = header.total();
        uint64 charged = header.charged();
        uint256 expected = uint256(h.total) + charged;
        if (total != expected || header.debitRoot.sum() != expected) {
            revert TotalsDiffer(total, header.debitRoot.sum(), expected);
        }
        if (header.linesRoot.sum() != charged) revert LinesDiffer(header.linesRoot.sum(), charged);
        if (total > b.net) revert AboveNet(total, b.net);
        uint256 limit = uint256(b.bond) * l.leverage;
        if (total - b.settled > limit) revert AboveBond(total - b.settled, limit);
    }

    function _isRipe(address lane, Head memory h, Books memory b, uint64 id, Header calldata header)
        private
        view
        returns (bool)
    {
        if (id != uint64(h.finalized) + 1 || id >= h.next) return false;
        Batch memory batch = _ring[lane][id % RING];
        bool closed = batch.open == 0 && block.timestamp >= batch.until;
        return closed && batch.hash == header.id() && header.total() <= b.net;
    }

    /// @dev C4. The caller has checked order, window, questions, header and total, and stores `h`.
    function _finalize(address lane, Head memory h, Books memory b, uint64 id, Header calldata header) private {
        b.settled = header.total();
        _books[lane].settled = b.settled;
        _payoutRoots[lane] = header.payoutRoot;
        _debitRoots[lane] = header.debitRoot;
        h.finalized = uint32(id); // id < next, a uint32
        h.finalClosedAt = header.closedAt;
        (h.payoutHeight, h.debitHeight) = header.accountHeights();
        emit Finalized(lane, id);
    }

    function _isPending(address lane, uint64 id, bytes24 hash) private view returns (bool) {
        Head memory h = _heads[lane];
        return id > h.finalized && id < h.next && _ring[lane][id % RING].hash == hash;
    }

    function _pending(address lane, uint64 id, bytes24 hash) private view returns (Batch memory) {
        if (!_isPending(lane, id, hash)) revert HeaderUnknown(lane, id);
        return _ring[lane][id % RING];
    }

    /// @dev The one rule for every fall: what is pending is void, the bond is taken, a new era begins.
    function _fall(address lane, address accuser) private {
        Head memory h = _heads[lane];
        Books memory b = _books[lane];
        uint64 from = uint64(h.finalized) + 1;
        uint64 bond = b.bond;
        uint64 reward = accuser == address(0) ? 0 : bond / 2;
        (h.total, h.next, h.lastClosedAt) = (b.settled, uint32(from), h.finalClosedAt); // from <= next, a uint32
        _heads[lane] = h;
        _books[lane].bond = 0;
        uint32 era = _lanes[lane].era + 1;
        (_lanes[lane].era, _lanes[lane].active) = (era, false);
        (_lives[lane].fellAt, _lives[lane].stoppedAt) = (uint40(block.timestamp), uint40(block.timestamp));
        if (reward != 0) _owe(accuser, reward);
        if (bond != reward) _owe(treasury, bond - reward);
        emit Fell(lane, from, era, accuser, bond);
        emit BondChanged(lane, 0);
        emit LaneActive(lane, false);
    }

    function _owe(address who, uint256 amount) private {
        owed[who] += amount;
        emit Owed(who, amount);
    }

    // ------------------------------------------------------------------ inside: money out

    /// @dev C3: what a lane pays is at most what is final.
    function _addPaid(address lane, uint64 amount) private {
        Books memory b = _books[lane];
        b.paid += amount;
        if (b.paid > b.settled) revert AboveNet(b.paid, b.settled);
        _books[lane].paid = b.paid;
    }

    function _pay(address lane, address to, uint64 amount) private {
        uint256[] memory rows = new uint256[](1);
        rows[0] = (uint256(uint160(to)) << 64) | amount;
        if (LaneVault(lane).pay(rows) != 0) revert PaymentRefused(to);
    }

    /// @dev The payout leaves of rows at `start` on; zero for a row of nothing.
    function _rangeLeaves(address lane, uint256 start, uint256[] calldata rows)
        private
        pure
        returns (bytes32[] memory nodes)
    {
        nodes = new bytes32[](rows.length);
        assembly ("memory-safe") {
            // kind(1) lane(20) index(4) payee(20) cumulative(8): 53 bytes in two words
            let kept := mload(0x40)
            let head := or(shl(248, 1), shl(88, lane))
            let write := add(nodes, 0x20)
            let end := add(rows.offset, shl(5, rows.length))
            for { let read := rows.offset } lt(read, end) { read := add(read, 0x20) } {
                let row := and(calldataload(read), sub(shl(224, 1), 1))
                if and(row, 0xffffffffffffffff) {
                    mstore(0x00, or(head, or(shl(56, start), shr(168, row))))
                    mstore(0x20, shl(88, row))
                    mstore(write, or(and(keccak256(0x00, 0x35), not(0xffffffffffffffff)), and(row, 0xffffffffffffffff)))
                }
                write := add(write, 0x20)
                start := add(start, 1)
            }
            mstore(0x40, kept)
        }
    }

    /// @dev Books what the rows claim, a storage word of four at a time. Returns per row `payee(20) << 64 | due(8)`, zero
    /// where nothing is, and the sum.
    /// Unchecked: the root is proven, so indices fit 31 bits and the leaves' sum 64, and what is due is a difference of two
    /// amounts in order.
    function _bookRange(address lane, uint256 start, uint256[] calldata rows)
        private
        returns (uint256[] memory due, uint64 total)
    {
        due = new uint256[](rows.length);
        unchecked {
            uint256 i;
            while (i < rows.length) {
                uint32 place = uint32((start + i) >> 2);
                uint256 end = i + 4 - ((start + i) & 3);
                if (end > rows.length) end = rows.length;
                uint256 before = _claimed[lane][place];
                uint256 word = before;
                for (; i < end; ++i) {
                    uint256 row = rows[i] & (type(uint256).max >> 32);
                    uint256 shift = ((start + i) & 3) << 6;
                    uint256 cumulative = row & type(uint64).max;
                    uint256 had = (word >> shift) & type(uint64).max;
                    if (cumulative > had) {
                        word ^= (cumulative ^ had) << shift;
                        due[i] = row ^ cumulative ^ (cumulative - had);
                        total += uint64(cumulative - had); // both are masked to 64 bits
                    }
                }
                if (word != before) _claimed[lane][place] = word;
            }
        }
    }

    /// @dev Takes back the rows that the token refused: they can be claimed later. Their zeros stand in `due` afterwards.
    function _unbookRange(address lane, uint256 start, uint256[] memory due, uint256 refused)
        private
        returns (uint64 total)
    {
        for (uint256 i; i < due.length; ++i) {
            if ((refused >> i) & 1 == 0) continue;
            uint64 amount = uint64(due[i]); // the low 64 bits are the amount
            uint256 index = start + i;
            _claimed[lane][uint32(index >> 2)] -= uint256(amount) << ((index & 3) << 6);
            due[i] = 0;
            total += amount;
        }
        _books[lane].paid -= total;
    }

    function _isSettled(Account memory a, uint40 closedAt) private view returns (bool) {
        return closedAt > uint256(a.requestedAt) + _exitNotice;
    }

    /// @dev C5. The account leaves with all that is not finally debited; C2: never with what is finally paid out.
    function _leave(
        address lane,
        address account,
        Account memory a,
        uint64 debit,
        bytes32[] calldata proof,
        bool escaped
    ) private {
        _checkDebit(lane, a.index, account, debit, proof);
        uint64 left = a.deposited - a.withdrawn;
        uint64 amount = left > debit ? left - debit : 0;
        a.withdrawn += amount;
        (a.requestedAt, a.debitAtExit, a.paidIn) = (0, debit, 0);
        _accounts[lane][account] = a;
        Books memory b = _books[lane];
        b.net -= amount;
        if (b.settled > b.net) revert AboveNet(b.settled, b.net);
        _books[lane].net = b.net;
        emit Withdrawn(lane, account, amount, escaped);
        if (amount != 0) _pay(lane, account, amount);
    }

    /// @dev An account that was never debited stands at the zero word, or beyond the tree.
    function _checkDebit(address lane, uint32 index, address account, uint64 debit, bytes32[] calldata proof)
        private
        view
    {
        bytes32 root = _debitRoots[lane];
        uint256 height = _heads[lane].debitHeight;
        if (debit == 0 && (root == 0 || uint256(index) >> height != 0)) return;
        _checkProof(root, height, SumTree.accountLeaf(SumTree.DEBIT, lane, index, account, debit), index, proof);
    }

    function _checkProof(bytes32 root, uint256 height, bytes32 leaf, uint256 index, bytes32[] calldata proof)
        private
        pure
    {
        if (proof.length != height || !SumTree.verify(root, leaf, index, proof)) revert ProofInvalid();
    }
}
