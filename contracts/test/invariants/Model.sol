// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Base} from "../Base.sol";
import {DollarToken} from "../Tokens.sol";
import {Sparse, Trees} from "../Trees.sol";

/// @dev What the fuzzed lives of lanes know beside the chain: each batch's amounts, the calls not yet posted, the vouchers
/// signed, and whether a batch is provably wrong at this moment, by the rules that Referee, Prices and Questions prove.
abstract contract Model is Base {
    using Trees for Sparse;

    uint256 internal constant LANES = 3;
    uint256 internal constant HONEST = 0; // never lies
    uint256 internal constant WATCHED = 1; // lies, and every lie that can be proven is
    uint256 internal constant UNWATCHED = 2; // lies, and nobody looks
    uint256 internal constant WHO = 4; // consumers of each lane
    uint24 internal constant ANSWER_TIME = 3 hours; // so long that the paths of tall trees need more than WINDOW

    /// @dev A batch as its operator knows it. `sold`: what each consumer was charged for each payee's calls, a receipt each, at
    /// `placeOf`. `due`: its lines, what these pay on top of the batch before.
    struct Filed {
        Header header;
        uint64[] earned;
        uint64[] debited;
        uint64[] due;
        uint64[] sold;
        bool dear; // its first receipt costs more than its terms say
        bool forged; // its first receipt is not the one that the gateway signed
        bool withheld; // its trees are hashes of nothing
        uint64 open; // questions nobody answers
        uint256 askedAt; // the first of them
    }

    DollarToken internal coin;
    address[] internal lanes;
    address[] internal operators;
    mapping(uint256 l => mapping(uint64 id => bytes)) internal filed;
    mapping(uint256 l => bytes) internal finalFiled;
    mapping(uint256 l => uint64[WHO + 1][PAYEES + 1]) internal calls_; // [payee][consumer]
    mapping(uint256 l => uint64[WHO + 1]) internal vouchers;
    mapping(uint256 l => uint64[PAYEES + 1]) internal seen; // claimed
    mapping(uint256 l => bytes) internal voided; // a batch that fell
    mapping(uint256 l => bool) public soiled; // a lie became final while nobody looked
    address[PAYEES + 1] internal payeeOf; // kept: the cheatcode multiplies on the curve each time
    address[WHO + 1] internal consumerOf;
    uint256 internal nonce;
    /// @dev The law that was broken.
    string public broken;

    function makeToken() internal override returns (IERC20) {
        coin = new DollarToken();
        coin.mint(address(this), 1e18);
        return coin;
    }

    function someTerms() internal pure override returns (ISettlement.Terms memory) {
        return ISettlement.Terms(WINDOW, ANSWER_TIME, 1, 1);
    }

    function populate() internal virtual override {
        for (uint256 i = 1; i <= PAYEES; ++i) payeeOf[i] = payee(i);
        for (uint256 i = 1; i <= WHO; ++i) consumerOf[i] = consumer(i);
        uint64[] memory none = new uint64[](PAYEES + 1);
        uint64[] memory nobody = new uint64[](WHO + 1);
        uint64[] memory unsold = new uint64[](PAYEES * WHO);
        for (uint256 l; l < LANES; ++l) {
            address who = vm.addr(10 + l);
            operators.push(who);
            ISettlement.Terms memory terms = someTerms();
            terms.leverage = uint8(1 + l);
            lanes.push(lane = openLane(who, 0, terms, l == HONEST ? BOND : MIN_BOND * 10));
            for (uint256 i = 1; i <= WHO; ++i) depositFor(consumer(i), DEPOSIT);
            Header memory h;
            finalFiled[l] = abi.encode(Filed(h, none, nobody, none, unsold, false, false, false, 0, 0));
            vouchers[l][WHO] = type(uint64).max; // its operator's accomplice signs everything
        }
    }

    // ------------------------------------------------------------------ batches

    function fileOf(uint256 l, uint64 id) internal view returns (Filed memory) {
        return abi.decode(filed[l][id], (Filed));
    }

    function finalOf(uint256 l) internal view returns (Filed memory) {
        return abi.decode(finalFiled[l], (Filed));
    }

    /// @dev The batch that the next one follows.
    function tipOf(uint256 l) internal view returns (Filed memory) {
        ISettlement.Head memory h = settlement.heads(lanes[l]);
        return h.next == h.finalized + 1 ? finalOf(l) : fileOf(l, h.next - 1);
    }

    function before(uint256 l, uint64 id) internal view returns (Filed memory) {
        return id == settlement.heads(lanes[l]).finalized + 1 ? finalOf(l) : fileOf(l, id - 1);
    }

    function payoutTree(uint256 l, Filed memory f) internal view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](f.earned.length);
        for (uint32 i = 1; i < leaves.length; ++i) leaves[i] = Trees.payoutLeaf(lanes[l], i, payeeOf[i], f.earned[i]);
        return Trees.dense(leaves, (f.header.heights >> 8) & 0xff);
    }

    function debitTree(uint256 l, Filed memory f) internal view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](f.debited.length);
        for (uint32 i = 1; i < leaves.length; ++i) leaves[i] = Trees.debitLeaf(lanes[l], i, consumerOf[i], f.debited[i]);
        return Trees.dense(leaves, (f.header.heights >> 16) & 0xff);
    }

    function sum(uint64[] memory amounts) internal pure returns (uint64 total) {
        for (uint256 i; i < amounts.length; ++i) total += amounts[i];
    }

    function placeOf(uint256 to, uint256 who) internal pure returns (uint256) {
        return (to - 1) * WHO + who - 1;
    }

    /// @dev A consumer's calls of a payee: the next payee has a tenth of the price, rounded up.
    function sells(Filed memory f, uint256 to, uint256 who, uint64 price) internal pure {
        f.sold[placeOf(to, who)] += price;
        f.debited[who] += price;
    }

    /// @dev What the receipts pay each payee.
    function dueOf(Filed memory f) internal pure returns (uint64[] memory due) {
        due = new uint64[](PAYEES + 1);
        for (uint256 to = 1; to <= PAYEES; ++to) {
            for (uint256 who = 1; who <= WHO; ++who) {
                uint64 price = f.sold[placeOf(to, who)];
                if (price == 0) continue;
                uint64 tenth = (price - 1) / 10 + 1;
                due[to] += price - tenth;
                due[to % PAYEES + 1] += tenth;
            }
        }
    }

    function prevOf(Filed memory tip) internal pure returns (bytes24) {
        return tip.header.era == 0 ? bytes24(0) : idOf(tip.header);
    }

    /// @dev The header over what `f` says, as an operator would post it now.
    function seal(uint256 l, Filed memory f, Filed memory tip, uint40 closedAt) internal virtual {
        Header memory h = f.header;
        h.prev = prevOf(tip);
        h.era = settlement.lanes(lanes[l]).era;
        h.closedAt = closedAt;
        (h.payoutRoot, h.debitRoot) = (payoutTree(l, f).root(), debitTree(l, f).root());
        uint256 charged = sum(f.earned) - Trees.sumOf(tip.header.payoutRoot);
        (h.receiptsRoot, h.linesRoot) = (bytes32(charged), bytes32(charged));
        h.gatewaysRoot = bytes32(uint256(1));
        if (!f.withheld) return;
        h.payoutRoot = Trees.mark(keccak256("nothing"), sum(f.earned));
        h.debitRoot = h.payoutRoot;
    }

    // ------------------------------------------------------------------ the judges' rules

    /// @dev True when a pending batch can be proven wrong now, were it by an unanswered question.
    function guilty(uint256 l, uint64 id) internal view returns (bool) {
        Filed memory f = fileOf(l, id);
        if (f.withheld || f.forged || isLate(l, f)) return true;
        Filed memory b = before(l, id);
        return wrongAbout(l, f, b) || unmandated(l, f, b) != 0 || wronglyPriced(f, b);
    }

    /// @dev A question about it was not answered in time.
    function isLate(uint256, Filed memory f) internal view virtual returns (bool) {
        return f.open != 0 && block.timestamp > f.askedAt + ANSWER_TIME;
    }

    /// @dev What the Referee proves of consumers.
    function wrongAbout(uint256 l, Filed memory f, Filed memory b) internal view returns (bool) {
        for (uint256 i = 1; i <= WHO; ++i) {
            if (f.debited[i] < b.debited[i]) return true; // proveRegression
            ISettlement.Account memory a = settlement.accounts(lanes[l], consumerOf[i]);
            if (f.debited[i] > _available(a)) return true; // proveOverdraft
            if (f.debited[i] > b.debited[i] && _leftBefore(a, b)) return true; // proveDebitAfterExit
        }
        return false;
    }

    /// @dev A consumer whose debit grew above its mandate: nobody can answer for it.
    function unmandated(uint256 l, Filed memory f, Filed memory b) internal view returns (uint256) {
        for (uint256 i = 1; i <= WHO; ++i) {
            if (f.debited[i] > b.debited[i] && f.debited[i] > mandateOf(l, i, f.header.closedAt)) return i;
        }
        return 0;
    }

    /// @dev What a consumer may have been debited in all, by what was valid when a batch was closed.
    function mandateOf(uint256 l, uint256 who, uint40 closedAt) internal view returns (uint256) {
        ISettlement.Account memory a = settlement.accounts(lanes[l], consumerOf[who]);
        uint64 signed_ = isValid(l, who, closedAt) ? vouchers[l][who] : 0;
        return uint256(signed_ > a.debitAtExit ? signed_ : a.debitAtExit) + a.paidIn;
    }

    /// @dev That who signed a consumer's voucher speaks for it then.
    function isValid(uint256, uint256, uint40) internal view virtual returns (bool) {
        return true;
    }

    /// @dev What PriceJudge proves: of a price, of lines, of payouts.
    function wronglyPriced(Filed memory f, Filed memory b) internal pure returns (bool) {
        if (f.dear) return true; // proveBadPrice
        uint64[] memory due = dueOf(f);
        for (uint256 i = 1; i <= PAYEES; ++i) {
            if (f.due[i] != due[i] || f.earned[i] != b.earned[i] + f.due[i]) return true; // proveBadRun, provePayout
        }
        return false;
    }

    /// @dev What an account may be debited, in all.
    function _available(ISettlement.Account memory a) internal view virtual returns (uint64) {
        return a.deposited - a.withdrawn;
    }

    /// @dev No batch after this one may raise the account's debit.
    function _leftBefore(ISettlement.Account memory a, Filed memory b) internal view virtual returns (bool) {
        return a.requestedAt != 0 && b.header.closedAt > a.requestedAt + NOTICE;
    }

    // ------------------------------------------------------------------ afterwards

    /// @dev What fell is no more: the calls in it are its operator's loss.
    function rolledBack(uint256 l, uint64 from) internal {
        voided[l] = filed[l][from];
        delete calls_[l];
    }

    function becameFinal(uint256 l, uint64 id, bool wrong) internal {
        finalFiled[l] = filed[l][id];
        if (wrong && l == UNWATCHED) soiled[l] = true;
    }
}
