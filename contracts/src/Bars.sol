// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "./interfaces/ISettlement.sol";
import {Receipt} from "./Receipt.sol";

/// @title Bars: which receipts a batch leaves out, though a gateway signed them
/// @notice Sequences are dense, so such a receipt's place holds the zero word. A receipt is barred from a batch when
///
/// - it is **old**: it ended more than RECEIPT_LIFE before the batch was closed;
/// - its account is **leaving**: the batch before was closed after the account's request and notice, so no debit may grow
///   any more (CONTRACTS, principle 4), and the receipt ended within the notice;
/// - its account **left**: the receipt ended before the batch was closed by which the account last withdrew, or before its
///   escape.
///
/// @dev The verdict is the same whenever it is asked. A request that a batch has met cannot be taken back (ISettlement.
/// request), so it stands until the account leaves; and then `leftAt` is later than its request and notice. A receipt that
/// ended after the notice is never barred: a gateway that knows the chain well enough to serve anybody signs none (it
/// refuses an account that asked to leave), and one that does is convicted here or for the debit.
library Bars {
    /// @notice Seconds after its end in which a receipt can be charged.
    uint256 internal constant RECEIPT_LIFE = 30 days;

    /// @param closedAt Of the batch.
    /// @param prevClosedAt Of the batch before it; 0 if there is none.
    function isBarred(ISettlement settlement, address lane, Receipt memory r, uint256 closedAt, uint256 prevClosedAt)
        internal
        view
        returns (bool)
    {
        uint256 ended = endOf(r);
        if (ended + RECEIPT_LIFE < closedAt) return true;
        ISettlement.Account memory a = settlement.accounts(lane, r.consumer);
        if (ended < a.leftAt) return true;
        uint256 noticed = uint256(a.requestedAt) + settlement.rules().exitNotice;
        return a.requestedAt != 0 && ended <= noticed && noticed < prevClosedAt;
    }

    /// @notice When a call ended, in whole seconds.
    function endOf(Receipt memory r) internal pure returns (uint256) {
        return r.endedAt / 1000;
    }
}
