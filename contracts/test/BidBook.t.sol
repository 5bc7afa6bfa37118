// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, Meters} from "../src/Meters.sol";
import {Role} from "../src/Roles.sol";
import {Histories} from "../src/Histories.sol";
import {IBidBook} from "../src/interfaces/IBidBook.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {MockToken} from "./Tokens.sol";
import {World} from "./World.sol";

/// @dev Bids by epoch, and their provable past.
contract BidBookTest is World {
    bytes32 private constant MODEL = keccak256("model");
    uint256 private constant HOUR = 1 hours;
    /// @dev The tests begin in the middle of this epoch.
    uint32 private constant NOW = 500_000;

    IRegistry private registry;
    IBidBook private book;

    /// @dev Bids of the random life as placed: for its plain reading of who is in force.
    Placed[] private _placed;

    struct Placed {
        uint64 price;
        uint32 from;
    }

    function setUp() external {
        vm.warp(NOW * HOUR + HOUR / 2);
        address token = address(new MockToken());
        registry = IRegistry(create("Registry", abi.encode(token, uint64(1_000), uint32(HOUR), uint32(300))));
        book = IBidBook(create("BidBook", abi.encode(registry)));
    }

    // ------------------------------------------------------------------ when a bid enters

    function test_AFirstBidEntersAtTheNextEpoch_ARaiseOneLater() external {
        _bid(10);
        eq(_from(), NOW + 1, "a first bid");
        vm.warp((NOW + 2) * HOUR);
        _bid(20);
        eq(_from(), NOW + 4, "a raise gives an epoch's notice");
    }

    function test_InTheLastSecondsOfAnEpoch_TheNextOnesBookIsClosed() external {
        vm.warp((NOW + 1) * HOUR - 301);
        eq(book.frozenEpoch(), NOW, "open");
        _bid(10);
        eq(_from(), NOW + 1, "just in time");
        vm.warp((NOW + 1) * HOUR - 300);
        eq(book.frozenEpoch(), NOW + 1, "closed");
        _lower(9, _made(10, NOW + 1));
        eq(_from(), NOW + 2, "too late for the next");
        _bid(20);
        eq(_from(), NOW + 3, "and a raise");
    }

    function test_LowerBid_EntersAnEpochEarlier_IfItShowsThePrevious() external {
        _bid(10);
        vm.warp((NOW + 3) * HOUR);
        _lower(9, _made(10, NOW + 1));
        eq(_from(), NOW + 4, "next epoch");
        vm.prank(provider);
        refuses(IBidBook.BidUnknown.selector);
        book.lowerBid(MODEL, Role.compute, 0, asksOf(9), _made(30, NOW + 4)); // was never placed
        vm.prank(stranger);
        refuses(IBidBook.BidUnknown.selector);
        book.lowerBid(MODEL, Role.compute, 0, asksOf(9), _made(9, NOW + 4)); // was another's
    }

    function test_RevertWhen_ALowerBidRaisesAnything() external {
        Ask[] memory asks = asksOf(1, 10, 2, 4); // input and cached input
        vm.prank(provider);
        book.placeBid(MODEL, Role.compute, 0, asks);
        IBidBook.Bid memory previous = IBidBook.Bid(0, asks, NOW + 1);
        _refusesLower(asksOf(1, 11, 2, 4), previous, 1);
        _refusesLower(asksOf(1, 10, 2, 5), previous, 2);
        _refusesLower(asksOf(1, 10, 3, 11), previous, 2); // cached units would be counted as input
        _refusesLower(asksOf(1, 10), previous, 2);
        _refusesLower(asksOf(1, 10, 12, 1), previous, 2);
        asks = new Ask[](3);
        (asks[0], asks[1], asks[2]) = (Ask(1, 10), Ask(2, 4), Ask(12, 1)); // ms were free
        _refusesLower(asks, previous, 12);
        asks[2] = Ask(12, 0);
        vm.prank(provider);
        book.lowerBid(MODEL, Role.compute, 0, asks, previous); // free as before
        vm.startPrank(maker);
        book.placeBid(MODEL, Role.maker, 100, noAsks());
        refuses(IBidBook.RaisesTheRatio.selector);
        book.lowerBid(MODEL, Role.maker, 101, noAsks(), IBidBook.Bid(100, noAsks(), NOW + 1));
        vm.stopPrank();
    }

    function test_ASecondBidForTheSameEpochReplacesTheFirst() external {
        _bid(10);
        vm.warp((NOW + 1) * HOUR);
        _bid(20);
        _bid(30);
        (, uint32 from, uint32 number) = book.lastBid(MODEL, Role.compute, provider);
        eq(from, NOW + 3, "one epoch");
        eq(number, 2, "one number");
        vm.warp((NOW + 3) * HOUR);
        vm.assertTrue(_inForce(NOW + 3, 2, _made(30, NOW + 3)), "the later");
        vm.assertTrue(_inForce(NOW + 2, 1, _made(10, NOW + 1)), "until then the first");
        refuses(IBidBook.BidUnknown.selector);
        _inForce(NOW + 3, 2, _made(20, NOW + 3));
    }

    function test_APendingRaiseIsNotUndoneEarly() external {
        _bid(10);
        vm.warp((NOW + 1) * HOUR);
        _bid(20);
        _lower(5, _made(20, NOW + 3));
        eq(_from(), NOW + 3, "with the raise it replaces");
    }

    // ------------------------------------------------------------------ how long it holds

    function test_SilenceIsExit_ForAResourceRole() external {
        _bid(10);
        vm.warp((NOW + 24) * HOUR);
        _bid(90);
        eq(_from(), NOW + 26, "in its last epoch it is still raised with notice");
        vm.warp((NOW + 60) * HOUR);
        vm.assertTrue(_inForce(NOW + 24, 1, _made(10, NOW + 1)), "its last epoch");
        vm.assertFalse(_inForce(NOW + 25, 1, _made(0, 0)), "lapsed, whatever is shown");
        vm.assertTrue(_inForce(NOW + 26, 2, _made(90, NOW + 26)), "the next");
        vm.assertFalse(_inForce(NOW + 50, 2, _made(0, 0)), "lapsed, and the last");
        _bid(100);
        eq(_from(), NOW + 61, "as a first bid");
    }

    function test_OfComputeDeliveryAndCuratorSilenceIsExit_OfOthersItIsNot() external {
        for (uint8 role = 1; role <= uint8(type(Role).max); ++role) {
            vm.prank(provider);
            book.placeBid(MODEL, Role(role), 0, asksOf(10));
        }
        vm.warp((NOW + 25) * HOUR);
        for (uint8 role = 1; role <= uint8(type(Role).max); ++role) {
            bool stands = book.inForce(MODEL, Role(role), provider, NOW + 25, 1, _made(10, NOW + 1));
            bool lapses = Role(role) == Role.compute || Role(role) == Role.delivery || Role(role) == Role.curator;
            vm.assertTrue(stands != lapses, vm.toString(role));
        }
    }

    function test_TheFirstEpochAfterSilenceIsFreeAgain() external {
        _bid(10);
        vm.warp((NOW + 25) * HOUR);
        _bid(90);
        eq(_from(), NOW + 26, "as a first bid");
    }

    function test_AValueRolesBidStandsUntilItIsReplaced() external {
        vm.prank(maker);
        book.placeBid(MODEL, Role.maker, 100_000, asksOf(7));
        IBidBook.Bid memory bid = IBidBook.Bid(100_000, asksOf(7), NOW + 1);
        vm.warp((NOW + 5_000) * HOUR);
        vm.assertTrue(book.inForce(MODEL, Role.maker, maker, NOW + 5_000, 1, bid), "ratio and floor");
        vm.prank(maker);
        book.placeBid(MODEL, Role.maker, 200_000, asksOf(7));
        (, uint32 from,) = book.lastBid(MODEL, Role.maker, maker);
        eq(from, NOW + 5_002, "a raise");
    }

    // ------------------------------------------------------------------ its past

    function test_InForce_SaysNo_BeforeTheFirstBid_OrWithoutOne() external {
        vm.assertFalse(_inForce(NOW, 0, _made(0, 0)), "never");
        _bid(10);
        vm.assertFalse(_inForce(NOW, 0, _made(0, 0)), "not yet");
        vm.warp((NOW + 1) * HOUR);
        refuses(Histories.NotOfEpoch.selector);
        _inForce(NOW + 1, 0, _made(0, 0));
    }

    function test_RevertWhen_AnotherBidWasInForce() external {
        _bid(10);
        vm.warp((NOW + 1) * HOUR);
        _bid(20);
        vm.warp((NOW + 9) * HOUR);
        refuses(Histories.NotOfEpoch.selector);
        _inForce(NOW + 3, 1, _made(10, NOW + 1)); // the second was
        refuses(Histories.NotOfEpoch.selector);
        _inForce(NOW + 2, 2, _made(20, NOW + 3)); // the first was
        refuses(Histories.NumberUnknown.selector);
        _inForce(NOW + 2, 3, _made(20, NOW + 3));
        refuses(IBidBook.BidUnknown.selector);
        _inForce(NOW + 2, 1, _made(11, NOW + 1));
        refuses(IBidBook.BidUnknown.selector);
        _inForce(NOW + 3, 2, _made(10, NOW + 1));
    }

    function test_RevertWhen_AnEpochsBookIsOpen() external {
        _bid(10);
        refuses(IEpochs.EpochOpen.selector);
        _inForce(NOW + 1, 1, _made(10, NOW + 1)); // could still be replaced
        vm.warp((NOW + 1) * HOUR - 300);
        vm.assertTrue(_inForce(NOW + 1, 1, _made(10, NOW + 1)), "closed");
    }

    /// @dev Any life: in each epoch exactly one number has an answer, and it is what the bids as placed say.
    function testFuzz_EachEpochHasOneAnswer(uint256 seed) external {
        uint32 last = NOW;
        for (uint256 i; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(_later(seed));
            _act(seed);
            last = book.frozenEpoch();
        }
        (,, uint32 count) = book.lastBid(MODEL, Role.compute, provider);
        for (uint32 epoch = NOW; epoch <= last; ++epoch) {
            (bool found, IBidBook.Bid memory bid) = _plainly(epoch);
            uint256 answers;
            for (uint32 number; number <= count; ++number) {
                try book.inForce(MODEL, Role.compute, provider, epoch, number, bid) returns (bool answer) {
                    ++answers;
                    vm.assertTrue(answer == found, "answer");
                } catch {}
            }
            eq(answers, 1, "answers");
        }
    }

    // ------------------------------------------------------------------ bounds

    function test_AFirstBidMakesItsBidderAPayee() external {
        registry.registerPayee(maker);
        _bid(10);
        _bid(11);
        eq(registry.payeeIndex(provider), 2, "index");
        eq(registry.payeeCount(), 2, "once");
    }

    function test_RevertWhen_ABidIsOutOfRange() external {
        refuses(IBidBook.RoleUnknown.selector);
        book.placeBid(MODEL, Role.none, 0, asksOf(1));
        refuses(IBidBook.RatioTooLarge.selector);
        book.placeBid(MODEL, Role.maker, 300_001, asksOf(1));
        refuses(IBidBook.RatioTooLarge.selector);
        book.placeBid(MODEL, Role.oem, 300_001, asksOf(1));
        refuses(IBidBook.RatioTooLarge.selector);
        book.placeBid(MODEL, Role.weaver, 300_001, asksOf(1));
        refuses(IBidBook.RatioTooLarge.selector);
        book.placeBid(MODEL, Role.gateway, 30_001, asksOf(1));
        refuses(IBidBook.RatioTooLarge.selector);
        book.placeBid(MODEL, Role.compute, 1, asksOf(1));
        refuses(Meters.AsksMalformed.selector);
        book.placeBid(MODEL, Role.compute, 0, asksOf(1 << 63));
        refuses(Meters.MeterUnknown.selector);
        book.placeBid(MODEL, Role.compute, 0, asksOf(1, 1, 15, 1));
        refuses(Meters.AsksMalformed.selector);
        book.placeBid(MODEL, Role.compute, 0, asksOf(2, 1, 1, 1));
        (bool ok,) = address(book).call(
            abi.encodeWithSelector(book.placeBid.selector, MODEL, uint256(9), uint24(0), asksOf(1))
        );
        vm.assertFalse(ok, "role 9");
    }

    function test_TheBookKeepsTheRegistrysEpochs() external view {
        eq(book.epochSeconds(), HOUR, "epoch");
        eq(book.freeze(), 300, "freeze");
        eq(book.epochOf(NOW * HOUR - 1), NOW - 1, "the end is exclusive");
        eq(book.epochOf(NOW * HOUR), NOW, "the start is inclusive");
    }

    // ------------------------------------------------------------------ helpers

    /// @dev Mostly within an epoch or two, now and then long after everything lapsed, often at an edge.
    function _later(uint256 seed) private view returns (uint256 time) {
        time = block.timestamp + (seed >> 8) % (seed % 9 == 0 ? 40 * HOUR : 2 * HOUR);
        if (seed % 3 == 0) time = ((time + 300) / HOUR + 1) * HOUR - 300 - (seed >> 100) % 2;
    }

    function _act(uint256 seed) private {
        uint64 price = uint64((seed >> 32) % 50);
        uint32 open = book.frozenEpoch() + 1;
        uint256 count = _placed.length;
        Placed memory last;
        if (count != 0) last = _placed[count - 1];
        bool live = count != 0 && open - 1 < last.from + 24;
        if (count != 0 && seed >> 64 & 1 == 0 && price <= last.price) {
            _lower(price, _made(last.price, last.from));
            _placed.push(Placed(price, last.from > open ? last.from : open));
        } else {
            _bid(price);
            _placed.push(Placed(price, live ? open + 1 : open));
        }
    }

    /// @dev The last bid placed of those that had entered.
    function _plainly(uint32 epoch) private view returns (bool found, IBidBook.Bid memory bid) {
        for (uint256 i; i < _placed.length; ++i) {
            Placed memory one = _placed[i];
            if (one.from <= epoch) (bid, found) = (_made(one.price, one.from), epoch < one.from + 24);
        }
    }

    function _made(uint64 ask, uint32 from) private pure returns (IBidBook.Bid memory) {
        return IBidBook.Bid(0, asksOf(ask), from);
    }

    function _bid(uint64 ask) private {
        vm.prank(provider);
        book.placeBid(MODEL, Role.compute, 0, asksOf(ask));
    }

    function _lower(uint64 ask, IBidBook.Bid memory previous) private {
        vm.prank(provider);
        book.lowerBid(MODEL, Role.compute, 0, asksOf(ask), previous);
    }

    function _refusesLower(Ask[] memory asks, IBidBook.Bid memory previous, uint256 meter) private {
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(IBidBook.RaisesAnAsk.selector, meter));
        book.lowerBid(MODEL, Role.compute, 0, asks, previous);
    }

    function _from() private view returns (uint32 from) {
        (, from,) = book.lastBid(MODEL, Role.compute, provider);
    }

    function _inForce(uint64 epoch, uint32 number, IBidBook.Bid memory bid) private view returns (bool) {
        return book.inForce(MODEL, Role.compute, provider, epoch, number, bid);
    }
}
