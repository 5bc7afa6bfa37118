// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Header} from "../../src/Headers.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {Vm} from "../Vm.sol";

/// @dev What halmos adds to the cheatcodes.
interface Svm {
    function enableSymbolicStorage(address account) external;
}

/// @dev Settlement and AICoin themselves, the committed artifacts, in **every** state: nothing is known of what they store
/// but what a law assumes. So a law is a step of an induction: what it assumes of a state, it shows of the next one. The
/// vaults of two lanes are there; this contract is every judge, and may be any operator.
abstract contract EveryState {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Svm private constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));
    uint256 internal constant SUPPLY = 1e18;
    uint64 internal constant MIN_BOND = 1_000;
    uint32 internal constant NOTICE = 5 minutes;
    address internal constant TREASURY = address(0x7EA5);

    IERC20 internal token;
    ISettlement internal settlement;
    address internal lane;
    address internal other;

    function setUp() public {
        vm.warp(1_800_000_000);
        token = IERC20(_create("AICoin", abi.encode(address(this), SUPPLY)));
        ISettlement.Rules memory rules = ISettlement.Rules(MIN_BOND, 4, 1 days, 1 hours, NOTICE, 1 days);
        address[3] memory makers = [address(this), address(this), address(this)];
        bytes[3] memory arguments;
        settlement = ISettlement(_create("Settlement", abi.encode(token, TREASURY, rules, makers, arguments)));
        (lane, other) = (_vault(), _vault());
        svm.enableSymbolicStorage(address(token));
        svm.enableSymbolicStorage(address(settlement));
    }

    /// @dev As a maker of judges: this contract is all of them.
    function judgeOf(address, bytes calldata) external view returns (address) {
        return address(this);
    }

    // ------------------------------------------------------------------ what is assumed

    /// @dev C2, C3 and C7 of the lane. Returns its books and what its vault holds.
    function sound() internal view returns (ISettlement.Books memory b, uint256 held) {
        (b, held) = (settlement.books(lane), token.balanceOf(lane));
        vm.assume(b.paid <= b.settled && b.settled <= b.net);
        vm.assume(held <= SUPPLY && held >= b.net - b.paid);
    }

    /// @dev Ids in order, and no more batches that wait than the ring holds; counters far from their end.
    function ordered() internal view returns (ISettlement.Head memory h) {
        h = settlement.heads(lane);
        vm.assume(h.finalized < h.next && h.next - h.finalized <= 129 && h.next < type(uint32).max);
        vm.assume(settlement.lanes(lane).era < type(uint32).max - 1);
    }

    /// @dev A time in the next 17,000 years.
    function setTime(uint40 time) internal {
        vm.assume(time >= 1_800_000_000 && time < 1 << 39);
        vm.warp(time);
    }

    /// @dev Two headers of one id are one header: 192 bits of keccak256 do not collide.
    function distinct(Header memory one, Header memory another) internal pure {
        vm.assume(one.era == another.era || idOf(one) != idOf(another));
    }

    // ------------------------------------------------------------------ what is written plainly

    function idOf(Header memory h) internal pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(h)));
    }

    /// @dev A header of trees without levels: heights decide how long a window is, and what is too tall; nothing else here.
    function flat(Header calldata header) internal pure returns (Header memory h) {
        h = header;
        h.heights = 0;
    }

    /// @dev One of 0, 1, 2, 3: a number that is known on each path.
    function oneOf(uint256 choice) internal pure returns (uint32 i) {
        while (i < 3 && choice != i) ++i;
    }

    // ------------------------------------------------------------------ inside

    function _create(string memory name, bytes memory arguments) private returns (address made) {
        bytes memory code = bytes.concat(vm.envBytes(name), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        assert(made != address(0));
    }

    /// @dev A vault, as Settlement makes it.
    function _vault() private returns (address made) {
        bytes memory code = bytes.concat(vm.envBytes("LaneVault"), abi.encode(token, settlement.consumers()));
        vm.prank(address(settlement));
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        assert(made != address(0));
    }
}
