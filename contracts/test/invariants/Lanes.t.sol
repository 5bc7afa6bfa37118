// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {BlacklistToken} from "../Settlement.t.sol";
import {Trees} from "../Trees.sol";

/// @dev Everybody at once, at random: an operator that is honest in some batches and lies in others, consumers, payees, a
/// challenger, a token whose owner blacklists payees. What a handler may lawfully find refused, it checks beforehand, so
/// any other revert fails the run.
contract Handler is Base {
    struct Pending {
        ISettlement.Header header;
        uint64[] earned;
        uint64[] debited;
        bool lie;
        bytes32 left;
        bytes32 right;
    }

    uint256 public claimedTotal;
    uint64 public finalizedTotal;
    uint64 public finalEarnedMin;
    bool public claimedFell;
    bool public unwatched;
    uint64[] private seen;
    uint64[] private finalEarned;
    uint64[] private finalDebited;
    mapping(uint64 id => Pending) private pending;
    BlacklistToken private coin;

    constructor() {
        vm.warp(1_800_000_000);
        coin = new BlacklistToken();
        coin.mint(address(this), 1e18);
        token = coin;
        deployAround(address(coin));
        lane = openLane(operator);
        openLane(stranger); // a second lane, whose money must stay its own
        for (uint256 i = 1; i <= PAYEES; ++i) registry.registerPayee(payee(i));
        for (uint256 i = 1; i <= CONSUMERS; ++i) depositFor(consumer(i), DEPOSIT);
        uint32 first = lane;
        lane = 2;
        depositFor(consumer(1), DEPOSIT);
        lane = first;
        earned = new uint64[](PAYEES + 1);
        debited = new uint64[](CONSUMERS + 1);
        finalEarned = new uint64[](PAYEES + 1);
        finalDebited = new uint64[](CONSUMERS + 1);
        seen = new uint64[](PAYEES + 1);
    }

    function world() external view returns (ISettlement, IERC20, uint32) {
        return (settlement, token, lane);
    }

    // ------------------------------------------------------------------ what may happen

    function deposits(uint256 who, uint64 amount) external {
        if (!settlement.lanes(lane).active) return;
        depositFor(consumer(1 + who % CONSUMERS), 1 + amount % 1_000);
    }

    function spends(uint256 from, uint256 to, uint64 amount) external {
        from = 1 + from % CONSUMERS;
        ISettlement.Account memory a = settlement.accounts(lane, consumer(from));
        if (a.requestedAt != 0 || a.escaped) return; // an honest operator does not serve it
        uint64 left = a.deposited - a.withdrawn - debited[from];
        if (left != 0) spend(from, 1 + to % PAYEES, 1 + amount % left);
    }

    function posts(bool lie) external {
        ISettlement.Head memory h = settlement.head(lane);
        if (!settlement.lanes(lane).active || h.next - h.finalized > 20 || unwatched) return;
        if (h.next - 1 > h.finalized && pending[h.next - 1].lie) return; // nothing adds up on top of a lie
        Pending storage p = pending[h.next];
        p.header = nextHeader();
        (p.earned, p.debited, p.lie) = (earned, debited, lie);
        if (lie) _twist(p);
        post(p.header);
    }

    function finalizes() external {
        ISettlement.Head memory h = settlement.head(lane);
        uint64 id = h.finalized + 1;
        if (id >= h.next) return;
        ISettlement.Posted memory batch = settlement.posted(lane, id);
        if (batch.open != 0 || block.timestamp < batch.time + WINDOW || unwatched) return;
        settlement.finalize(lane, id, pending[id].header);
        unwatched = pending[id].lie; // nobody saw it in time: even so the laws must hold
        (finalEarned, finalDebited) = (pending[id].earned, pending[id].debited);
        finalizedTotal = uint64(Trees.sumOf(pending[id].header.payoutRoot));
    }

    function catches() external {
        ISettlement.Head memory h = settlement.head(lane);
        for (uint64 id = h.finalized + 1; id < h.next; ++id) {
            Pending storage p = pending[id];
            if (!p.lie || block.timestamp >= settlement.posted(lane, id).time + WINDOW) continue;
            vm.prank(challenger);
            settlement.proveBadSum(
                lane, id, p.header, ISettlement.Tree.payouts, p.header.payoutRoot, p.left, p.right, 0, new bytes32[](0)
            );
            _rollBack(id);
            return;
        }
    }

    function challenges(bool answer) external {
        ISettlement.Head memory h = settlement.head(lane);
        uint64 id = h.next - 1;
        if (id <= h.finalized || block.timestamp >= settlement.posted(lane, id).time + WINDOW) return;
        ISettlement.Header memory header = pending[id].header;
        bytes32 key = keccak256(abi.encode(ISettlement.Tree.debits, header.debitRoot, uint256(0), uint256(0)));
        if (settlement.challenge(lane, id, bytes24(keccak256(abi.encode(header))), key).challenger != address(0)) return;
        vm.deal(challenger, FEE);
        vm.prank(challenger);
        settlement.demandNode{value: FEE}(lane, id, header, ISettlement.Tree.debits, header.debitRoot, 0, new bytes32[](0));
        if (answer && !pending[id].lie) {
            (bytes32 left, bytes32 right) = _children(_leaves(pending[id].debited));
            settlement.answerNode(lane, id, ISettlement.Tree.debits, header.debitRoot, 0, 0, left, right);
            return;
        }
        vm.warp(block.timestamp + ANSWER + 1);
        settlement.timeout(lane, id, header, key);
        _rollBack(id);
    }

    function bondsAgain() external {
        ISettlement.Lane memory l = settlement.lanes(lane);
        if (l.active) return;
        token.transfer(operator, MIN_BOND);
        vm.startPrank(operator);
        settlement.addBond(lane, MIN_BOND);
        settlement.setActive(lane, true);
        vm.stopPrank();
    }

    function claims(uint256 who, bool barred) external {
        who = 1 + who % PAYEES;
        if (finalEarned[who] == 0 || unwatched) return;
        coin.blacklist(payee(who), barred);
        bytes32[] memory leaves = _payouts(finalEarned);
        if (!barred) {
            claimedTotal += settlement.claim(lane, uint32(who), payee(who), finalEarned[who], Trees.prove(leaves, who));
        }
        bytes32[] memory rows = new bytes32[](PAYEES);
        for (uint256 i; i < PAYEES; ++i) {
            if (finalEarned[i + 1] != 0) rows[i] = bytes32((uint256(uint160(payee(i + 1))) << 64) | finalEarned[i + 1]);
        }
        claimedTotal += settlement.claimRange(lane, 1, 3, rows, Trees.proveRange(leaves, 1, PAYEES));
        for (uint32 i = 1; i <= PAYEES; ++i) {
            if (settlement.claimed(lane, i) < seen[i]) claimedFell = true;
            seen[i] = settlement.claimed(lane, i);
        }
        coin.blacklist(payee(who), false);
    }

    function requests(uint256 who) external {
        address account = consumer(1 + who % CONSUMERS);
        if (settlement.accounts(lane, account).requestedAt != 0) return;
        vm.prank(account);
        settlement.requestWithdraw(lane);
    }

    function withdraws(uint256 who) external {
        who = 1 + who % CONSUMERS;
        ISettlement.Account memory a = settlement.accounts(lane, consumer(who));
        uint40 posted = settlement.head(lane).finalPostedAt;
        if (a.requestedAt == 0 || posted <= a.requestedAt + NOTICE || unwatched) return;
        settlement.withdraw(lane, consumer(who), finalDebited[who], Trees.prove(_leaves(finalDebited), who));
    }

    function escapes(uint256 who) external {
        who = 1 + who % CONSUMERS;
        ISettlement.Head memory h = settlement.head(lane);
        ISettlement.Account memory a = settlement.accounts(lane, consumer(who));
        uint256 from = uint256(a.requestedAt > h.finalPostedAt ? a.requestedAt : h.finalPostedAt) + 7 days;
        if (a.requestedAt == 0 || h.finalized + 1 != h.next || block.timestamp < from || unwatched) return;
        bytes32[] memory proof = h.finalized == 0 ? new bytes32[](0) : Trees.prove(_leaves(finalDebited), who);
        settlement.escapeWithdraw(lane, consumer(who), finalDebited[who], proof);
    }

    function waits(uint256 time) external {
        vm.warp(block.timestamp + time % 3 days);
    }

    // ------------------------------------------------------------------ inside

    /// @dev 50 atoms more than the children have, in the payout root; and the debit root says so too.
    function _twist(Pending storage p) private {
        (p.left, p.right) = _children(payoutLeaves());
        uint256 total = Trees.sumOf(p.left) + Trees.sumOf(p.right) + 50;
        ISettlement.Lane memory l = settlement.lanes(lane);
        if (total > uint256(l.net) + l.bond + l.insurance) {
            p.lie = false;
            return;
        }
        p.header.payoutRoot = Trees.mark(keccak256(abi.encodePacked(p.left, p.right)), total);
        p.header.debitRoot = Trees.mark(keccak256("a lie"), total);
        uint256 charged = Trees.sumOf(p.header.receiptsRoot) + 50;
        p.header.receiptsRoot = bytes32(charged);
        p.header.linesRoot = bytes32(2 * charged);
    }

    function _rollBack(uint64 id) private {
        if (id == settlement.head(lane).finalized + 1) {
            (earned, debited) = (finalEarned, finalDebited);
        } else {
            (earned, debited) = (pending[id - 1].earned, pending[id - 1].debited);
        }
        if (id == 1) delete last;
        else last = pending[id - 1].header;
    }

    function _children(bytes32[] memory leaves) private pure returns (bytes32 left, bytes32 right) {
        uint256 h = Trees.height(leaves.length);
        bytes32[] memory row = Trees.padded(leaves, h);
        bytes32[] memory half = new bytes32[](row.length / 2);
        for (uint256 i; i < half.length; ++i) half[i] = row[i];
        left = Trees.root(half);
        for (uint256 i; i < half.length; ++i) half[i] = row[half.length + i];
        right = Trees.root(half);
    }

    function _payouts(uint64[] memory amounts) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](amounts.length);
        for (uint32 i = 1; i < amounts.length; ++i) {
            if (amounts[i] != 0) leaves[i] = Trees.leaf(1, i, payee(i), amounts[i]);
        }
    }

    function _leaves(uint64[] memory amounts) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](amounts.length);
        for (uint32 i = 1; i < amounts.length; ++i) {
            if (amounts[i] != 0) leaves[i] = Trees.leaf(2, i, consumer(i), amounts[i]);
        }
    }

    receive() external payable {}
}

