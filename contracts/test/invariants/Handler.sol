// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Receipts} from "../../src/Receipts.sol";
import {HostileToken} from "../Tokens.sol";
import {Trees} from "../Trees.sol";
import {Lies} from "./Lies.sol";

/// @dev Everybody at once, at random: an operator that is honest in some batches and lies in others, another that reaches
/// for money it does not hold, consumers, payees, a challenger, a token that calls back whoever it pays and whose owner
/// blacklists payees. What an actor may lawfully find refused, it checks beforehand, so any other revert fails the run;
/// what must be refused is tried, and `broken` names the law when it is not.
contract Handler is Lies {
    uint64[] private seen;
    HostileToken private coin;

    constructor() {
        vm.warp(1_800_000_000);
        coin = new HostileToken();
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
        begin();
        seen = new uint64[](PAYEES + 1);
    }

    function world() external view returns (ISettlement, IERC20, uint32) {
        return (settlement, token, lane);
    }

    // ------------------------------------------------------------------ consumers

    function deposits(uint256 who, uint64 amount) external {
        address account = consumer(1 + who % CONSUMERS);
        uint40 requested = settlement.accounts(lane, account).requestedAt;
        if (settlement.lanes(lane).active) {
            depositFor(account, 1 + amount % 1_000);
        } else {
            token.approve(address(settlement), 1);
            try settlement.deposit(lane, account, 1) {
                broken = "C6: a pause stops deposits";
            } catch {}
        }
        if (settlement.accounts(lane, account).requestedAt != requested) broken = "C6: a deposit changes no exit";
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
        if (a.requestedAt == 0 || unwatched) return;
        bytes32[] memory proof = Trees.prove(_debits(finalDebited), who);
        if (posted > a.requestedAt + NOTICE) {
            settlement.withdraw(lane, consumer(who), finalDebited[who], proof);
            return;
        }
        try settlement.withdraw(lane, consumer(who), finalDebited[who], proof) {
            broken = "C5: an exit needs a final batch after its request";
        } catch {}
    }

    function escapes(uint256 who) external {
        who = 1 + who % CONSUMERS;
        ISettlement.Head memory h = settlement.head(lane);
        ISettlement.Account memory a = settlement.accounts(lane, consumer(who));
        uint256 from = uint256(a.requestedAt > h.finalPostedAt ? a.requestedAt : h.finalPostedAt) + 7 days;
        if (a.requestedAt == 0 || h.finalized + 1 != h.next || block.timestamp < from || unwatched) return;
        bytes32[] memory proof = h.finalized == 0 ? new bytes32[](0) : Trees.prove(_debits(finalDebited), who);
        settlement.escapeWithdraw(lane, consumer(who), finalDebited[who], proof);
    }

    // ------------------------------------------------------------------ operators

    /// @dev A call under terms at random: ratios, asks, listed or not, carved or not. C8: whatever the terms, their lines
    /// sum to the price, less what the consumer gets back.
    function calls(uint256 from, uint256 seed, uint64 perCall, uint64 perToken) external {
        from = 1 + from % CONSUMERS;
        ISettlement.Account memory a = settlement.accounts(lane, consumer(from));
        if (a.requestedAt != 0 || a.escaped || given.length == 8) return; // an honest operator does not serve who leaves
        bytes memory terms = _terms(seed, perCall % 400, perToken % 400);
        Receipts.Receipt memory r = call(from, terms);
        if (!_adds(r, terms)) broken = "C8: lines sum to the price";
        if (r.charge == 0 || r.charge > a.deposited - a.withdrawn - debited[from]) return;
        give(r, terms);
    }

    function posts(uint8 lie) external {
        ISettlement.Head memory h = settlement.head(lane);
        if (h.next - h.finalized > 20 || unwatched) return;
        if (h.next - 1 > h.finalized && lies(h.next - 1)) return; // nothing adds up on top of a lie
        if (settlement.lanes(lane).active) {
            file(h.next, lie % 4);
            return;
        }
        ISettlement.Header memory header = nextHeader();
        vm.prank(operator);
        try settlement.commit(lane, header, NONE, noHeader()) {
            broken = "C6: a pause stops commits";
        } catch {}
    }

    /// @dev The second lane's operator, for all the money that Settlement holds.
    function overreaches() external {
        ISettlement.Lane memory l = settlement.lanes(2);
        uint256 total = uint256(l.net) + l.bond + l.insurance + 1;
        ISettlement.Header memory h;
        (h.receiptsRoot, h.payoutRoot, h.debitRoot) = (bytes32(total), bytes32(total), bytes32(total));
        h.linesRoot = bytes32(2 * total);
        vm.prank(stranger);
        try settlement.commit(2, h, NONE, noHeader()) {
            broken = "C2: a lane is solvent by itself";
        } catch {}
    }

    function pauses() external {
        if (!settlement.lanes(lane).active) return;
        vm.prank(operator);
        settlement.setActive(lane, false);
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

    // ------------------------------------------------------------------ anybody

    function finalizes() external {
        ISettlement.Head memory h = settlement.head(lane);
        uint64 id = h.finalized + 1;
        if (id >= h.next || unwatched) return;
        ISettlement.Posted memory batch = settlement.posted(lane, id);
        if (batch.open == 0 && block.timestamp >= batch.time + WINDOW) {
            settlement.finalize(lane, id, headerOf(id));
            becameFinal(id);
            return;
        }
        try settlement.finalize(lane, id, headerOf(id)) {
            broken = "C4: final means window passed, nothing open";
        } catch {}
        if (id + 1 == h.next) return;
        try settlement.finalize(lane, id + 1, headerOf(id + 1)) {
            broken = "C4: final in chain order";
        } catch {}
    }

    function waits(uint256 time) external {
        vm.warp(block.timestamp + time % 3 days);
    }

    // ------------------------------------------------------------------ payees

    /// @dev One claims alone, then somebody claims for all. One may be barred, and one calls back to be paid twice.
    function claims(uint256 who, bool barred, uint256 caller) external {
        who = 1 + who % PAYEES;
        if (finalEarned[who] == 0 || unwatched) return;
        bytes32[] memory leaves = _payouts(finalEarned);
        bytes memory again = abi.encodeCall(settlement.claimRange, (lane, 1, 3, _rows(), Trees.proveRange(leaves, 1, PAYEES)));
        coin.onTransferTo(payee(1 + caller % PAYEES), address(settlement), again);
        coin.blacklist(payee(who), barred);
        if (!barred) settlement.claim(lane, uint32(who), payee(who), finalEarned[who], Trees.prove(leaves, who));
        settlement.claimRange(lane, 1, 3, _rows(), Trees.proveRange(leaves, 1, PAYEES));
        for (uint32 i = 1; i <= PAYEES; ++i) {
            uint64 amount = settlement.claimed(lane, i);
            if (amount < seen[i]) broken = "C3: claimed only grows";
            if (amount != finalEarned[i] && !(barred && i == who)) broken = "C3: who is not barred is paid";
            seen[i] = amount;
        }
        coin.blacklist(payee(who), false);
    }

    // ------------------------------------------------------------------ challengers

    function catches() external {
        ISettlement.Head memory h = settlement.head(lane);
        for (uint64 id = h.finalized + 1; id < h.next; ++id) {
            if (!lies(id) || block.timestamp >= settlement.posted(lane, id).time + WINDOW) continue;
            convictLiar(id);
            return;
        }
    }

    /// @dev C8 for the honest: no call of an honest batch is convicted, nor its run, nor its sums.
    function accuses(uint256 which, uint256 place) external {
        ISettlement.Head memory h = settlement.head(lane);
        uint64 pending = h.next - 1 - h.finalized;
        if (pending == 0) return;
        uint64 id = h.finalized + 1 + uint64(which % pending);
        if (lies(id)) return;
        accuseHonest(id, place);
        if (settlement.head(lane).next != h.next) broken = "C8: the honest are not convicted";
    }

    function challenges(bool answer) external {
        ISettlement.Head memory h = settlement.head(lane);
        uint64 id = h.next - 1;
        if (id <= h.finalized || block.timestamp >= settlement.posted(lane, id).time + WINDOW) return;
        ISettlement.Header memory header = headerOf(id);
        bytes32 key = keccak256(abi.encode(ISettlement.Tree.debits, header.debitRoot, uint256(0), uint256(0)));
        if (settlement.challenge(lane, id, bytes24(keccak256(abi.encode(header))), key).challenger != address(0)) return;
        vm.deal(challenger, FEE);
        vm.prank(challenger);
        settlement.demandNode{value: FEE}(lane, id, header, ISettlement.Tree.debits, header.debitRoot, 0, new bytes32[](0));
        if (answer && !lies(id)) {
            (bytes32 left, bytes32 right) = _children(_debits(_filed(id).debited));
            settlement.answerNode(lane, id, ISettlement.Tree.debits, header.debitRoot, 0, 0, left, right);
            return;
        }
        vm.warp(block.timestamp + ANSWER + 1);
        settlement.timeout(lane, id, header, key);
        rollBack(id);
    }

    // ------------------------------------------------------------------ inside

    function _adds(Receipts.Receipt memory r, bytes memory terms) private view returns (bool) {
        (bool sound, uint256 price, uint256 charge,, uint256[] memory amounts) = referee.price(r, terms);
        uint256 total;
        for (uint256 i; i < amounts.length; ++i) total += amounts[i];
        return !sound || (total == charge && charge <= price && (terms[1] & 0x02 != 0 || charge == price));
    }

    function _terms(uint256 seed, uint64 perCall, uint64 perToken) private view returns (bytes memory) {
        uint8 flags = uint8(seed % 4);
        uint64 list = flags & 1 == 0 ? 0 : uint64(seed >> 8) % 2_000;
        bytes memory head_ = abi.encodePacked(uint8(1), flags, uint8(0), list, MODEL, uint8(3));
        bytes memory lines = bytes.concat(
            termsLine(payee(1 + (seed >> 80) % PAYEES), MAKER, uint24((seed >> 16) % 300_000), 0, perToken),
            termsLine(payee(1 + (seed >> 88) % PAYEES), COMPUTE, uint24((seed >> 40) % 300_000), perCall, perToken),
            termsLine(treasury, PROTOCOL, PROTOCOL_PPM, 0, 0)
        );
        return flags & 2 == 0 ? bytes.concat(head_, lines) : bytes.concat(head_, lines, _carve(seed));
    }

    function _carve(uint256 seed) private view returns (bytes memory) {
        return abi.encodePacked(
            uint8((seed >> 96) % 3),
            payee(1 + (seed >> 104) % PAYEES),
            uint24((seed >> 112) % 1_000_001),
            uint24((seed >> 136) % 1_000_001),
            uint64((seed >> 160) % 300),
            payee(1 + (seed >> 200) % PAYEES),
            treasury
        );
    }

    function _rows() private view returns (bytes32[] memory rows) {
        rows = new bytes32[](PAYEES);
        for (uint256 i; i < PAYEES; ++i) {
            if (finalEarned[i + 1] != 0) rows[i] = bytes32((uint256(uint160(payee(i + 1))) << 64) | finalEarned[i + 1]);
        }
    }

    receive() external payable {}
}
