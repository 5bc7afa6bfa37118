// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Header} from "../../src/Headers.sol";
import {LaneVault} from "../../src/LaneVault.sol";
import {IMaker} from "../../src/interfaces/IMaker.sol";
import {ISettlement} from "../../src/interfaces/ISettlement.sol";
import {FeeToken, WeiToken} from "../Tokens.sol";
import {Base} from "../Base.sol";
import {Sparse, Trees} from "../Trees.sol";

interface Described {
    function eip712Domain()
        external
        view
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory);
}

/// @dev An operator's life: its lane, its bond, its pause.
contract LanesTest is Base {
    using Trees for Sparse;

    // ------------------------------------------------------------------ opening

    function test_OpenLane_HoldsTheBondApartFromTheLanesMoney() external view {
        eq(token.balanceOf(address(settlement)), BOND, "the bond lies at Settlement");
        eq(token.balanceOf(lane), CONSUMERS * DEPOSIT, "deposits lie at the lane");
        ISettlement.Lane memory l = settlement.lanes(lane);
        vm.assertEq(l.operator, operator, "operator");
        vm.assertTrue(l.active && l.era == 1, "it takes deposits and batches at once");
        eq(settlement.books(lane).bond, BOND, "bond");
        eq(settlement.lives(lane).activeSince, block.timestamp, "active since");
    }

    function testFuzz_OpenLane_TheAddressFollowsFromOperatorSaltAndTerms(bytes32 salt, uint64 minDeposit) external {
        ISettlement.Terms memory terms = someTerms();
        terms.minDeposit = minDeposit;
        vm.assume(salt != 0 || minDeposit != terms.minDeposit);
        bytes32 vaultSalt = keccak256(abi.encode(stranger, salt, terms));
        bytes memory code = vm.parseJsonBytes(vm.readFile("artifacts/LaneVault.json"), ".bytecode");
        bytes32 codeHash = keccak256(bytes.concat(code, abi.encode(token, consumers)));
        address expected =
            address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", settlement, vaultSalt, codeHash)))));
        vm.assertEq(openLane(stranger, salt, terms, BOND), expected, "known before it is made");
    }

    function test_RevertWhen_TheSameLaneIsOpenedTwice() external {
        token.transfer(operator, BOND);
        ISettlement.Terms memory terms = someTerms();
        vm.prank(operator);
        vm.expectRevert();
        settlement.openLane(0, terms, BOND);
        vm.assertTrue(openLane(operator, "other") != lane, "another salt");
        vm.assertTrue(openLane(stranger, 0) != lane, "another operator");
        terms.leverage = 2;
        vm.assertTrue(openLane(operator, 0, terms, BOND) != lane, "other terms");
    }

    function testFuzz_RevertWhen_TermsAreOutOfRange(uint24 window, uint24 answerTime, uint8 leverage) external {
        ISettlement.Terms memory terms = ISettlement.Terms(window, answerTime, leverage, 1);
        bool bounded = window >= WINDOW && window <= 30 days && answerTime >= ANSWER && answerTime <= 3 days
            && leverage != 0 && leverage <= MAX_LEVERAGE;
        _opens(terms, bounded);
    }

    function test_OpenLane_AtEachBound() external {
        _opens(ISettlement.Terms(WINDOW - 1, ANSWER, 1, 1), false);
        _opens(ISettlement.Terms(30 days, ANSWER, 1, 1), true);
        _opens(ISettlement.Terms(30 days + 1, ANSWER, 1, 1), false);
        _opens(ISettlement.Terms(WINDOW, ANSWER - 1, 1, 1), false);
        _opens(ISettlement.Terms(WINDOW, 3 days, 1, 1), true);
        _opens(ISettlement.Terms(WINDOW, 3 days + 1, 1, 1), false);
        _opens(ISettlement.Terms(WINDOW, ANSWER, 0, 1), false);
        _opens(ISettlement.Terms(WINDOW, ANSWER, MAX_LEVERAGE, 1), true);
        _opens(ISettlement.Terms(WINDOW, ANSWER, MAX_LEVERAGE + 1, 1), false);
        _opens(ISettlement.Terms(0, 0, 1, 1), false); // F9: a lane nobody could object to
    }

    function test_RevertWhen_TheBondIsBelowTheLeast() external {
        token.transfer(stranger, BOND);
        vm.startPrank(stranger);
        token.approve(address(settlement), BOND);
        refuses(ISettlement.BondTooSmall.selector);
        settlement.openLane(0, someTerms(), MIN_BOND - 1);
        settlement.openLane(0, someTerms(), MIN_BOND);
    }

    function test_RevertWhen_ABondPaysATokensFee() external {
        FeeToken coin = new FeeToken();
        token = coin;
        coin.mint(stranger, BOND);
        deployAround();
        vm.startPrank(stranger);
        coin.approve(address(settlement), BOND);
        refuses(ISettlement.NotReceived.selector);
        settlement.openLane(0, someTerms(), BOND);
    }

    // ------------------------------------------------------------------ deployment

    function test_RevertWhen_RulesAreOutOfRange() external {
        ISettlement.Rules memory r = rules();
        _deploys(r, true);
        r.minBond = 0;
        _deploys(r, false);
        r = rules();
        r.maxLeverage = 0;
        _deploys(r, false);
        r = rules();
        r.minWindow = 0;
        _deploys(r, false);
        r.minWindow = 30 days;
        _deploys(r, true);
        r.minWindow += 1;
        _deploys(r, false);
        r = rules();
        r.minAnswerTime = 0;
        _deploys(r, false);
        r.minAnswerTime = 3 days;
        _deploys(r, true);
        r.minAnswerTime += 1;
        _deploys(r, false);
        r = rules();
        r.exitNotice = DAY;
        _deploys(r, true);
        r.exitNotice += 1;
        _deploys(r, false);
        r = rules();
        (r.exitNotice, r.day) = (0, 0);
        _deploys(r, false);
        r.day = 1;
        _deploys(r, true);
        r.day = 3.5 days;
        _deploys(r, true);
        r.day += 1;
        _deploys(r, false);
        treasury = address(0);
        _deploys(rules(), false);
    }

    function test_RevertWhen_TheTokenHasMoreThanNineDecimals() external {
        token = IERC20(address(new WeiToken()));
        _deploys(rules(), false);
    }

    function test_Rules_AreWhatWasDeployed() external view {
        vm.assertEq(keccak256(abi.encode(settlement.rules())), keccak256(abi.encode(rules())), "rules");
        vm.assertEq(settlement.token(), address(token), "token");
        vm.assertEq(settlement.treasury(), treasury, "treasury");
    }

    function testFuzz_TheDomainDescribesItselfAndSurvivesAFork(uint64 chain) external {
        vm.assume(chain != 0);
        for (uint256 i; i < 2; ++i) {
            (bytes1 fields, string memory name, string memory version, uint256 id, address where,,) =
                Described(address(settlement)).eip712Domain();
            vm.assertTrue(fields == 0x0f && id == block.chainid && where == address(settlement), "fields");
            bytes32 expected = keccak256(
                abi.encode(
                    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                    keccak256(bytes(name)),
                    keccak256(bytes(version)),
                    id,
                    where
                )
            );
            vm.assertEq(settlement.DOMAIN_SEPARATOR(), expected, "separator");
            vm.assertEq(keccak256(abi.encode(name, version)), keccak256(abi.encode("Tollway", "2")), "name");
            vm.chainId(chain);
        }
    }

    // ------------------------------------------------------------------ keys of a lane

    function test_SetPoster_LetsASecondKeyCommit() external {
        vm.prank(stranger);
        refuses(ISettlement.NotOperator.selector);
        settlement.setPoster(lane, stranger);
        vm.prank(operator);
        settlement.setPoster(lane, stranger);
        last = nextHeader();
        vm.prank(stranger);
        settlement.commit(lane, last, 0, noHeader());
        vm.prank(operator);
        settlement.setPoster(lane, address(0));
        last = nextHeader();
        vm.prank(stranger);
        refuses(ISettlement.NotOperator.selector);
        settlement.commit(lane, last, 0, noHeader());
    }

    // ------------------------------------------------------------------ bonds

    function test_AddBond_IsAnybodys() external {
        token.transfer(stranger, 7);
        vm.startPrank(stranger);
        token.approve(address(settlement), 7);
        settlement.addBond(lane, 7);
        eq(settlement.books(lane).bond, BOND + 7, "added");
        refuses(ISettlement.LaneInactive.selector);
        settlement.addBond(address(99), 7);
    }

    function testFuzz_RevertWhen_ABondIsAddedWithoutItsMoney(uint64 amount) external {
        vm.assume(amount != 0);
        vm.prank(stranger);
        vm.expectRevert();
        settlement.addBond(lane, amount);
        eq(settlement.books(lane).bond, BOND, "unchanged");
    }

    function test_Unbond_PaysWhenTheLaneStoodStillAndNothingPends() external {
        vm.prank(stranger);
        refuses(ISettlement.NotOperator.selector);
        settlement.unbond(lane);
        vm.startPrank(operator);
        refuses(ISettlement.LaneActiveStill.selector);
        settlement.unbond(lane);
        last = nextHeader();
        settlement.commit(lane, last, 0, noHeader());
        settlement.setActive(lane, false);
        vm.warp(block.timestamp + 7 days);
        refuses(ISettlement.BatchesPending.selector);
        settlement.unbond(lane);
        vm.stopPrank();
        settlement.finalize(lane, 1, last);
        vm.startPrank(operator);
        settlement.unbond(lane);
        eq(token.balanceOf(operator), BOND, "all of it");
        refuses(ISettlement.ZeroAmount.selector);
        settlement.unbond(lane);
        refuses(ISettlement.BondTooSmall.selector);
        settlement.setActive(lane, true);
    }

    function test_RevertWhen_ABondLeavesBeforeItsTime() external {
        vm.startPrank(operator);
        settlement.setActive(lane, false);
        vm.warp(block.timestamp + 7 days - 1);
        settlement.setActive(lane, false); // changes nothing
        refuses(ISettlement.TooEarly.selector);
        settlement.unbond(lane);
        settlement.setActive(lane, true);
        settlement.setActive(lane, false); // begins anew
        vm.warp(block.timestamp + 1);
        refuses(ISettlement.TooEarly.selector);
        settlement.unbond(lane);
        vm.warp(block.timestamp + 7 days - 1);
        settlement.unbond(lane);
    }

    // ------------------------------------------------------------------ pausing

    function test_C6_APauseStopsCommitsAndDepositsOnly() external {
        spend(1, 1, 100);
        asksToLeave(1);
        vm.warp(block.timestamp + NOTICE + 1);
        post();
        vm.prank(stranger);
        refuses(ISettlement.NotOperator.selector);
        settlement.setActive(lane, false);
        setActive(false);
        token.approve(address(consumers), 1);
        refuses(ISettlement.LaneInactive.selector);
        consumers.deposit(lane, consumer(1), 1);
        vm.warp(block.timestamp + WINDOW);
        settlement.finalize(lane, 1, last);
        settlement.claim(lane, 1, payee(1), 100, payouts().prove(1));
        takeRest(1);
        asksToLeave(2);
        Header memory next = nextHeader();
        refusesBatch(next, ISettlement.LaneInactive.selector);
        setActive(true);
        post();
    }

    function test_SetActive_APauseMovesNothingThatDisputesReckonWith() external {
        uint40 since = settlement.lives(lane).activeSince;
        vm.warp(block.timestamp + 10);
        vm.startPrank(operator);
        settlement.setActive(lane, false);
        vm.warp(block.timestamp + 10);
        settlement.setActive(lane, true);
        eq(settlement.lives(lane).activeSince, since, "omissions count from where they did");
        eq(settlement.lanes(lane).era, 1, "the era goes on");
    }

    // ------------------------------------------------------------------ vaults

    function test_RevertWhen_AnybodyButItsMakersMovesAVault() external {
        uint256[] memory rows = new uint256[](1);
        rows[0] = (uint256(uint160(stranger)) << 64) | 1;
        address[4] memory callers = [operator, stranger, address(consumers), address(asReferee)];
        for (uint256 i; i < 4; ++i) {
            vm.prank(callers[i]);
            refuses(LaneVault.NotAllowed.selector);
            LaneVault(lane).pay(rows);
        }
        vm.prank(address(settlement));
        refuses(LaneVault.NotAllowed.selector);
        LaneVault(lane).receiveAuthorized(stranger, 1, 0, 1, 0, "");
        eq(token.allowance(lane, address(settlement)), 0, "no allowance");
        eq(token.allowance(lane, address(consumers)), 0, "none");
    }

    // ------------------------------------------------------------------ inside

    function _opens(ISettlement.Terms memory terms, bool bounded) private {
        token.transfer(stranger, MIN_BOND);
        vm.startPrank(stranger);
        token.approve(address(settlement), MIN_BOND);
        if (!bounded) refuses(ISettlement.TermsOutOfRange.selector);
        settlement.openLane("bounds", terms, MIN_BOND);
        vm.stopPrank();
    }

    function _deploys(ISettlement.Rules memory r, bool lawful) private {
        IMaker[3] memory m = judged();
        string memory json = vm.readFile("artifacts/Settlement.json");
        bytes memory given = abi.encode(token, treasury, r, m, _arguments);
        bytes memory code = bytes.concat(vm.parseJsonBytes(json, ".bytecode"), given);
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        vm.assertTrue((made != address(0)) == lawful, "deployed");
    }
}