contract LanesInvariants is Base {
    Handler private handler;

    function setUp() public override {
        handler = new Handler();
        (settlement, token, lane) = handler.world();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](12);
        selectors[0] = Handler.deposits.selector;
        selectors[1] = Handler.spends.selector;
        selectors[2] = Handler.posts.selector;
        selectors[3] = Handler.finalizes.selector;
        selectors[4] = Handler.catches.selector;
        selectors[5] = Handler.challenges.selector;
        selectors[6] = Handler.bondsAgain.selector;
        selectors[7] = Handler.claims.selector;
        selectors[8] = Handler.requests.selector;
        selectors[9] = Handler.withdraws.selector;
        selectors[10] = Handler.escapes.selector;
        selectors[11] = Handler.waits.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @dev C1 at every commit: the head's total is payouts and debits of the last batch. C2: what is final never exceeds
    /// deposits less withdrawals. C3: claims never exceed what is final, and never fall. C5: no account takes out more than
    /// it put in. C7: the tokens held cover every lane's (net - claimed), bonds and insurance. C4, C6 and C8 are tested where
    /// a sequence can break them: Settlement.t.sol, Disputes.t.sol, tests/chain/test_disputes.py.
    function invariant_C1_to_C7_LanesAreSolvent() external view {
        ISettlement.Lane memory l = settlement.lanes(lane);
        ISettlement.Lane memory other = settlement.lanes(2);
        (bytes32 payouts, bytes32 debits) = settlement.finalRoots(lane);
        vm.assertEq(Trees.sumOf(payouts), Trees.sumOf(debits), "C1: payouts are debits");
        vm.assertEq(Trees.sumOf(payouts), handler.finalizedTotal(), "C4: final in order");
        vm.assertLe(Trees.sumOf(payouts), l.net, "C2: solvent by itself");
        vm.assertLe(handler.claimedTotal(), Trees.sumOf(payouts), "C3: claims are final");
        vm.assertFalse(handler.claimedFell(), "C3: claimed only grows");
        uint256 held = token.balanceOf(address(settlement));
        uint256 owed = l.net - handler.claimedTotal() + l.bond + l.insurance;
        owed += uint256(other.net) + other.bond;
        vm.assertEq(held, owed, "C7: the tokens cover all");
        vm.assertEq(other.net, DEPOSIT, "C2: the other lane is untouched");
        for (uint256 i = 1; i <= CONSUMERS; ++i) {
            ISettlement.Account memory a = settlement.accounts(lane, consumer(i));
            vm.assertLe(a.withdrawn, a.deposited, "C5: nobody takes out more than it put in");
        }
    }
}
