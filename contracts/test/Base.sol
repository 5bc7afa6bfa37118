// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IAuthorizations} from "../src/interfaces/IAuthorizations.sol";
import {IBidBook} from "../src/interfaces/IBidBook.sol";
import {IInboxes} from "../src/interfaces/IInboxes.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {IStakeVault} from "../src/interfaces/IStakeVault.sol";
import {MockToken} from "./Tokens.sol";
import {Trees} from "./Trees.sol";
import {Vm} from "./Vm.sol";

/// @dev A network deployed from the committed artifacts, with one lane, three consumers, four payees and a challenger.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public IS_TEST = true;
    address[16] private _payees;
    address[16] private _consumers;

    uint64 internal constant NONE = type(uint64).max;
    uint64 internal constant BOND = 1_000_000;
    uint64 internal constant MIN_BOND = 1_000;
    uint32 internal constant WINDOW = 1 days;
    uint32 internal constant ANSWER = 1 hours;
    uint32 internal constant NOTICE = 5 minutes;
    uint256 internal constant FEE = 0.001 ether;
    uint64 internal constant DEPOSIT = 10_000;
    uint256 internal constant PAYEES = 4;
    uint256 internal constant CONSUMERS = 3;

    IERC20 internal token;
    ISettlement internal settlement;
    IReferee internal referee;
    IRegistry internal registry;
    IBidBook internal bidBook;
    IStakeVault internal vault;
    uint32 internal lane;

    address internal treasury = address(0x7EA5);
    address internal operator = vm.addr(1);
    address internal challenger = vm.addr(2);
    address internal stranger = vm.addr(3);

    /// @dev Cumulative amounts by index, as an honest ledger would hold them.
    uint64[] internal earned;
    uint64[] internal debited;
    ISettlement.Header internal last;

    // ------------------------------------------------------------------ a world

    constructor() {
        for (uint256 i; i < 16; ++i) (_payees[i], _consumers[i]) = (vm.addr(payeeKey(i)), vm.addr(consumerKey(i)));
    }

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        token = IERC20(create("AICoin", abi.encode(address(this), uint256(1e18))));
        deployAround(address(token));
        lane = openLane(operator);
        for (uint256 i = 1; i <= PAYEES; ++i) registry.registerPayee(payee(i));
        for (uint256 i = 1; i <= CONSUMERS; ++i) depositFor(consumer(i), DEPOSIT);
        earned = new uint64[](PAYEES + 1);
        debited = new uint64[](CONSUMERS + 1);
        vm.deal(challenger, 1 ether);
    }

    function deployAround(address coin) internal {
        registry = IRegistry(create("Registry", ""));
        bidBook = IBidBook(create("BidBook", abi.encode(uint32(1 hours))));
        address maker = create("RefereeMaker", "");
        settlement = ISettlement(
            create("Settlement", abi.encode(coin, maker, registry, bidBook, treasury, FEE, MIN_BOND, NOTICE))
        );
        referee = IReferee(settlement.referee());
        vault = IStakeVault(settlement.stakeVault());
    }

    /// @dev The same network around another token.
    function deployFor(MockToken coin) internal returns (MockToken) {
        coin.mint(address(this), 1e15);
        token = coin;
        deployAround(address(coin));
        lane = openLane(operator);
        for (uint256 i = 1; i <= PAYEES; ++i) registry.registerPayee(payee(i));
        for (uint256 i = 1; i <= CONSUMERS; ++i) depositFor(consumer(i), DEPOSIT);
        return coin;
    }

    /// @dev Creates a contract from its committed artifact.
    function create(string memory name, bytes memory arguments) internal returns (address made) {
        string memory json = vm.readFile(string.concat("artifacts/", name, ".json"));
        bytes memory code = bytes.concat(vm.parseJsonBytes(json, ".bytecode"), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        require(made != address(0), name);
    }

    function openLane(address who) internal returns (uint32) {
        token.transfer(who, BOND);
        vm.startPrank(who);
        token.approve(address(settlement), type(uint256).max);
        uint32 opened = settlement.openLane(WINDOW, ANSWER, BOND);
        vm.stopPrank();
        return opened;
    }

    function payeeKey(uint256 i) internal pure returns (uint256) {
        return 1000 + i;
    }

    function payee(uint256 i) internal view returns (address) {
        return _payees[i];
    }

    function consumerKey(uint256 i) internal pure returns (uint256) {
        return 2000 + i;
    }

    function consumer(uint256 i) internal view returns (address) {
        return _consumers[i];
    }

    function depositFor(address who, uint64 amount) internal {
        token.approve(address(settlement), amount);
        settlement.deposit(lane, who, amount);
    }

    // ------------------------------------------------------------------ batches

    /// @dev `from` spends `amount`, `to` earns it.
    function spend(uint256 from, uint256 to, uint64 amount) internal {
        debited[from] += amount;
        earned[to] += amount;
    }

    function payoutLeaves() internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](earned.length);
        for (uint32 i = 1; i < earned.length; ++i) {
            if (earned[i] != 0) leaves[i] = Trees.leaf(1, i, payee(i), earned[i]);
        }
    }

    function debitLeaves() internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](debited.length);
        for (uint32 i = 1; i < debited.length; ++i) {
            if (debited[i] != 0) leaves[i] = Trees.leaf(2, i, consumer(i), debited[i]);
        }
    }

    /// @dev The next batch over what was spent. Its receipts and lines are bare sums: nobody opens them here.
    function nextHeader() internal view returns (ISettlement.Header memory h) {
        uint256 total = Trees.sumOf(Trees.root(payoutLeaves()));
        uint256 charged = total - Trees.sumOf(last.payoutRoot);
        h.prev = last.payoutRoot == 0 ? bytes32(0) : keccak256(abi.encode(last));
        h.receiptsRoot = bytes32(charged);
        h.payoutRoot = Trees.root(payoutLeaves());
        h.debitRoot = Trees.root(debitLeaves());
        h.linesRoot = bytes32(2 * charged);
        h.firstCall = last.firstCall + last.calls;
        h.calls = 1;
    }

    function noHeader() internal pure returns (ISettlement.Header memory h) {}

    /// @dev Posts the next batch; returns its id.
    function post() internal returns (uint64 id) {
        return post(nextHeader());
    }

    function post(ISettlement.Header memory h) internal returns (uint64 id) {
        id = settlement.head(lane).next;
        vm.prank(operator);
        settlement.commit(lane, h, NONE, noHeader());
        last = h;
    }

    function settle() internal returns (uint64 id) {
        id = post();
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, id, last);
    }

    // ------------------------------------------------------------------ signatures

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function tollwayDigest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", settlement.DOMAIN_SEPARATOR(), structHash));
    }

    function voucher(uint256 key, uint32 lane_, address account, uint64 cumMax) internal view returns (bytes memory) {
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
        bytes32 typehash = receive_
            ? keccak256(
                "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
            )
            : keccak256(
                "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
            );
        bytes32 hash = keccak256(abi.encode(typehash, vm.addr(key), to, value, validAfter, validBefore, nonce));
        bytes32 separator = ITokenDomain(address(token)).DOMAIN_SEPARATOR();
        return signed(key, keccak256(abi.encodePacked(hex"1901", separator, hash)));
    }

    function auth() internal view returns (IAuthorizations) {
        return IAuthorizations(address(token));
    }

    function domain() internal view returns (ITokenDomain) {
        return ITokenDomain(address(token));
    }

    function inboxOf(uint32 lane_) internal view returns (address) {
        return IInboxes(settlement.inboxes()).inboxOf(lane_);
    }

    /// @dev The same signature's other spelling: s' = n - s.
    function highS(bytes memory signature) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s, uint8 v) = cut(signature);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        return abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
    }

    /// @dev EIP-2098: 64 bytes.
    function short(bytes memory signature) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s, uint8 v) = cut(signature);
        return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    function cut(bytes memory signature) internal pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
    }

    // ------------------------------------------------------------------ assertions

    function eq(uint256 left, uint256 right, string memory what) internal pure {
        vm.assertEq(left, right, what);
    }

    function refuses(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }
}

interface ITokenDomain {
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    function nonces(address owner) external view returns (uint256);
}
