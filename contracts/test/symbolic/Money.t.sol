// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Trees} from "../Trees.sol";
import {Vm} from "../Vm.sol";

/// @dev Read by halmos (`make symbolic`): money of Settlement itself, over AICoin itself, for every amount. What runs is
/// the committed artifacts, the bytes a chain gets; `make symbolic` hands them over in the environment.
contract SymbolicMoney {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint64 private constant NONE = type(uint64).max;
    uint32 private constant WINDOW = 1 days;
    uint32 private constant LANE = 1;
    address private constant ALICE = address(0xA11CE);
    address private constant BOB = address(0xB0B);
    address private constant MAKER = address(0x3A4E);
    address private constant MINER = address(0x313E);

    IERC20 private token;
    ISettlement private settlement;
    ISettlement.Header private last;
    uint64 private posted;

    function setUp() public {
        vm.warp(1_800_000_000);
        token = IERC20(_create("AICoin", abi.encode(address(this), uint256(1e18))));
        address registry = _create("Registry", "");
        address book = _create("BidBook", abi.encode(uint32(1 hours)));
        address maker = _create("RefereeMaker", "");
        bytes memory made = abi.encode(token, maker, registry, book, address(this), 1, uint64(1), uint32(0));
        settlement = ISettlement(_create("Settlement", made));
        token.approve(address(settlement), type(uint256).max);
        settlement.openLane(WINDOW, 1 hours, 1);
    }

    /// @dev C3. Through two final batches: a claim pays the difference and touches no neighbour, a repeated one nothing.
    function check_AClaimPaysWhatIsFinalAndWasNotPaid(uint64 deposited, uint64 first, uint64 second, uint64 other)
        external
    {
        vm.assume(deposited != 0 && deposited < 1e18);
        vm.assume(first <= second && second <= deposited && other <= deposited - second);
        settlement.deposit(LANE, ALICE, deposited);
        bytes32[] memory payouts = _leaves(1, MAKER, first, MINER, other);
        _settle(payouts, _leaves(2, ALICE, first + other, BOB, 0), first + other);
        assert(settlement.claim(LANE, 1, MAKER, first, _proof(payouts, 1)) == first);
        payouts = _leaves(1, MAKER, second, MINER, other);
        _settle(payouts, _leaves(2, ALICE, second + other, BOB, 0), second - first);
        assert(settlement.claim(LANE, 1, MAKER, second, _proof(payouts, 1)) == second - first);
        assert(settlement.claim(LANE, 1, MAKER, second, _proof(payouts, 1)) == 0);
        assert(settlement.claimed(LANE, 1) == second && token.balanceOf(MAKER) == second);
        assert(settlement.claimed(LANE, 2) == 0 && token.balanceOf(MINER) == 0);
        assert(settlement.claim(LANE, 2, MINER, other, _proof(payouts, 2)) == other);
        assert(settlement.claimed(LANE, 1) == second && token.balanceOf(MINER) == other);
        assert(token.balanceOf(address(settlement)) == uint256(deposited) + 1 - second - other);
    }

    /// @dev C5 and C2. Who leaves takes what it put in less what is finally debited, once; what is final stays covered.
    function check_AnExitTakesWhatIsNotFinallyDebited(uint64 alices, uint64 bobs, uint64 hers, uint64 his) external {
        vm.assume(alices != 0 && bobs != 0 && alices < 1e17 && bobs < 1e17);
        vm.assume(hers < 1e17 && his < 1e17 && hers + his <= alices + bobs);
        settlement.deposit(LANE, ALICE, alices);
        settlement.deposit(LANE, BOB, bobs);
        vm.prank(ALICE);
        settlement.requestWithdraw(LANE);
        vm.warp(1_800_000_001);
        bytes32[] memory debits = _leaves(2, ALICE, hers, BOB, his);
        _settle(_leaves(1, MAKER, hers + his, MINER, 0), debits, hers + his);
        bytes32[] memory proof = _proof(debits, 1);
        try settlement.withdraw(LANE, ALICE, hers, proof) {
            uint64 amount = alices > hers ? alices - hers : 0;
            assert(token.balanceOf(ALICE) == amount);
            assert(settlement.accounts(LANE, ALICE).withdrawn == amount);
            assert(settlement.lanes(LANE).net == alices + bobs - amount && alices + bobs - amount >= hers + his);
            assert(settlement.accounts(LANE, BOB).deposited == bobs && settlement.accounts(LANE, BOB).withdrawn == 0);
            try settlement.withdraw(LANE, ALICE, hers, proof) {
                assert(false);
            } catch {}
        } catch {
            assert(his > bobs); // only where a final batch owes more than the lane would hold
        }
    }

    /// @dev Four leaves: nobody, one, another, nobody. An account without an amount is not there.
    function _leaves(uint8 kind, address one, uint64 ones, address another, uint64 anothers)
        private
        pure
        returns (bytes32[] memory leaves)
    {
        leaves = new bytes32[](4);
        if (ones != 0) leaves[1] = Trees.leaf(kind, 1, one, ones);
        if (anothers != 0) leaves[2] = Trees.leaf(kind, 2, another, anothers);
    }

    function _proof(bytes32[] memory leaves, uint256 index) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](2);
        proof[0] = leaves[index ^ 1];
        proof[1] = index < 2 ? Trees.parent(leaves[2], leaves[3]) : Trees.parent(leaves[0], leaves[1]);
    }

    function _root(bytes32[] memory leaves) private pure returns (bytes32) {
        return Trees.parent(Trees.parent(leaves[0], leaves[1]), Trees.parent(leaves[2], leaves[3]));
    }

    /// @dev A batch that charges `charged` is posted, and final.
    function _settle(bytes32[] memory payouts, bytes32[] memory debits, uint64 charged) private {
        ISettlement.Header memory header = last;
        header.prev = posted == 0 ? bytes32(0) : keccak256(abi.encode(header));
        (header.payoutRoot, header.debitRoot) = (_root(payouts), _root(debits));
        header.receiptsRoot = Trees.mark(keccak256("receipts"), charged);
        header.linesRoot = Trees.mark(keccak256("lines"), 2 * charged);
        header.firstCall = posted;
        header.calls = 1;
        settlement.commit(LANE, header, NONE, header);
        last = header;
        ++posted;
        vm.warp(block.timestamp + WINDOW + 1);
        settlement.finalize(LANE, posted, header);
    }

    function _create(string memory name, bytes memory arguments) private returns (address made) {
        bytes memory code = bytes.concat(vm.envBytes(name), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        assert(made != address(0));
    }
}
