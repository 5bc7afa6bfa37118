// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "../src/interfaces/IBidBook.sol";
import {Base} from "./Base.sol";

/// @dev Bids by epoch, and their provable past.
contract BidBookTest is Base {
    bytes32 private constant MODEL = keccak256("model");

    function test_Bids_FirstAtOnceRaisesLater_NoSnipingAtTheEpochsEdge() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        eq(_from(), e + 1, "a first bid");
        vm.warp((uint256(e) + 1) * 1 hours - 1); // the last second of the epoch
        _bid(20);
        eq(_from(), e + 2, "a raise gives an epoch's notice");
    }

    function test_Bids_LowerEntersAnEpochEarlier_IfItShowsThePrevious() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        IBidBook.Bid memory previous = _made(10, e + 1);
        vm.warp((uint256(e) + 3) * 1 hours);
        vm.startPrank(stranger);
        refuses(IBidBook.RaisesAnAsk.selector);
        bidBook.lowerBid(MODEL, 3, 0, _asks(11), previous, 0);
        IBidBook.Bid memory forged = _made(30, e + 1);
        refuses(IBidBook.HistoryUnknown.selector);
        bidBook.lowerBid(MODEL, 3, 0, _asks(11), forged, 0);
        bidBook.lowerBid(MODEL, 3, 0, _asks(9), previous, 0);
        vm.stopPrank();
        eq(_from(), e + 4, "next epoch");
    }

    function test_Bids_APendingRaiseIsNotUndoneEarly() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        bytes24 first = _link(0, _made(10, e + 1));
        vm.warp((uint256(e) + 1) * 1 hours);
        _bid(20); // enters at e + 3
        IBidBook.Bid memory raise = _made(20, e + 3);
        vm.prank(stranger);
        bidBook.lowerBid(MODEL, 3, 0, _asks(10), raise, first);
        eq(_from(), e + 3, "with the raise it replaces");
    }

    function test_Bids_SilenceIsExit() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        IBidBook.Bid[] memory bids = new IBidBook.Bid[](1);
        bids[0] = _made(10, e + 1);
        (bool found,) = bidBook.inForce(MODEL, 3, stranger, e, 0, bids);
        vm.assertFalse(found, "not yet");
        (found,) = bidBook.inForce(MODEL, 3, stranger, e + 24, 0, bids);
        vm.assertTrue(found, "its last epoch");
        (found,) = bidBook.inForce(MODEL, 3, stranger, e + 25, 0, bids);
        vm.assertFalse(found, "expired");
        vm.warp((uint256(e) + 25) * 1 hours);
        _bid(90);
        eq(_from(), e + 26, "as a first bid");
    }

    function test_Bids_ThePastIsProvable_AndNothingElse() external {
        uint32 e = bidBook.epoch();
        _bid(10);
        vm.warp((uint256(e) + 3) * 1 hours);
        _bid(20);
        IBidBook.Bid[] memory bids = new IBidBook.Bid[](2);
        (bids[0], bids[1]) = (_made(10, e + 1), _made(20, e + 5));
        (bool found, IBidBook.Bid memory then) = bidBook.inForce(MODEL, 3, stranger, e + 4, 0, bids);
        vm.assertTrue(found && then.asks[0] == 10, "the older");
        (found, then) = bidBook.inForce(MODEL, 3, stranger, e + 5, 0, bids);
        vm.assertTrue(found && then.asks[0] == 20, "the newer");
        bytes24 first = _link(0, bids[0]);
        IBidBook.Bid[] memory tail = new IBidBook.Bid[](1);
        tail[0] = bids[1];
        (found, then) = bidBook.inForce(MODEL, 3, stranger, e + 6, first, tail);
        vm.assertTrue(found && then.asks[0] == 20, "from the tail alone");
        refuses(IBidBook.HistoryUnknown.selector);
        bidBook.inForce(MODEL, 3, stranger, e + 4, first, tail); // would hide the older one
        bids[0].asks[0] = 11;
        refuses(IBidBook.HistoryUnknown.selector);
        bidBook.inForce(MODEL, 3, stranger, e + 4, 0, bids);
    }

    function test_RevertWhen_ABidIsOutOfRange() external {
        refuses(IBidBook.RoleUnknown.selector);
        bidBook.placeBid(MODEL, 0, 0, _asks(1));
        refuses(IBidBook.RoleUnknown.selector);
        bidBook.placeBid(MODEL, 9, 0, _asks(1));
        refuses(IBidBook.RatioTooLarge.selector);
        bidBook.placeBid(MODEL, 1, 900_001, _asks(1));
        refuses(IBidBook.AskTooLarge.selector);
        bidBook.placeBid(MODEL, 1, 0, _asks(1 << 63));
    }


    // ------------------------------------------------------------------ helpers

    function _asks(uint64 ask) private pure returns (uint64[6] memory asks) {
        asks[0] = ask;
    }

    function _made(uint64 ask, uint32 from) private pure returns (IBidBook.Bid memory) {
        return IBidBook.Bid(0, _asks(ask), from);
    }

    function _link(bytes24 before, IBidBook.Bid memory bid) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(before, bid)));
    }

    function _bid(uint64 ask) private {
        vm.prank(stranger);
        bidBook.placeBid(MODEL, 3, 0, _asks(ask));
    }

    function _from() private view returns (uint32 from) {
        (, from) = bidBook.history(MODEL, 3, stranger);
    }
}
