// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Header} from "../src/Headers.sol";
import {IAuthorizations} from "../src/interfaces/IAuthorizations.sol";
import {IConsumers} from "../src/interfaces/IConsumers.sol";
import {IKeys} from "../src/interfaces/IKeys.sol";
import {IMaker} from "../src/interfaces/IMaker.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {IStakeVault} from "../src/interfaces/IStakeVault.sol";
import {DollarToken, MockToken} from "./Tokens.sol";
import {TestMaker} from "./Judges.sol";
import {Sparse, Trees} from "./Trees.sol";
import {World} from "./World.sol";

interface ITokenDomain {
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    function nonces(address owner) external view returns (uint256);
}

/// @dev A network deployed from the committed artifacts, with one lane, three consumers and four payees. Its judges say what
/// a test tells them (`makers` puts others in their place).
abstract contract Base is World {
    using Trees for Sparse;

    uint64 internal constant BOND = 1_000_000;
    uint64 internal constant MIN_BOND = 1_000;
    uint8 internal constant MAX_LEVERAGE = 4;
    uint24 internal constant WINDOW = 1 days;
    uint24 internal constant ANSWER = 1 hours;
    uint32 internal constant NOTICE = 5 minutes;
    uint32 internal constant DAY = 1 days;
    /// @dev What a revoked session key still counts for: two days, and a receipt's life.
    uint32 internal constant SESSION_NOTICE = 2 * DAY + 30 days;
    uint64 internal constant DEPOSIT = 10_000;
    uint256 internal constant PAYEES = 4;
    uint256 internal constant CONSUMERS = 3;

    IERC20 internal token;
    /// @dev What the judges were made with.
    bytes[3] internal _arguments;
    mapping(address maker => bytes) private _codes;
    ISettlement internal settlement;
    IConsumers internal consumers;
    IKeys internal keys;
    IStakeVault internal vault;
    /// @dev The judges, as Settlement hears them: with stub judges, `asReferee.convict(...)` convicts.
    ISettlement internal asQuestions;
    ISettlement internal asReferee;
    ISettlement internal asPrices;
    address internal lane;

    address internal treasury = address(0x7EA5);
    address internal operator = vm.addr(1);
    address internal challenger = vm.addr(2);

    /// @dev Cumulative amounts by index, as an honest ledger would hold them.
    uint64[] internal earned;
    uint64[] internal debited;
    Header internal last;

    // ------------------------------------------------------------------ a world

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        token = makeToken();
        deployAround();
        populate();
        vm.deal(challenger, 1 ether);
    }

    /// @dev The settlement token; this contract holds it.
    function makeToken() internal virtual returns (IERC20) {
        return IERC20(create("AICoin", abi.encode(address(this), uint256(1e18))));
    }

    /// @dev One lane, and who is in it.
    function populate() internal virtual {
        lane = openLane(operator, 0);
        for (uint256 i = 1; i <= CONSUMERS; ++i) depositFor(consumer(i), DEPOSIT);
        earned = new uint64[](PAYEES + 1);
        debited = new uint64[](CONSUMERS + 1);
        delete last;
    }

    /// @dev Makers of Questions, Referee and Prices, and what each of them takes.
    function makers() internal virtual returns (IMaker[3] memory m, bytes[3] memory arguments) {
        m[0] = m[1] = m[2] = IMaker(address(new TestMaker()));
        (arguments[0], arguments[1], arguments[2]) = ("0", "1", "2");
    }

    /// @dev The makers, once they have made the judges of the Settlement that this contract creates next.
    function judged() internal returns (IMaker[3] memory m) {
        (m, _arguments) = makers();
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
        for (uint256 i; i < 3; ++i) m[i].make(next, _codes[address(m[i])], _arguments[i]);
    }

    /// @dev The maker of a judge, by the judge's artifact.
    function makerOf(string memory judge) internal returns (IMaker maker) {
        bytes memory code = codeOf(judge);
        maker = IMaker(create("Maker", abi.encode(keccak256(code))));
        _codes[address(maker)] = code;
    }

    function rules() internal pure virtual returns (ISettlement.Rules memory) {
        return ISettlement.Rules(MIN_BOND, MAX_LEVERAGE, WINDOW, ANSWER, NOTICE, DAY);
    }

    function someTerms() internal pure virtual returns (ISettlement.Terms memory) {
        return ISettlement.Terms(WINDOW, ANSWER, 1, 1);
    }

    /// @dev The network around `token`.
    function deployAround() internal {
        settlement = ISettlement(create("Settlement", abi.encode(token, treasury, rules(), judged(), _arguments)));
        consumers = IConsumers(settlement.consumers());
        keys = IKeys(settlement.keys());
        vault = IStakeVault(settlement.stakeVault());
        asQuestions = ISettlement(settlement.questions());
        asReferee = ISettlement(settlement.referee());
        asPrices = ISettlement(settlement.prices());
    }

    /// @dev The same world around another token.
    function deployFor(MockToken coin) internal {
        coin.mint(address(this), 1e15);
        token = coin;
        deployAround();
        populate();
    }

    function deployForDollar() internal returns (DollarToken coin) {
        coin = new DollarToken();
        deployFor(coin);
    }

    /// @dev A dollar as `token`, for `makeToken`.
    function aDollar() internal returns (DollarToken coin) {
        coin = new DollarToken();
        coin.mint(address(this), 1e15);
    }

    function openLane(address who, bytes32 salt) internal returns (address) {
        return openLane(who, salt, someTerms(), BOND);
    }

    function openLane(address who, bytes32 salt, ISettlement.Terms memory terms, uint64 bond)
        internal
        returns (address opened)
    {
        token.transfer(who, bond);
        vm.startPrank(who);
        token.approve(address(settlement), type(uint256).max);
        opened = settlement.openLane(salt, terms, bond);
        vm.stopPrank();
    }

    function payeeKey(uint256 i) internal pure returns (uint256) {
        return 1000 + i;
    }

    function payee(uint256 i) internal pure returns (address) {
        return vm.addr(payeeKey(i));
    }

    function consumerKey(uint256 i) internal pure returns (uint256) {
        return 2000 + i;
    }

    function consumer(uint256 i) internal pure returns (address) {
        return vm.addr(consumerKey(i));
    }

    function depositFor(address who, uint64 amount) internal {
        token.approve(address(consumers), amount);
        consumers.deposit(lane, who, amount);
    }

    // ------------------------------------------------------------------ batches

    /// @dev `from` spends `amount`, `to` earns it.
    function spend(uint256 from, uint256 to, uint64 amount) internal {
        debited[from] += amount;
        earned[to] += amount;
    }

    function payouts() internal view virtual returns (Sparse memory) {
        return payoutsOf(earned);
    }

    function debits() internal view virtual returns (Sparse memory) {
        return debitsOf(debited);
    }

    function payoutsOf(uint64[] memory amounts) internal view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](amounts.length);
        for (uint32 i = 1; i < amounts.length; ++i) leaves[i] = Trees.payoutLeaf(lane, i, payee(i), amounts[i]);
        return Trees.dense(leaves);
    }

    function debitsOf(uint64[] memory amounts) internal view returns (Sparse memory) {
        bytes32[] memory leaves = new bytes32[](amounts.length);
        for (uint32 i = 1; i < amounts.length; ++i) leaves[i] = Trees.debitLeaf(lane, i, consumer(i), amounts[i]);
        return Trees.dense(leaves);
    }

    /// @dev Heights as a header holds them.
    function heightsOf(
        uint256 receipts,
        uint256 payouts_,
        uint256 debits_,
        uint256 gateways,
        uint256 parties,
        uint256 runs
    ) internal pure returns (uint48) {
        return uint48(receipts | payouts_ << 8 | debits_ << 16 | gateways << 24 | parties << 32 | runs << 40);
    }

    function idOf(Header memory h) internal pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(h)));
    }

    function noHeader() internal pure returns (Header memory h) {}

    /// @dev The next batch over what was spent. Its receipts, lines and gateways are bare sums: nobody opens them here.
    function nextHeader() internal view virtual returns (Header memory h) {
        return headerOver(payouts(), debits());
    }

    function headerOver(Sparse memory p, Sparse memory d) internal view returns (Header memory h) {
        h.prev = last.era == 0 ? bytes24(0) : idOf(last);
        h.era = settlement.lanes(lane).era;
        h.closedAt = uint40(block.timestamp);
        h.heights = heightsOf(0, p.height, d.height, 0, 0, 0);
        (h.payoutRoot, h.debitRoot) = (p.root(), d.root());
        uint256 charged = Trees.sumOf(h.payoutRoot) - Trees.sumOf(last.payoutRoot);
        (h.receiptsRoot, h.linesRoot) = (bytes32(charged), bytes32(charged));
        h.gatewaysRoot = bytes32(uint256(1)); // one call
    }

    /// @dev Posts the next batch; returns its id.
    function post() internal returns (uint64 id) {
        return post(nextHeader());
    }

    function post(Header memory h) internal returns (uint64 id) {
        return post(h, 0, noHeader());
    }

    /// @dev Posts it, and makes an older batch final in the same transaction, if that one is ripe.
    function post(Header memory h, uint64 older, Header memory olders) internal returns (uint64 id) {
        id = settlement.heads(lane).next;
        vm.prank(operator);
        settlement.commit(lane, h, older, olders);
        last = h;
    }

    /// @dev Posts the next batch and waits until it is final.
    function settle() internal returns (uint64 id) {
        id = post();
        finalizeLast();
    }

    /// @dev A batch in which consumer 1 pays payee 1.
    function spendAndPost(uint64 amount) internal {
        spend(1, 1, amount);
        post();
    }

    function spendAndSettle(uint64 amount) internal {
        spendAndPost(amount);
        finalizeLast();
    }

    function idOfLast() internal view returns (uint64) {
        return settlement.heads(lane).next - 1;
    }

    function finalizeLast() internal {
        vm.warp(settlement.batches(lane, idOfLast()).until);
        settlement.finalize(lane, idOfLast(), last);
    }

    /// @dev The operator posts it in vain.
    function refusesBatch(Header memory h, bytes4 why) internal {
        vm.prank(operator);
        refuses(why);
        settlement.commit(lane, h, 0, noHeader());
    }

    function convict(uint64 id) internal {
        asReferee.convict(lane, id, settlement.batches(lane, id).hash, challenger);
    }

    function setActive(bool active) internal {
        vm.prank(operator);
        settlement.setActive(lane, active);
    }

    function addBond(uint64 amount) internal {
        token.approve(address(settlement), amount);
        settlement.addBond(lane, amount);
    }

    /// @dev A day after a fall the lane has a bond again, and goes on from what is final.
    function rise() internal {
        vm.warp(block.timestamp + DAY);
        addBond(BOND);
        setActive(true);
        if (settlement.heads(lane).finalized == 0) delete last;
    }

    // ------------------------------------------------------------------ consumers

    function asksToLeave(uint256 who) internal {
        vm.prank(consumer(who));
        consumers.requestWithdraw(lane);
    }

    /// @dev It asks, and its notice has passed.
    function leavesSoon(uint256 who) internal {
        asksToLeave(who);
        vm.warp(block.timestamp + NOTICE + 1);
    }

    /// @dev A consumer takes what its final debit leaves it, by the tree of what was debited.
    function takeRest(uint256 who) internal {
        bytes32[] memory proof = debits().prove(who);
        settlement.withdraw(lane, consumer(who), debited[who], proof);
    }

    // ------------------------------------------------------------------ signatures

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The same signature's other spelling: s' = n - s.
    function highS(bytes memory signature) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s, uint8 v) = cut(signature);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        return abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
    }

    function cut(bytes memory signature) internal pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
    }

    function tollwayDigest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", settlement.DOMAIN_SEPARATOR(), structHash));
    }

    function voucher(uint256 key, address lane_, address account, uint64 cumMax) internal view returns (bytes memory) {
        bytes32 typehash = keccak256("Voucher(address lane,address account,uint64 cumMax)");
        return signed(key, tollwayDigest(keccak256(abi.encode(typehash, lane_, account, cumMax))));
    }

    /// @dev An ERC-3009 authorization; `receive_` for one that only the payee may submit.
    function authorization(
        uint256 key,
        bool receive_,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) internal view returns (bytes memory) {
        string memory fields =
            "WithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        bytes32 typehash = keccak256(bytes(string.concat(receive_ ? "Receive" : "Transfer", fields)));
        bytes32 hash = keccak256(abi.encode(typehash, vm.addr(key), to, value, validAfter, validBefore, nonce));
        return signed(key, keccak256(abi.encodePacked(hex"1901", domain().DOMAIN_SEPARATOR(), hash)));
    }

    function auth() internal view returns (IAuthorizations) {
        return IAuthorizations(address(token));
    }

    function domain() internal view returns (ITokenDomain) {
        return ITokenDomain(address(token));
    }
}
