// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bars} from "./Bars.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {Header, Headers} from "./Headers.sol";
import {LogProofs} from "./LogProofs.sol";
import {Receipt} from "./Receipt.sol";

/// @title ReceiptProofs: what receipts say of time, of each other, and of their workflows
/// @notice See IReferee, the manual.
abstract contract ReceiptProofs is IReferee, LogProofs {
    using Headers for Header;

    /// @notice Seconds of an epoch, as BidBook and Registry count them.
    uint256 public immutable epochSeconds;

    constructor() {
        epochSeconds = registry.epochSeconds();
    }

    /// @inheritdoc IReferee
    function proveReceiptTime(address lane, uint64 id, Header calldata header, Opening calldata opening) external {
        Receipt memory r = _open(lane, header, opening);
        uint256 ended = Bars.endOf(r);
        uint256 epoch = ended / epochSeconds;
        bool right = (r.epoch == epoch || uint256(r.epoch) + 1 == epoch) && ended <= header.closedAt
            && ended + Bars.RECEIPT_LIFE >= header.closedAt;
        _convict(lane, id, header, !right);
    }

    /// @inheritdoc IReferee
    function proveDoubleCall(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        Opening calldata other
    ) external {
        Receipt memory a = _open(lane, header, opening);
        Receipt memory b = _open(lane, header, other);
        _convict(lane, id, header, opening.place != other.place && a.callId == b.callId);
    }

    /// @inheritdoc IReferee
    function proveBadSubcalls(address lane, uint64 id, Header calldata header, Openings calldata segment) external {
        Receipt[] memory receipts = _openAll(lane, header, segment);
        uint256 last = receipts.length - 1;
        if (segment.records[last].length == 0) revert ProofInvalid();
        Receipt memory parent = receipts[last];
        uint256 count = parent.subcalls;
        if (count > segment.start + last) return _convict(lane, id, header, true);
        if (count != last) revert ProofInvalid();
        _convict(lane, id, header, !_addsUp(parent, receipts, segment.records));
    }

    /// @dev That the direct sub-calls of `parent`, the last of `receipts`, found from the end, are all of them with what
    /// belongs to them, and cost what it says. A barred receipt hides its price and what is before it: then the rest may
    /// only not cost too much.
    function _addsUp(Receipt memory parent, Receipt[] memory receipts, bytes[] calldata records)
        private
        pure
        returns (bool)
    {
        uint256 total;
        uint256 left = parent.subcalls;
        while (left != 0) {
            if (records[left - 1].length == 0) return total <= parent.subcallTotal;
            Receipt memory child = receipts[left - 1];
            bool belongs = child.parent == parent.callId && child.gateway == parent.gateway && child.subcalls < left;
            if (!belongs) return false;
            total += child.price;
            left -= 1 + child.subcalls;
        }
        return total == parent.subcallTotal;
    }
}
