// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {load} from "./Calldata.sol";
import {METERS, Meters, Unit} from "./Meters.sol";

/// @notice What an operator signs for one delivered call. Amounts in atoms, `endedAt` in milliseconds.
struct Receipt {
    bytes32 callId;
    bytes32 parent;
    /// Address of the lane's vault.
    address lane;
    /// The key that signs.
    address gateway;
    uint64 seq;
    address consumer;
    /// keccak256 of the terms.
    bytes32 terms;
    uint64 epoch;
    /// Receipts right before this one in the same log that belong to its workflow, at any depth; 0 for a plain call.
    uint8 subcalls;
    /// Sum of the prices of the direct sub-calls among them.
    uint64 subcallTotal;
    uint64 price;
    uint64 charge;
    uint8 end;
    uint64 endedAt;
    bytes32 requestDigest;
    bytes32 responseDigest;
    /// Counts above 0, ascending by meter.
    Unit[] units;
}

/// @title Receipts: their EIP-712 hash, and their packed record
/// @notice A record is how a receipt stands in a batch's file and in a proof, integers big endian:
///
///     callId 32 | parent 32 | lane 20 | gateway 20 | seq u64 | consumer 20 | terms 32 | epoch u64 | subcalls u8
///     subcallTotal u64 | price u64 | charge u64 | end u8 | endedAt u64 | requestDigest 32 | responseDigest 32
///     n u8 | n units: meter u8 | count u40
///
/// It takes 271 + 6n bytes, where the ABI takes 608 + 64n: a run of the largest receipts and terms fits a transaction.
library Receipts {
    bytes32 internal constant UNIT_TYPEHASH = keccak256("Unit(uint8 meter,uint64 count)");
    bytes32 internal constant TYPEHASH = keccak256(
        "Receipt(bytes32 callId,bytes32 parent,address lane,address gateway,uint64 seq,address consumer,bytes32 terms,uint64 epoch,uint8 subcalls,uint64 subcallTotal,uint64 price,uint64 charge,uint8 end,uint64 endedAt,bytes32 requestDigest,bytes32 responseDigest,Unit[] units)Unit(uint8 meter,uint64 count)"
    );
    /// @notice The most receipts that may stand before a workflow's as its own.
    uint8 internal constant MAX_SUBCALLS = 63;
    /// @notice The last of the reasons why a call ended: normal, client_abort, upstream_cut, hold_reached, timeout.
    uint8 internal constant LAST_END = 4;
    uint256 private constant RECORD_BYTES = 271;
    uint256 private constant UNIT_BYTES = 6;

    error SubcallsTooMany(uint8 subcalls, uint8 max);
    error EndUnknown(uint8 end);
    error UnitsMalformed(uint256 index);
    error RecordMalformed(uint256 length, uint256 expected);

    /// @notice EIP-712 struct hash. Reverts for what `ledger.core.receipts` refuses: more than 63 sub-calls, an unknown end,
    /// units that do not ascend by meter, a count of 0 or above 2^40 - 1. So a leaf that holds such a receipt can never be
    /// opened, and falls when it is asked for. The ABI decoder has refused words with bits that their type does not have.
    function hash(Receipt memory r) internal pure returns (bytes32) {
        if (r.subcalls > MAX_SUBCALLS) revert SubcallsTooMany(r.subcalls, MAX_SUBCALLS);
        if (r.end > LAST_END) revert EndUnknown(r.end);
        // parts, for one call of `encode` has more arguments than the stack holds
        bytes memory first =
            abi.encode(TYPEHASH, r.callId, r.parent, r.lane, r.gateway, r.seq, r.consumer, r.terms, r.epoch);
        bytes memory second = abi.encode(r.subcalls, r.subcallTotal, r.price, r.charge, r.end, r.endedAt);
        return keccak256(bytes.concat(first, second, abi.encode(r.requestDigest, r.responseDigest, hash(r.units))));
    }

    /// @notice EIP-712 hash of the units alone.
    function hash(Unit[] memory units) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](units.length);
        uint256 least; // the lowest meter that may come next
        for (uint256 i; i < hashes.length; ++i) {
            (uint256 meter, uint256 count) = (units[i].meter, units[i].count);
            bool formed = meter >= least && meter < METERS && count != 0 && count <= Meters.MAX_UNITS;
            if (!formed) revert UnitsMalformed(i);
            least = meter + 1;
            hashes[i] = keccak256(abi.encode(UNIT_TYPEHASH, meter, count));
        }
        return keccak256(abi.encodePacked(hashes));
    }

    /// @notice A receipt from its record. Reverts when the length is another; `hash` looks at the units.
    function read(bytes calldata record) internal pure returns (Receipt memory r) {
        if (record.length < RECORD_BYTES) revert RecordMalformed(record.length, RECORD_BYTES);
        uint256 start;
        assembly {
            start := record.offset
        }
        (r.callId, r.parent) = (bytes32(load(start)), bytes32(load(start + 32)));
        (r.lane, r.gateway) = (_address(start + 64), _address(start + 84));
        (r.seq, r.consumer, r.terms) = (_uint64(start + 104), _address(start + 112), bytes32(load(start + 132)));
        (r.epoch, r.subcalls, r.subcallTotal) = (_uint64(start + 164), _uint8(start + 172), _uint64(start + 173));
        (r.price, r.charge) = (_uint64(start + 181), _uint64(start + 189));
        (r.end, r.endedAt) = (_uint8(start + 197), _uint64(start + 198));
        (r.requestDigest, r.responseDigest) = (bytes32(load(start + 206)), bytes32(load(start + 238)));
        uint256 count = _uint8(start + RECORD_BYTES - 1);
        uint256 expected = RECORD_BYTES + UNIT_BYTES * count;
        if (record.length != expected) revert RecordMalformed(record.length, expected);
        r.units = new Unit[](count);
        for (uint256 i; i < count; ++i) {
            uint256 word = load(start + RECORD_BYTES + UNIT_BYTES * i);
            r.units[i] = Unit(uint8(word >> 248), uint40(word >> 208));
        }
    }

    function _address(uint256 offset) private pure returns (address) {
        return address(uint160(load(offset) >> 96));
    }

    function _uint64(uint256 offset) private pure returns (uint64) {
        return uint64(load(offset) >> 192);
    }

    function _uint8(uint256 offset) private pure returns (uint8) {
        return uint8(load(offset) >> 248);
    }
}
