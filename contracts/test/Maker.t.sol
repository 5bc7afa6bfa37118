// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMaker} from "../src/interfaces/IMaker.sol";
import {TestJudge} from "./Judges.sol";
import {World} from "./World.sol";

/// @dev Anybody may ask for a judge, so what is made depends on the maker alone.
contract MakerTest is World {
    address private constant SETTLEMENT = address(0x5E7);

    IMaker private judges;
    bytes private code = type(TestJudge).creationCode;

    function setUp() external {
        judges = IMaker(create("Maker", abi.encode(keccak256(code))));
    }

    function test_Make_OneJudgeForASettlementAndItsArguments() external {
        vm.assertEq(judges.judgeOf(SETTLEMENT, "1"), address(0), "none yet");
        address judge = judges.make(SETTLEMENT, code, "1");
        vm.assertEq(keccak256(judge.code), keccak256(address(new TestJudge(SETTLEMENT)).code), "of this Settlement");
        vm.prank(stranger);
        vm.assertEq(judges.make(SETTLEMENT, code, "1"), judge, "asked again");
        vm.assertEq(judges.judgeOf(SETTLEMENT, "1"), judge, "found");
        vm.assertTrue(judges.make(SETTLEMENT, code, "2") != judge, "other arguments");
        vm.assertTrue(judges.make(stranger, code, "1") != judge, "another Settlement");
        vm.assertEq(judges.judgeOf(SETTLEMENT, "1"), judge, "as before");
    }

    function test_RevertWhen_TheCodeIsAnother() external {
        bytes memory longer = bytes.concat(code, hex"00");
        bytes32[2] memory hashes = [keccak256(longer), keccak256(code)];
        vm.expectRevert(abi.encodeWithSelector(IMaker.CodeWrong.selector, hashes[0], hashes[1]));
        judges.make(SETTLEMENT, longer, "1");
        vm.assertEq(judges.judgeOf(SETTLEMENT, "1"), address(0), "none");
    }

    function test_RevertWhen_TheJudgeRefusesWhatItIsMadeWith() external {
        bytes memory picky = type(PickyJudge).creationCode;
        judges = IMaker(create("Maker", abi.encode(keccak256(picky))));
        vm.expectRevert(abi.encodeWithSelector(PickyJudge.Refused.selector, uint256(7)));
        judges.make(SETTLEMENT, picky, abi.encode(uint256(7)));
        vm.assertEq(judges.judgeOf(SETTLEMENT, abi.encode(uint256(7))), address(0), "none");
    }
}

contract PickyJudge {
    error Refused(uint256 argument);

    constructor(address, uint256 argument) {
        revert Refused(argument);
    }
}
