// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../src/Receipt.sol";

/// @dev A receipt's record, field after field.
library PlainReceipts {
    function encode(Receipt memory r) internal pure returns (bytes memory record) {
        record = abi.encodePacked(r.callId, r.parent, r.lane, r.gateway, r.seq, r.consumer, r.terms, r.epoch);
        record = bytes.concat(record, abi.encodePacked(r.subcalls, r.subcallTotal, r.price, r.charge, r.end, r.endedAt));
        record = bytes.concat(record, abi.encodePacked(r.requestDigest, r.responseDigest, uint8(r.units.length)));
        for (uint256 i; i < r.units.length; ++i) {
            record = bytes.concat(record, abi.encodePacked(r.units[i].meter, uint40(r.units[i].count)));
        }
    }
}
