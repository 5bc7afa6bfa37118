// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Pricing} from "./Pricing.sol";
import {Receipts} from "./Receipts.sol";
import {Signatures} from "./Signatures.sol";
import {SumTree} from "./SumTree.sol";

/// @title Referee
/// @notice See IReferee, the manual. It holds no money and keeps no state but which double receipts were punished.
contract Referee is IReferee {
    using SumTree for bytes32;

    /// @notice A batch holds every receipt that ended longer than this before it was posted.
    uint256 public constant INCLUSION_TIME = 1 days;
    uint256 public constant RUN = 64;
    uint24 public constant PROTOCOL_PPM = 20_000;

    uint32 private constant CONSUMER = 1 << 31;
    uint256 private constant ROW = 32;
    uint8 private constant COMPUTE = 3;
    uint8 private constant DELIVERY = 4;
    uint8 private constant GATEWAY = 7;
    uint8 private constant PROTOCOL = 8;

    ISettlement public immutable settlement;
    IRegistry public immutable registry;
    IBidBook public immutable bidBook;
    address public immutable treasury;

    mapping(bytes32 offence => bool) private _punished;

    constructor(ISettlement settlement_, IRegistry registry_, IBidBook bidBook_, address treasury_) {
        (settlement, registry, bidBook, treasury) = (settlement_, registry_, bidBook_, treasury_);
    }

    // ------------------------------------------------------------------ accounts

    /// @inheritdoc IReferee
    function proveOverdraft(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint32 index,
        AccountLeaf calldata leaf
    ) external {
        _checkAccount(header, ISettlement.Tree.debits, index, leaf);
        ISettlement.Account memory a = settlement.accounts(lane, leaf.account);
        // one that escaped may lawfully be debited what it took along: the lane's bond pays that
        bool covered = a.index == index && leaf.cumulative <= a.deposited - (a.escaped ? 0 : a.withdrawn);
        _convict(lane, id, header, leaf.cumulative != 0 && !covered);
    }

    /// @inheritdoc IReferee
    function proveRegression(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Header calldata prevHeader,
        ISettlement.Tree tree,
        uint32 index,
        AccountLeaf calldata before,
        AccountLeaf calldata afterwards
    ) external {
        _checkPrevious(header, prevHeader);
        _checkAccount(prevHeader, tree, index, before);
        _checkAccount(header, tree, index, afterwards);
        bool swapped = before.account != address(0) && before.account != afterwards.account;
        _convict(lane, id, header, swapped || before.cumulative > afterwards.cumulative);
    }

    /// @inheritdoc IReferee
    function proveWrongPayee(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint32 index,
        AccountLeaf calldata leaf
    ) external {
        _checkAccount(header, ISettlement.Tree.payouts, index, leaf);
        _convict(lane, id, header, leaf.cumulative != 0 && registry.payeeAt(index) != leaf.account);
    }

    // ------------------------------------------------------------------ receipts and journals

    /// @inheritdoc IReferee
    function proveOmittedReceipt(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        bytes calldata table,
        SignedReceipt calldata signed,
        bytes32 leaf,
        bytes32[] calldata proof
    ) external {
        if (keccak256(table) != header.journals) revert ProofInvalid();
        _checkSigned(lane, signed);
        Receipts.Receipt calldata r = signed.receipt;
        (bool known, uint256 place, uint64 first, uint32 count) = _row(table, r.gateway);
        bool omitted;
        if (known && r.seq >= first && r.seq < uint256(first) + count) {
            // at the depth of leaves: an inner node is no receipt, and would convict anybody
            bool atLeaves = proof.length == _height(header.calls);
            if (!atLeaves || !SumTree.verify(header.receiptsRoot, leaf, place + r.seq - first, proof)) {
                revert ProofInvalid();
            }
            omitted = leaf != Receipts.leaf(r);
        } else if (!known || r.seq >= first) {
            omitted = uint256(r.endedAt) / 1000 + INCLUSION_TIME < settlement.posted(lane, id).time;
        }
        _convict(lane, id, header, omitted);
    }

    /// @inheritdoc IReferee
    function proveMisplacedReceipt(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        bytes calldata table,
        Opening calldata opening
    ) external {
        if (keccak256(table) != header.journals) revert ProofInvalid();
        _checkOpening(header, opening);
        Receipts.Receipt calldata r = opening.receipt;
        (bool known, uint256 place, uint64 first, uint32 count) = _row(table, r.gateway);
        bool right = known && r.seq >= first && r.seq < uint256(first) + count && r.lane == lane
            && opening.place == place + r.seq - first;
        _convict(lane, id, header, !right);
    }

    /// @inheritdoc IReferee
    function proveBrokenJournal(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Header calldata prevHeader,
        bytes calldata prevTable,
        bytes calldata table
    ) external {
        if (keccak256(table) != header.journals) revert ProofInvalid();
        if (header.prev != 0) {
            _checkPrevious(header, prevHeader);
            if (keccak256(prevTable) != prevHeader.journals) revert ProofInvalid();
        }
        _convict(lane, id, header, _broken(table, header.prev == 0 ? table[:0] : prevTable, header.calls));
    }

    /// @inheritdoc IReferee
    function proveDoubleReceipt(uint32 lane, SignedReceipt calldata a, SignedReceipt calldata b) external {
        _checkSigned(lane, a);
        _checkSigned(lane, b);
        bool samePlace = a.receipt.gateway == b.receipt.gateway && a.receipt.seq == b.receipt.seq;
        bool sameCall = a.receipt.callId == b.receipt.callId;
        if (Receipts.hash(a.receipt) == Receipts.hash(b.receipt) || !(samePlace || sameCall)) revert NotProven();
        bytes32 offence = samePlace
            ? keccak256(abi.encode(lane, a.receipt.gateway, a.receipt.seq))
            : keccak256(abi.encode(lane, a.receipt.callId));
        if (_punished[offence]) revert AlreadyPunished(offence);
        _punished[offence] = true;
        settlement.punish(lane, msg.sender);
    }

    // ------------------------------------------------------------------ prices and lines

    /// @inheritdoc IReferee
    function proveBadLine(uint32 lane, uint64 id, ISettlement.Header calldata header, Opening calldata opening)
        external
    {
        _checkOpening(header, opening);
        Pricing.Split memory due = _split(opening.receipt, opening.terms);
        bool right = due.sound && due.price == opening.receipt.price && due.charge == opening.receipt.charge;
        _convict(lane, id, header, !right);
    }

    /// @inheritdoc IReferee
    function proveBadBid(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        Opening calldata opening,
        uint256 line,
        bytes24 history,
        IBidBook.Bid[] calldata bids
    ) external {
        _checkOpening(header, opening);
        if (line >= Pricing.lines(opening.terms)) revert NotProven();
        Pricing.Line memory l = Pricing.line(opening.terms, line);
        IBidBook.Bid memory due;
        if (l.role == PROTOCOL) {
            due.ratioPpm = PROTOCOL_PPM;
            _convict(lane, id, header, l.party != treasury || !_bids(l, due));
            return;
        }
        if (l.role != COMPUTE && l.role != DELIVERY && l.role != GATEWAY) revert NotProven();
        bytes32 subject = l.role == GATEWAY ? bytes32(uint256(lane)) : Pricing.subject(opening.terms);
        uint64 epoch = opening.receipt.epoch;
        bool found;
        if (epoch <= type(uint32).max) {
            (found, due) = bidBook.inForce(subject, l.role, l.party, uint32(epoch), history, bids);
        }
        _convict(lane, id, header, !found || !_bids(l, due));
    }

    /// @inheritdoc IReferee
    function proveBadRun(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint32 run,
        uint32 party,
        address account,
        Receipts.Receipt[] calldata receipts,
        bytes[] calldata terms,
        uint8[] calldata termsOf,
        uint256 height,
        bytes32[] calldata proof,
        Boundary calldata line
    ) external {
        _checkParty(lane, party, account);
        _checkRun(header, run, receipts, height, proof);
        uint256 due;
        for (uint256 i; i < receipts.length; ++i) {
            due += _due(party, account, receipts[i], terms[termsOf[i]]);
        }
        _convict(lane, id, header, due != _lineAt(header.linesRoot, line, party, run));
    }

    /// @inheritdoc IReferee
    function proveUnsortedLines(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        uint256 rank,
        LineLeaf calldata left,
        LineLeaf calldata right
    ) external {
        _checkLine(header.linesRoot, rank, left);
        _checkLine(header.linesRoot, rank + 1, right);
        bool unsorted = !_empty(right) && (_empty(left) || _key(left) >= _key(right));
        _convict(lane, id, header, unsorted || _stray(lane, header, left) || _stray(lane, header, right));
    }

    /// @inheritdoc IReferee
    function provePayout(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Header calldata prevHeader,
        ISettlement.Tree tree,
        uint32 index,
        AccountLeaf calldata before,
        AccountLeaf calldata afterwards,
        Boundary calldata low,
        Boundary calldata high
    ) external {
        if (index & CONSUMER != 0) revert ProofInvalid(); // else a place that never is would be given a consumer's lines
        if (header.prev != 0) {
            _checkPrevious(header, prevHeader);
            _checkAccount(prevHeader, tree, index, before);
        } else if (before.cumulative != 0) {
            revert ProofInvalid();
        }
        _checkAccount(header, tree, index, afterwards);
        uint256 party = tree == ISettlement.Tree.debits ? index | CONSUMER : index;
        uint256 begins = _prefix(header.linesRoot, low, party << 32);
        uint256 ends = _prefix(header.linesRoot, high, (party + 1) << 32);
        // a tree out of order can give ends below begins; both sides only grow, so compare without subtracting
        _convict(lane, id, header, uint256(before.cumulative) + ends != uint256(afterwards.cumulative) + begins);
    }

    /// @inheritdoc IReferee
    function proveUnevenTree(
        uint32 lane,
        uint64 id,
        ISettlement.Header calldata header,
        ISettlement.Tree tree,
        OpenedLeaf calldata a,
        OpenedLeaf calldata b
    ) external {
        _checkLeaf(header, tree, a);
        _checkLeaf(header, tree, b);
        bool receipts = tree == ISettlement.Tree.receipts;
        uint256 due = receipts ? _height(header.calls) : b.proof.length;
        _convict(lane, id, header, a.proof.length != due);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IReferee
    function leafOf(ISettlement.Tree tree, uint256 index, bytes calldata preimage, bytes calldata terms)
        external
        pure
        returns (bytes32)
    {
        return Receipts.leafOf(tree, index, preimage, terms);
    }

    /// @inheritdoc IReferee
    function price(Receipts.Receipt calldata receipt, bytes calldata terms)
        external
        pure
        returns (bool, uint256, uint256, address[] memory, uint256[] memory)
    {
        Pricing.Split memory s = _split(receipt, terms);
        return (s.sound, s.price, s.charge, s.payees, s.amounts);
    }

    // ------------------------------------------------------------------ inside: what stands in a batch

    function _convict(uint32 lane, uint64 id, ISettlement.Header calldata header, bool lies) private {
        if (!lies) revert NotProven();
        settlement.convict(lane, id, header, msg.sender);
    }

    function _checkPrevious(ISettlement.Header calldata header, ISettlement.Header calldata prevHeader) private pure {
        if (keccak256(abi.encode(prevHeader)) != header.prev) revert PreviousHeaderWrong();
    }

    function _root(ISettlement.Header calldata header, ISettlement.Tree tree) private pure returns (bytes32) {
        if (tree == ISettlement.Tree.receipts) return header.receiptsRoot;
        if (tree == ISettlement.Tree.payouts) return header.payoutRoot;
        return tree == ISettlement.Tree.debits ? header.debitRoot : header.linesRoot;
    }

    /// @dev An empty leaf may also lie beyond the tree's width, which the empty leaf at position 0 measures.
    function _checkAccount(
        ISettlement.Header calldata header,
        ISettlement.Tree tree,
        uint32 index,
        AccountLeaf calldata leaf
    ) private pure {
        bool payouts = tree == ISettlement.Tree.payouts;
        if (!payouts && tree != ISettlement.Tree.debits) revert ProofInvalid();
        bool empty = leaf.account == address(0) && leaf.cumulative == 0;
        bytes32 node = empty
            ? bytes32(0)
            : SumTree.accountLeaf(payouts ? SumTree.PAYOUT : SumTree.DEBIT, index, leaf.account, leaf.cumulative);
        bool beyond = empty && uint256(index) >> leaf.proof.length != 0;
        if (!SumTree.verify(_root(header, tree), node, beyond ? 0 : index, leaf.proof)) revert ProofInvalid();
    }

    function _checkLeaf(ISettlement.Header calldata header, ISettlement.Tree tree, OpenedLeaf calldata leaf)
        private
        pure
    {
        bytes32 node =
            leaf.preimage.length == 0 ? bytes32(0) : Receipts.leafOf(tree, leaf.index, leaf.preimage, leaf.terms);
        if (!SumTree.verify(_root(header, tree), node, leaf.index, leaf.proof)) revert ProofInvalid();
    }

    function _checkOpening(ISettlement.Header calldata header, Opening calldata opening) private pure {
        bytes32 leaf = Receipts.leaf(opening.receipt);
        bool there = SumTree.verify(header.receiptsRoot, leaf, opening.place, opening.proof);
        if (!there || keccak256(opening.terms) != opening.receipt.terms) revert ProofInvalid();
    }

    /// @dev Signed by the lane's operator, or by a key that was ever its own; the receipt names that signer.
    function _checkSigned(uint32 lane, SignedReceipt calldata signed) private view {
        Receipts.Receipt calldata r = signed.receipt;
        bytes32 digest =
            keccak256(abi.encodePacked(hex"1901", settlement.DOMAIN_SEPARATOR(), Receipts.hash(r)));
        bool known = r.lane == lane && settlement.speaksFor(settlement.lanes(lane).operator, r.gateway);
        if (!known || !Signatures.valid(r.gateway, digest, signed.signature)) revert ProofInvalid();
    }

    // ------------------------------------------------------------------ inside: journals

    /// @dev Levels above the leaves of a tree of `calls` receipts: the least that hold them.
    function _height(uint32 calls) private pure returns (uint256 height) {
        while (uint256(1) << height < calls) ++height;
    }

    /// @dev A gateway's row, and the place of its first receipt.
    function _row(bytes calldata table, address gateway)
        private
        pure
        returns (bool known, uint256 place, uint64 first, uint32 count)
    {
        for (uint256 i; i + ROW <= table.length; i += ROW) {
            (address who, uint64 first_, uint32 count_) = _rowAt(table, i);
            if (who == gateway) return (true, place, first_, count_);
            place += count_;
        }
    }

    function _rowAt(bytes calldata table, uint256 i) private pure returns (address gateway, uint64 first, uint32 count) {
        uint256 row = uint256(bytes32(table[i:i + ROW]));
        return (address(uint160(row >> 96)), uint64(row >> 32), uint32(row)); // cut from one word
    }

    /// @dev Whole rows, sorted, adding up, going on where each gateway stopped, from 1 for a new one, none dropped.
    function _broken(bytes calldata table, bytes calldata prevTable, uint32 calls) private pure returns (bool) {
        if (table.length % ROW != 0) return true;
        uint256 total;
        uint256 kept;
        address last;
        for (uint256 i; i < table.length; i += ROW) {
            (address gateway, uint64 first, uint32 count) = _rowAt(table, i);
            if (i != 0 && gateway <= last) return true;
            last = gateway;
            total += count;
            (bool known,, uint64 prevFirst, uint32 prevCount) = _row(prevTable, gateway);
            if (first != (known ? uint256(prevFirst) + prevCount : 1)) return true;
            if (known) ++kept;
        }
        return total != calls || kept != prevTable.length / ROW;
    }

    // ------------------------------------------------------------------ inside: prices

    function _split(Receipts.Receipt calldata r, bytes calldata terms) private pure returns (Pricing.Split memory) {
        uint64[6] memory units = [r.calls, r.inputTokens, r.outputTokens, r.ms, r.byteCount, r.fuel];
        return Pricing.split(terms, units, r.passed);
    }

    function _bids(Pricing.Line memory l, IBidBook.Bid memory bid) private pure returns (bool same) {
        same = l.ratioPpm == bid.ratioPpm;
        for (uint256 i; i < 6; ++i) {
            same = same && l.asks[i] == bid.asks[i];
        }
    }

    /// @dev What a receipt gives a party: as a payee its shares, as a consumer its charge. Terms that allow no price give
    /// nothing; `proveBadLine` is for those.
    function _due(uint32 party, address account, Receipts.Receipt calldata r, bytes calldata terms)
        private
        pure
        returns (uint256 due)
    {
        if (party & CONSUMER != 0) return r.consumer == account ? r.charge : 0;
        if (keccak256(terms) != r.terms) revert ProofInvalid();
        Pricing.Split memory s = _split(r, terms);
        if (!s.sound) return 0;
        for (uint256 i; i < s.payees.length; ++i) {
            if (s.payees[i] == account) due += s.amounts[i];
        }
    }

    // ------------------------------------------------------------------ inside: lines

    function _checkParty(uint32 lane, uint32 party, address account) private view {
        bool right = party & CONSUMER != 0
            ? settlement.accounts(lane, account).index == party ^ CONSUMER
            : registry.payeeAt(party) == account;
        if (!right || account == address(0)) revert ProofInvalid();
    }

    function _checkRun(
        ISettlement.Header calldata header,
        uint32 run,
        Receipts.Receipt[] calldata receipts,
        uint256 height,
        bytes32[] calldata proof
    ) private pure {
        uint256 start = run * RUN;
        uint256 rest = header.calls > start ? header.calls - start : 0;
        if (receipts.length == 0 || receipts.length != (rest < RUN ? rest : RUN)) revert ProofInvalid();
        bytes32[] memory leaves = new bytes32[](receipts.length);
        for (uint256 i; i < leaves.length; ++i) {
            leaves[i] = Receipts.leaf(receipts[i]);
        }
        if (SumTree.rangeRoot(leaves, start, height, proof) != header.receiptsRoot) revert ProofInvalid();
    }

    /// @dev A line of no amount is not the empty leaf: it stands in the tree, and is a stray.
    function _empty(LineLeaf calldata leaf) private pure returns (bool) {
        return leaf.amount == 0 && _key(leaf) == 0;
    }

    function _key(LineLeaf calldata leaf) private pure returns (uint256) {
        return (uint256(leaf.party) << 32) | leaf.run;
    }

    /// @dev A leaf no honest batch has: of nothing, for nobody, or for a run the batch does not have.
    function _stray(uint32 lane, ISettlement.Header calldata header, LineLeaf calldata leaf) private view returns (bool) {
        if (_empty(leaf)) return false;
        if (leaf.amount == 0 || leaf.run * RUN >= header.calls) return true;
        if (leaf.party & CONSUMER == 0) return registry.payeeAt(leaf.party) == address(0);
        uint32 index = leaf.party ^ CONSUMER;
        return index == 0 || index > settlement.head(lane).consumers;
    }

    function _checkLine(bytes32 root, uint256 rank, LineLeaf calldata leaf) private pure {
        bytes32 node = _empty(leaf) ? bytes32(0) : SumTree.lineLeaf(leaf.party, leaf.run, leaf.amount);
        if (!SumTree.verify(root, node, rank, leaf.proof)) revert ProofInvalid();
    }

    /// @dev The sum of all lines below a key.
    function _prefix(bytes32 root, Boundary calldata b, uint256 key) private pure returns (uint256) {
        if (b.rank != 0) {
            _checkLine(root, b.rank - 1, b.left);
            if (_empty(b.left) || _key(b.left) >= key) revert ProofInvalid();
            // the last leaf of a full tree is below the key: so is everything
            if (b.left.proof.length < 256 && b.rank == 1 << b.left.proof.length) return root.sum();
        }
        _checkLine(root, b.rank, b.right);
        if (!_empty(b.right) && _key(b.right) < key) revert ProofInvalid();
        return SumTree.before(b.rank, b.right.proof);
    }

    /// @dev The amount of a party's line for a run; 0 when the boundary shows that there is none.
    function _lineAt(bytes32 root, Boundary calldata b, uint32 party, uint32 run) private pure returns (uint256) {
        uint256 key = (uint256(party) << 32) | run;
        _prefix(root, b, key);
        bool full = b.rank != 0 && b.left.proof.length < 256 && b.rank == 1 << b.left.proof.length;
        return !full && !_empty(b.right) && _key(b.right) == key ? b.right.amount : 0;
    }
}
