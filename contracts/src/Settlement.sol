// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {IAuthorizations} from "./interfaces/IAuthorizations.sol";
import {IBidBook} from "./interfaces/IBidBook.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {IRefereeMaker} from "./interfaces/IRefereeMaker.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Eip712} from "./Eip712.sol";
import {Inboxes} from "./Inboxes.sol";
import {Signatures} from "./Signatures.sol";
import {StakeVault} from "./StakeVault.sol";
import {SumTree} from "./SumTree.sol";

/// @title Settlement
/// @notice See ISettlement, the manual.
/// @dev Effects come before interactions in every function, so a token that calls back finds the books already closed; no
/// guard, and no opcode newer than Shanghai, is needed. Storage is packed so that a commit writes two slots (head, ring)
/// and a commit that finalizes two more (the roots).
contract Settlement is ISettlement, Eip712, Nonces {
    using SafeERC20 for IERC20;
    using SumTree for bytes32;

    /// @notice Headers remembered per lane.
    uint64 public constant RING = 256;
    /// @notice Batches that may wait for finality at once: the ring always holds them and their predecessor.
    uint64 public constant MAX_PENDING = 128;
    /// @notice Without a final batch for this long, consumers leave by the escape exit and operators with their bond.
    uint32 public constant ESCAPE_DELAY = 7 days;
    uint32 public constant MAX_WINDOW = 30 days;

    uint64 private constant NONE = type(uint64).max;
    uint256 private constant MAX_INDEX = type(uint32).max;
    uint8 private constant ACTIVE = 1;
    uint8 private constant REVOKED = 2;

    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(address lane,address account,uint64 cumMax)");
    bytes32 private constant SESSION_KEY_TYPEHASH =
        keccak256("SetSessionKey(address account,address key,bool active,uint256 nonce,uint256 deadline)");
    bytes32 private constant REQUEST_TYPEHASH =
        keccak256("RequestWithdraw(address lane,address account,uint256 nonce,uint256 deadline)");

    /// @dev What commits, finalizations and deposits touch, in one slot.
    struct LaneBooks {
        address operator;
        uint64 net;
        bool active;
        uint24 window;
    }

    /// @dev What only bonding and disputes touch, in one slot.
    struct LaneBond {
        uint64 bond;
        uint64 insurance;
        uint32 answerTime;
        uint40 closedAt;
    }

    /// @dev A batch by its header's hash, the end of its window, and its open challenges, in one slot. The end and not the
    /// beginning is kept, so that a proof reads one slot less.
    struct Batch {
        bytes24 hash;
        uint40 until;
        uint24 open;
    }

    /// @dev Who asked and when, in one slot. The deadline follows from the lane's answer time, which only answers need.
    struct Question {
        address challenger;
        uint40 askedAt;
    }

    IERC20 private immutable _token;
    IReferee private immutable _referee;
    StakeVault private immutable _stakeVault;
    Inboxes private immutable _inboxes;
    /// @inheritdoc ISettlement
    uint256 public immutable challengeFee;
    /// @inheritdoc ISettlement
    uint64 public immutable minBond;
    /// @inheritdoc ISettlement
    uint32 public immutable exitNotice;

    /// @inheritdoc ISettlement
    uint32 public laneCount;

    mapping(uint32 lane => LaneBooks) private _books;
    mapping(uint32 lane => LaneBond) private _bonds;
    mapping(uint32 lane => Head) private _heads;
    mapping(uint32 lane => mapping(uint64 slot => Batch)) private _ring;
    mapping(uint32 lane => bytes32) private _payoutRoots;
    mapping(uint32 lane => bytes32) private _debitRoots;
    /// @dev Four cumulative amounts to a slot: neighbours in a range claim share it.
    mapping(uint64 laneAndWord => uint256) private _claimed;
    mapping(uint32 lane => mapping(address account => Account)) private _accounts;
    mapping(address account => mapping(address key => uint8)) private _sessionKeys;
    mapping(bytes32 question => Question) private _questions;

    constructor(
        IERC20 token_,
        IRefereeMaker maker,
        IRegistry registry,
        IBidBook bidBook,
        address treasury,
        uint256 challengeFee_,
        uint64 minBond_,
        uint32 exitNotice_
    ) Eip712("Tollway", "1") {
        if (IERC20Metadata(address(token_)).decimals() > 9) revert TokenUnfit(address(token_));
        _token = token_;
        challengeFee = challengeFee_;
        minBond = minBond_;
        exitNotice = exitNotice_;
        _referee = IReferee(maker.make(registry, bidBook, treasury));
        _stakeVault = new StakeVault(token_, ESCAPE_DELAY);
        _inboxes = new Inboxes(token_);
    }

    // ------------------------------------------------------------------ an operator's life

    /// @inheritdoc ISettlement
    function openLane(uint32 window, uint32 answerTime, uint256 bond) external returns (uint32 lane) {
        if (window > MAX_WINDOW || answerTime > MAX_WINDOW || answerTime == 0) {
            revert TimesOutOfRange(window, answerTime);
        }
        if (bond < minBond || bond > type(uint64).max) revert BondTooSmall(uint64(bond), minBond);
        lane = ++laneCount;
        // both checked just above: MAX_WINDOW fits 24 bits
        _books[lane] = LaneBooks(msg.sender, 0, true, uint24(window));
        _bonds[lane] = LaneBond(uint64(bond), 0, answerTime, 0);
        _heads[lane].next = 1;
        emit LaneOpened(lane, msg.sender, window, answerTime, uint64(bond));
        _pull(msg.sender, bond);
    }

    /// @inheritdoc ISettlement
    function addBond(uint32 lane, uint64 amount) external {
        _operatorOf(lane);
        _setBond(lane, _bonds[lane].bond + amount);
        _pull(msg.sender, amount);
    }

    /// @inheritdoc ISettlement
    function setActive(uint32 lane, bool active) external {
        _onlyOperator(lane);
        uint64 bond = _bonds[lane].bond;
        if (active && bond < minBond) revert BondTooSmall(bond, minBond);
        _setActive(lane, active);
    }

    /// @inheritdoc ISettlement
    function unbond(uint32 lane) external {
        address operator = _onlyOperator(lane);
        if (_books[lane].active) revert LaneBusy(lane);
        Head memory h = _heads[lane];
        if (h.finalized + 1 != h.next) revert BatchesPending(lane);
        uint256 from = uint256(_bonds[lane].closedAt) + ESCAPE_DELAY;
        if (block.timestamp < from) revert TooEarly(block.timestamp, from);
        uint64 bond = _bonds[lane].bond;
        _setBond(lane, 0);
        _token.safeTransfer(operator, bond);
    }

    // ------------------------------------------------------------------ keys

    /// @inheritdoc ISettlement
    function setSessionKey(address key, bool active) external {
        _setSessionKey(msg.sender, key, active);
    }

    /// @inheritdoc ISettlement
    function setSessionKeyFor(address account, address key, bool active, uint256 deadline, bytes calldata signature)
        external
    {
        bytes32 structHash =
            keccak256(abi.encode(SESSION_KEY_TYPEHASH, account, key, active, _useNonce(account), deadline));
        _relayed(account, structHash, deadline, signature);
        _setSessionKey(account, key, active);
    }

    // ------------------------------------------------------------------ deposits

    /// @inheritdoc ISettlement
    function deposit(uint32 lane, address account, uint64 amount) external {
        _credit(lane, account, amount);
        _pull(msg.sender, amount);
    }

    /// @inheritdoc ISettlement
    function depositWithPermit(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _credit(lane, account, amount);
        // Whoever front-runs the permit only spends it; the allowance is there and the pull below decides.
        try IERC20Permit(address(_token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _pull(msg.sender, amount);
    }

    /// @inheritdoc ISettlement
    function depositWithAuthorization(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external {
        _credit(lane, account, amount);
        uint256 held = _token.balanceOf(address(this));
        IAuthorizations(address(_token)).receiveWithAuthorization(
            account, address(this), amount, validAfter, validBefore, keccak256(abi.encode(lane, account, salt)), signature
        );
        _checkReceived(held, amount);
    }

    /// @inheritdoc ISettlement
    function depositFromInbox(
        uint32 lane,
        address account,
        uint64 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        _credit(lane, account, amount);
        uint256 held = _token.balanceOf(address(this));
        bool byOperator = msg.sender == _books[lane].operator;
        _inboxes.collect(lane, account, amount, validAfter, validBefore, nonce, signature, byOperator);
        _checkReceived(held, amount);
    }

    // ------------------------------------------------------------------ batches

    /// @inheritdoc ISettlement
    function commit(uint32 lane, Header calldata header, uint64 finalizeId, Header calldata finalizeHeader) external {
        _commit(lane, header, finalizeId, finalizeHeader);
    }

    /// @inheritdoc ISettlement
    function commitWithData(
        uint32 lane,
        Header calldata header,
        uint64 finalizeId,
        Header calldata finalizeHeader,
        bytes calldata data
    ) external {
        bytes32 dataRef = sha256(data);
        if (dataRef != header.dataRef) revert DataMismatch(header.dataRef, dataRef);
        _commit(lane, header, finalizeId, finalizeHeader);
    }

    /// @inheritdoc ISettlement
    function finalize(uint32 lane, uint64 id, Header calldata header) external {
        Head memory h = _heads[lane];
        if (id != uint64(h.finalized) + 1 || id >= h.next) revert OutOfOrder(id, uint64(h.finalized) + 1);
        Batch memory batch = _ring[lane][id % RING];
        if (batch.open != 0) revert ChallengesOpen(id, batch.open);
        if (block.timestamp < batch.until) revert WindowOpen(id, batch.until);
        LaneBooks memory l = _books[lane];
        _finalize(lane, l, h, batch, id, header);
        _heads[lane] = h;
    }

    // ------------------------------------------------------------------ claims

    /// @inheritdoc ISettlement
    function claim(uint32 lane, uint32 index, address payee, uint64 cumulative, bytes32[] calldata proof)
        external
        returns (uint64 paid)
    {
        bytes32 leaf = SumTree.accountLeaf(SumTree.PAYOUT, index, payee, cumulative);
        if (!SumTree.verify(_payoutRoots[lane], leaf, index, proof)) revert ProofInvalid();
        paid = _take(lane, index, cumulative);
        if (paid == 0) return 0;
        emit Claimed(lane, index, payee, paid);
        _token.safeTransfer(payee, paid);
    }

    /// @inheritdoc ISettlement
    function claimRange(uint32 lane, uint32 start, uint256 height, bytes32[] calldata rows, bytes32[] calldata proof)
        external
        returns (uint64 paid)
    {
        if (rows.length == 0 || uint256(start) + rows.length > MAX_INDEX) revert ProofInvalid();
        bytes32[] memory nodes = _rangeLeaves(start, rows);
        if (SumTree.rangeRoot(nodes, start, height, proof) != _payoutRoots[lane]) revert ProofInvalid();
        paid = _payRange(lane, start, rows, nodes);
        emit ClaimedRange(lane, start, nodes);
    }

    // ------------------------------------------------------------------ a consumer's exit

    /// @inheritdoc ISettlement
    function requestWithdraw(uint32 lane) external {
        _requestWithdraw(lane, msg.sender);
    }

    /// @inheritdoc ISettlement
    function requestWithdrawFor(uint32 lane, address account, uint256 deadline, bytes calldata signature) external {
        bytes32 structHash = keccak256(abi.encode(REQUEST_TYPEHASH, lane, account, _useNonce(account), deadline));
        _relayed(account, structHash, deadline, signature);
        _requestWithdraw(lane, account);
    }

    /// @inheritdoc ISettlement
    function withdraw(uint32 lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external {
        Account memory a = _accounts[lane][account];
        if (a.requestedAt == 0) revert NotRequested(lane, account);
        uint40 postedAt = _heads[lane].finalPostedAt;
        if (postedAt <= uint256(a.requestedAt) + exitNotice) revert NoFinalBatchSince(a.requestedAt, postedAt);
        uint64 amount = _leave(lane, account, a, cumulativeDebit, proof);
        emit Withdrawn(lane, account, amount);
        _token.safeTransfer(account, amount);
    }

    /// @inheritdoc ISettlement
    function escapeWithdraw(uint32 lane, address account, uint64 cumulativeDebit, bytes32[] calldata proof) external {
        Account memory a = _accounts[lane][account];
        if (a.requestedAt == 0) revert NotRequested(lane, account);
        Head memory h = _heads[lane];
        if (h.finalized + 1 != h.next) revert BatchesPending(lane);
        // the later of the request and the last sign of life
        uint256 from = uint256(a.requestedAt > h.finalPostedAt ? a.requestedAt : h.finalPostedAt) + ESCAPE_DELAY;
        if (block.timestamp < from) revert TooEarly(block.timestamp, from);
        a.escaped = true;
        uint64 amount = _leave(lane, account, a, cumulativeDebit, proof);
        emit Escaped(lane, account, amount);
        _token.safeTransfer(account, amount);
    }

    // ------------------------------------------------------------------ disputes

    /// @inheritdoc ISettlement
    function challengeDebit(
        uint32 lane,
        uint64 id,
        Header calldata header,
        uint32 index,
        address account,
        uint64 cumulative,
        bytes32[] calldata proof
    ) external payable {
        bytes32 leaf = SumTree.accountLeaf(SumTree.DEBIT, index, account, cumulative);
        _contestNode(lane, id, header, Tree.debits, leaf, index, proof);
        _challenge(lane, id, _debitKey(index, account, cumulative));
        emit DebitChallenged(lane, id, index, account, cumulative);
    }

    /// @inheritdoc ISettlement
    function answerDebit(
        uint32 lane,
        uint64 id,
        uint32 index,
        address account,
        uint64 cumulative,
        uint64 cumMax,
        bytes calldata signature
    ) external {
        if (cumMax < cumulative) revert VoucherTooSmall(cumMax, cumulative);
        bytes32 digest = _digest(keccak256(abi.encode(VOUCHER_TYPEHASH, lane, account, cumMax)));
        address signer = Signatures.signer(digest, signature);
        if ((signer == address(0) || !speaksFor(account, signer)) && !Signatures.byContract(account, digest, signature)) {
            revert SignatureInvalid(account);
        }
        _answer(lane, id, _debitKey(index, account, cumulative));
    }

    /// @inheritdoc ISettlement
    function demandNode(
        uint32 lane,
        uint64 id,
        Header calldata header,
        Tree tree,
        bytes32 node,
        uint256 index,
        bytes32[] calldata proof
    ) external payable {
        if (node == 0) revert ProofInvalid(); // the empty leaf hides nothing
        _contestNode(lane, id, header, tree, node, index, proof);
        _challenge(lane, id, _nodeKey(tree, node, index, proof.length));
        emit NodeDemanded(lane, id, tree, node, index, proof.length);
    }

    /// @inheritdoc ISettlement
    function answerNode(
        uint32 lane,
        uint64 id,
        Tree tree,
        bytes32 node,
        uint256 index,
        uint256 depth,
        bytes32 left,
        bytes32 right
    ) external {
        if (SumTree.parent(left, right) != node) revert ProofInvalid();
        bytes32 key = _nodeKey(tree, node, index, depth);
        emit NodeOpened(key, left, right);
        _answer(lane, id, key);
    }

    /// @inheritdoc ISettlement
    function answerLeaf(
        uint32 lane,
        uint64 id,
        Tree tree,
        bytes32 node,
        uint256 index,
        uint256 depth,
        bytes calldata preimage,
        bytes calldata terms
    ) external {
        if (_referee.leafOf(tree, index, preimage, terms) != node) revert ProofInvalid();
        bytes32 key = _nodeKey(tree, node, index, depth);
        emit LeafOpened(key, preimage, terms);
        _answer(lane, id, key);
    }

    /// @inheritdoc ISettlement
    function timeout(uint32 lane, uint64 id, Header calldata header, bytes32 key) external {
        (address challenger, uint256 deadline) = _close(lane, id, _known(lane, id, header), key);
        if (block.timestamp <= deadline) revert TooEarly(block.timestamp, deadline + 1);
        _void(lane, id, header, challenger);
        _refund(key, challenger);
    }

    /// @inheritdoc ISettlement
    function refund(uint32 lane, uint64 id, bytes24 hash, bytes32 key) external {
        Head memory h = _heads[lane];
        // A batch with an open challenge is never final: if it is not pending any more, it is void.
        if (id > h.finalized && id < h.next && _ring[lane][id % RING].hash == hash) revert BatchesPending(lane);
        (address challenger,) = _close(lane, id, hash, key);
        _refund(key, challenger);
    }

    /// @inheritdoc ISettlement
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
    ) external {
        _contestNode(lane, id, header, tree, node, index, proof);
        bool sameHash = keccak256(abi.encodePacked(left, right)).tag() == node.tag();
        uint256 total = uint256(left.sum()) + right.sum();
        if (!sameHash || total == node.sum()) revert NotProven();
        _void(lane, id, header, msg.sender);
    }

    /// @inheritdoc ISettlement
    function convict(uint32 lane, uint64 id, Header calldata header, address accuser) external {
        if (msg.sender != address(_referee)) revert NotReferee(msg.sender);
        _contest(lane, id, header);
        _void(lane, id, header, accuser);
    }

    /// @inheritdoc ISettlement
    function punish(uint32 lane, address accuser) external {
        if (msg.sender != address(_referee)) revert NotReferee(msg.sender);
        (uint64 bond, uint64 reward) = _slash(lane);
        emit Punished(lane, accuser, bond);
        _stakeVault.slash(_operatorOf(lane), accuser);
        if (reward != 0) _token.safeTransfer(accuser, reward);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISettlement
    function token() external view returns (address) {
        return address(_token);
    }

    /// @inheritdoc ISettlement
    function referee() external view returns (address) {
        return address(_referee);
    }

    /// @inheritdoc ISettlement
    function inboxes() external view returns (address) {
        return address(_inboxes);
    }

    /// @inheritdoc ISettlement
    function stakeVault() external view returns (address) {
        return address(_stakeVault);
    }

    /// @inheritdoc ISettlement
    function lanes(uint32 lane) external view returns (Lane memory) {
        LaneBooks memory l = _books[lane];
        LaneBond memory b = _bonds[lane];
        return Lane(l.operator, l.net, l.active, b.bond, b.insurance, l.window, b.answerTime, b.closedAt);
    }

    /// @inheritdoc ISettlement
    function head(uint32 lane) external view returns (Head memory) {
        return _heads[lane];
    }

    /// @inheritdoc ISettlement
    function accounts(uint32 lane, address account) external view returns (Account memory) {
        return _accounts[lane][account];
    }

    /// @inheritdoc ISettlement
    function claimed(uint32 lane, uint32 index) external view returns (uint64) {
        return uint64(_claimed[_wordOf(lane, index)] >> ((index & 3) << 6));
    }

    /// @inheritdoc ISettlement
    function finalRoots(uint32 lane) external view returns (bytes32 payoutRoot, bytes32 debitRoot) {
        return (_payoutRoots[lane], _debitRoots[lane]);
    }

    /// @inheritdoc ISettlement
    function posted(uint32 lane, uint64 id) external view returns (Posted memory) {
        Batch memory batch = _ring[lane][id % RING];
        uint40 time = batch.hash == 0 ? 0 : batch.until - _books[lane].window;
        return Posted(batch.hash, time, batch.open);
    }

    /// @inheritdoc ISettlement
    function challenge(uint32 lane, uint64 id, bytes24 hash, bytes32 key) external view returns (Challenge memory) {
        (address challenger, uint256 deadline) = _asked(lane, _question(lane, id, hash, key));
        return Challenge(challenger, uint40(deadline)); // fits for 34,000 years
    }

    /// @inheritdoc ISettlement
    function speaksFor(address account, address key) public view returns (bool) {
        return key == account || _sessionKeys[account][key] != 0;
    }

    /// @inheritdoc ISettlement
    function sessionKey(address account, address key) external view returns (bool) {
        return _sessionKeys[account][key] == ACTIVE;
    }

    /// @inheritdoc ISettlement
    function DOMAIN_SEPARATOR() public view override(Eip712, ISettlement) returns (bytes32) {
        return super.DOMAIN_SEPARATOR();
    }

    /// @inheritdoc ISettlement
    function nonces(address account) public view override(Nonces, ISettlement) returns (uint256) {
        return super.nonces(account);
    }

    // ------------------------------------------------------------------ inside: lanes, keys, money in

    function _operatorOf(uint32 lane) private view returns (address operator) {
        operator = _books[lane].operator;
        if (operator == address(0)) revert LaneUnknown(lane);
    }

    function _onlyOperator(uint32 lane) private view returns (address operator) {
        operator = _operatorOf(lane);
        if (msg.sender != operator) revert NotOperator(msg.sender, operator);
    }

    function _setActive(uint32 lane, bool active) private {
        _books[lane].active = active;
        _bonds[lane].closedAt = active ? 0 : uint40(block.timestamp); // fits for 34,000 years
        emit LaneActive(lane, active);
    }

    function _setBond(uint32 lane, uint64 bond) private {
        _bonds[lane].bond = bond;
        emit BondChanged(lane, bond);
    }

    function _setSessionKey(address account, address key, bool active) private {
        if (key == address(0)) revert ZeroAddress();
        // a key that never was active stays unknown when revoked
        if (active || _sessionKeys[account][key] != 0) _sessionKeys[account][key] = active ? ACTIVE : REVOKED;
        emit SessionKeySet(account, key, active);
    }

    function _relayed(address account, bytes32 structHash, uint256 deadline, bytes calldata signature) private view {
        if (block.timestamp > deadline) revert SignatureExpired(deadline, block.timestamp);
        if (!Signatures.valid(account, _digest(structHash), signature)) revert SignatureInvalid(account);
    }

    /// @dev Books a deposit before its money moves; the caller moves it, or everything reverts. Leaves a pending exit alone.
    function _credit(uint32 lane, address account, uint64 amount) private {
        if (account == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        LaneBooks memory l = _books[lane];
        if (!l.active) revert LaneInactive(lane);
        l.net += amount;
        _books[lane] = l;
        Account memory a = _accounts[lane][account];
        if (a.index == 0) a.index = ++_heads[lane].consumers;
        a.deposited += amount;
        _accounts[lane][account] = a;
        emit Deposited(lane, account, a.index, amount);
    }

    function _pull(address from, uint256 amount) private {
        uint256 held = _token.balanceOf(address(this));
        _token.safeTransferFrom(from, address(this), amount);
        _checkReceived(held, amount);
    }

    /// @dev A token that takes a fee, or lies, is not booked in full; it is not booked at all.
    function _checkReceived(uint256 held, uint256 amount) private view {
        uint256 received = _token.balanceOf(address(this)) - held;
        if (received != amount) revert AmountNotReceived(amount, received);
    }

    // ------------------------------------------------------------------ inside: batches

    function _commit(uint32 lane, Header calldata header, uint64 finalizeId, Header calldata finalizeHeader) private {
        LaneBooks memory l = _books[lane];
        if (msg.sender != l.operator) revert NotOperator(msg.sender, l.operator);
        if (!l.active) revert LaneInactive(lane);
        Head memory h = _heads[lane];
        if (finalizeId != NONE) _finalizeIfRipe(lane, l, h, finalizeId, finalizeHeader);
        uint64 id = h.next;
        if (id - h.finalized > MAX_PENDING) revert TooManyPending(MAX_PENDING);

        _checkTotals(lane, header, h.cumulative, l.net);
        if (header.firstCall != h.calls) revert FirstCallWrong(header.firstCall, h.calls);
        if (bytes24(header.prev) != _ring[lane][(id - 1) % RING].hash) revert PreviousHeaderWrong(header.prev);

        h.cumulative = header.payoutRoot.sum();
        h.calls = uint56(header.firstCall) + header.calls; // firstCall came out of a uint56; checked addition
        h.next = uint32(id) + 1;
        _heads[lane] = h;
        bytes32 hash = keccak256(abi.encode(header));
        _ring[lane][id % RING] = Batch(bytes24(hash), uint40(block.timestamp) + l.window, 0); // fits for 34,000 years
        emit Committed(lane, id, hash);
    }

    /// @dev C1 and C2: what is paid out is what is debited is what was before plus what the receipts charge, all of it
    /// counted twice in the lines; and never more than the lane holds, its bond included once consumers have escaped.
    function _checkTotals(uint32 lane, Header calldata header, uint64 cumulative, uint64 net) private view {
        uint64 total = header.payoutRoot.sum();
        uint256 charged = header.receiptsRoot.sum();
        if (total != header.debitRoot.sum() || total != cumulative + charged) {
            revert TotalsDiffer(total, header.debitRoot.sum(), cumulative + charged);
        }
        if (header.linesRoot.sum() != 2 * charged) revert LinesDiffer(header.linesRoot.sum(), 2 * charged);
        if (total > net) {
            uint256 held = uint256(net) + _bonds[lane].bond + _bonds[lane].insurance;
            if (total > held) revert Insolvent(total, held);
        }
    }

    function _finalizeIfRipe(uint32 lane, LaneBooks memory l, Head memory h, uint64 id, Header calldata header) private {
        if (id != uint64(h.finalized) + 1 || id >= h.next) return;
        Batch memory batch = _ring[lane][id % RING];
        if (batch.open != 0 || block.timestamp < batch.until) return;
        _finalize(lane, l, h, batch, id, header);
    }

    /// @dev C4. The caller has checked order, window and challenges, and stores `h`.
    function _finalize(
        uint32 lane,
        LaneBooks memory l,
        Head memory h,
        Batch memory batch,
        uint64 id,
        Header calldata header
    ) private {
        if (batch.hash != bytes24(keccak256(abi.encode(header)))) revert HeaderUnknown(lane, id);
        uint64 total = header.payoutRoot.sum();
        if (total > l.net) l.net = _cover(lane, total, l.net);
        _payoutRoots[lane] = header.payoutRoot;
        _debitRoots[lane] = header.debitRoot;
        h.finalized = uint32(id); // id < next, a uint32
        h.finalPostedAt = batch.until - l.window;
        emit Finalized(lane, id);
    }

    /// @dev Consumers escaped with money the lane still owes: the bond pays, then the insurance. C2 holds again, or nothing
    /// is final.
    function _cover(uint32 lane, uint64 total, uint64 net) private returns (uint64) {
        LaneBond memory b = _bonds[lane];
        uint64 missing = total - net;
        if (missing > uint256(b.bond) + b.insurance) revert Insolvent(total, uint256(net) + b.bond + b.insurance);
        uint64 fromBond = missing < b.bond ? missing : b.bond;
        b.bond -= fromBond;
        b.insurance -= missing - fromBond;
        _bonds[lane] = b;
        _books[lane].net = total;
        emit BondChanged(lane, b.bond);
        return total;
    }

    // ------------------------------------------------------------------ inside: money out

    /// @dev C3: what was claimed at an index only grows. Returns what is new.
    function _take(uint32 lane, uint32 index, uint64 cumulative) private returns (uint64) {
        uint64 place = _wordOf(lane, index);
        (uint256 word, uint64 due) = _taken(_claimed[place], index, cumulative);
        if (due != 0) _claimed[place] = word;
        return due;
    }

    /// @dev The payout leaves of rows at `start` on, as `SumTree.accountLeaf` makes them; zero for a zero row.
    function _rangeLeaves(uint256 start, bytes32[] calldata rows) private pure returns (bytes32[] memory nodes) {
        nodes = new bytes32[](rows.length);
        assembly ("memory-safe") {
            let write := add(nodes, 0x20)
            let end := add(rows.offset, shl(5, rows.length))
            for { let read := rows.offset } lt(read, end) { read := add(read, 0x20) } {
                let row := and(calldataload(read), sub(shl(224, 1), 1))
                if row {
                    // kind(1) index(4) payee(20) cumulative(8): the row's 28 bytes follow the index as they are
                    mstore(0x00, or(or(shl(248, 1), shl(216, start)), shr(8, row)))
                    mstore8(0x20, row)
                    mstore(write, or(and(keccak256(0x00, 0x21), not(0xffffffffffffffff)), and(row, 0xffffffffffffffff)))
                }
                write := add(write, 0x20)
                start := add(start, 1)
            }
        }
    }

    /// @dev Pays the rows, a storage word of four at a time: all four are booked before any of them is paid, so that a token
    /// that calls back finds the books closed. Leaves in `paid` what each row got, as payee(20) amount(8).
    /// Unchecked: indices were proven to fit 32 bits, and what is due is a difference of two amounts in order.
    function _payRange(uint32 lane, uint256 start, bytes32[] calldata rows, bytes32[] memory paid)
        private
        returns (uint64 total)
    {
        unchecked {
            uint256 i;
            while (i < rows.length) {
                uint64 place = _wordOf(lane, uint32(start + i));
                uint256 end = i + 4 - ((start + i) & 3);
                if (end > rows.length) end = rows.length;
                uint256 before = _claimed[place];
                uint256 word = before;
                for (uint256 j = i; j < end; ++j) {
                    uint256 row;
                    assembly ("memory-safe") {
                        row := and(calldataload(add(rows.offset, shl(5, j))), sub(shl(224, 1), 1))
                    }
                    uint256 shift = ((start + j) & 3) << 6;
                    uint256 cumulative = row & type(uint64).max;
                    uint256 had = (word >> shift) & type(uint64).max;
                    if (cumulative > had) {
                        word ^= (cumulative ^ had) << shift;
                        row = row ^ cumulative ^ (cumulative - had);
                    } else {
                        row = 0;
                    }
                    assembly ("memory-safe") {
                        mstore(add(add(paid, 0x20), shl(5, j)), row)
                    }
                }
                if (word != before) _claimed[place] = word;
                for (; i < end; ++i) {
                    uint256 row;
                    assembly ("memory-safe") {
                        row := mload(add(add(paid, 0x20), shl(5, i)))
                    }
                    if (row == 0) continue;
                    uint64 due = uint64(row);
                    if (_sends(address(uint160(row >> 64)), due)) {
                        total += due;
                    } else {
                        // what was claimed before comes back into its place; nothing else in the word is touched
                        uint64 cumulative = rows[i].sum();
                        _claimed[place] ^= uint256(cumulative ^ (cumulative - due)) << (((start + i) & 3) << 6);
                        paid[i] = 0;
                    }
                }
            }
        }
    }

    /// @dev As OpenZeppelin's `trySafeTransfer`: false for a refusal, a false answer, or no contract.
    function _sends(address to, uint256 amount) private returns (bool ok) {
        address coin = address(_token);
        assembly ("memory-safe") {
            let kept := mload(0x40)
            mstore(0x00, shl(224, 0xa9059cbb))
            mstore(0x04, to)
            mstore(0x24, amount)
            ok := call(gas(), coin, 0, 0x00, 0x44, 0x00, 0x20)
            switch returndatasize()
            case 0 { ok := and(ok, iszero(iszero(extcodesize(coin)))) }
            default { ok := and(ok, and(gt(returndatasize(), 0x1f), eq(mload(0x00), 1))) }
            mstore(0x40, kept)
        }
    }

    function _wordOf(uint32 lane, uint32 index) private pure returns (uint64) {
        return (uint64(lane) << 32) | (index >> 2);
    }

    /// @dev A word of claimed amounts after its index claims up to `cumulative`, and what is due for it.
    function _taken(uint256 word, uint32 index, uint64 cumulative) private pure returns (uint256, uint64) {
        uint256 shift = (index & 3) << 6;
        uint64 before = uint64(word >> shift); // the quarter of the word at this index
        if (cumulative <= before) return (word, 0);
        return (word ^ (uint256(cumulative ^ before) << shift), cumulative - before);
    }

    function _requestWithdraw(uint32 lane, address account) private {
        Account storage a = _accounts[lane][account];
        if (a.index == 0) revert NotRequested(lane, account);
        a.requestedAt = uint40(block.timestamp); // fits for 34,000 years
        emit WithdrawRequested(lane, account);
    }

    /// @dev C5. The account leaves with all that is not finally debited; C2: never with what is finally paid out.
    function _leave(uint32 lane, address account, Account memory a, uint64 debit, bytes32[] calldata proof)
        private
        returns (uint64 amount)
    {
        bytes32 root = _debitRoots[lane];
        _checkDebit(root, a.index, account, debit, proof);
        uint64 left = a.deposited - a.withdrawn;
        amount = left > debit ? left - debit : 0; // nothing is left of an account that escaped and was debited since
        a.withdrawn += amount;
        a.requestedAt = 0;
        _accounts[lane][account] = a;
        uint64 net = _books[lane].net - amount;
        if (net < root.sum()) revert Insolvent(root.sum(), net);
        _books[lane].net = net;
    }

    /// @dev An account that was never debited stands at an empty leaf, or beyond the tree's width. Position 0 is always
    /// empty and an inner node never is, so a proof of it tells the tree's height.
    function _checkDebit(bytes32 root, uint32 index, address account, uint64 debit, bytes32[] calldata proof)
        private
        pure
    {
        if (root == 0 && debit == 0) return; // before the first final batch nobody is debited anything
        bytes32 leaf = debit == 0 ? bytes32(0) : SumTree.accountLeaf(SumTree.DEBIT, index, account, debit);
        bool beyond = debit == 0 && uint256(index) >> proof.length != 0;
        _inTree(root, leaf, beyond ? 0 : index, proof);
    }

    // ------------------------------------------------------------------ inside: disputes

    /// @dev The header's hash, if it is the pending batch `id`.
    function _known(uint32 lane, uint64 id, Header calldata header) private view returns (bytes24 hash) {
        Head memory h = _heads[lane];
        hash = bytes24(keccak256(abi.encode(header)));
        if (id <= h.finalized || id >= h.next || _ring[lane][id % RING].hash != hash) revert HeaderUnknown(lane, id);
    }

    /// @dev As `_known`, and the window is open.
    function _contest(uint32 lane, uint64 id, Header calldata header) private view {
        _known(lane, id, header);
        uint40 until = _ring[lane][id % RING].until;
        if (block.timestamp >= until) revert WindowClosed(id, until);
    }

    /// @dev The batch can be challenged, and `node` is where the accuser says.
    function _contestNode(
        uint32 lane,
        uint64 id,
        Header calldata header,
        Tree tree,
        bytes32 node,
        uint256 index,
        bytes32[] calldata proof
    ) private view {
        _contest(lane, id, header);
        _inTree(_root(header, tree), node, index, proof);
    }

    function _inTree(bytes32 root, bytes32 node, uint256 index, bytes32[] calldata proof) private pure {
        if (!SumTree.verify(root, node, index, proof)) revert ProofInvalid();
    }

    function _root(Header calldata header, Tree tree) private pure returns (bytes32) {
        if (tree == Tree.receipts) return header.receiptsRoot;
        if (tree == Tree.payouts) return header.payoutRoot;
        return tree == Tree.debits ? header.debitRoot : header.linesRoot;
    }

    function _question(uint32 lane, uint64 id, bytes24 hash, bytes32 key) private pure returns (bytes32) {
        return keccak256(abi.encode(lane, id, hash, key));
    }

    function _debitKey(uint32 index, address account, uint64 cumulative) private pure returns (bytes32) {
        return keccak256(abi.encode(index, account, cumulative));
    }

    function _nodeKey(Tree tree, bytes32 node, uint256 index, uint256 depth) private pure returns (bytes32) {
        return keccak256(abi.encode(tree, node, index, depth));
    }

    function _challenge(uint32 lane, uint64 id, bytes32 key) private {
        if (msg.value != challengeFee) revert FeeWrong(msg.value, challengeFee);
        Batch memory batch = _ring[lane][id % RING];
        bytes32 question = _question(lane, id, batch.hash, key);
        if (_questions[question].challenger != address(0)) revert ChallengeExists(key);
        _questions[question] = Question(msg.sender, uint40(block.timestamp)); // fits for 34,000 years
        ++batch.open;
        _ring[lane][id % RING] = batch;
    }

    /// @dev Forgets a challenge, answered or not: asked again, it costs the fee again.
    function _close(uint32 lane, uint64 id, bytes24 hash, bytes32 key)
        private
        returns (address challenger, uint256 deadline)
    {
        bytes32 question = _question(lane, id, hash, key);
        (challenger, deadline) = _asked(lane, question);
        if (challenger == address(0)) revert ChallengeUnknown(key);
        delete _questions[question];
    }

    function _asked(uint32 lane, bytes32 question) private view returns (address challenger, uint256 deadline) {
        Question memory q = _questions[question];
        if (q.challenger != address(0)) return (q.challenger, uint256(q.askedAt) + _bonds[lane].answerTime);
    }

    function _answer(uint32 lane, uint64 id, bytes32 key) private {
        Batch memory batch = _ring[lane][id % RING];
        (, uint256 deadline) = _close(lane, id, batch.hash, key);
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        --batch.open;
        _ring[lane][id % RING] = batch;
        emit Answered(lane, id, key);
        _send(msg.sender, challengeFee);
    }

    function _refund(bytes32 key, address challenger) private {
        emit Refunded(key, challenger);
        _send(challenger, challengeFee);
    }

    /// @dev Rolls the lane back to the batch before `id`: what C1 asked of the header gives the total and count before it.
    function _void(uint32 lane, uint64 id, Header calldata header, address accuser) private {
        Head memory h = _heads[lane];
        h.next = uint32(id); // id < next, a uint32
        h.cumulative = header.payoutRoot.sum() - header.receiptsRoot.sum();
        h.calls = uint56(header.firstCall); // was compared with a uint56 at commit
        _heads[lane] = h;
        (uint64 bond, uint64 reward) = _slash(lane);
        emit Voided(lane, id, accuser, bond);
        if (reward != 0) _token.safeTransfer(accuser, reward);
    }

    /// @dev Half is the accuser's, half the lane's insurance: an operator that accuses itself loses half.
    function _slash(uint32 lane) private returns (uint64 bond, uint64 reward) {
        LaneBond memory b = _bonds[lane];
        bond = b.bond;
        reward = bond / 2;
        b.insurance += bond - reward;
        b.bond = 0;
        b.closedAt = uint40(block.timestamp); // fits for 34,000 years
        _bonds[lane] = b;
        _books[lane].active = false;
    }

    function _send(address to, uint256 amount) private {
        if (amount == 0) return;
        (bool taken,) = to.call{value: amount}("");
        if (!taken) revert FeeNotTaken(to);
    }
}
