// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, METERS, Meters, Unit} from "../src/Meters.sol";
import {Prices} from "../src/Prices.sol";
import {Receipt, Receipts} from "../src/Receipt.sol";
import {Line, Reading, Terms} from "../src/Terms.sol";

/// @dev The libraries of protocol 2 behind external functions, so that they are tested as they are compiled for a chain.
contract LibrariesHarness {
    function weight(uint256 meter) external pure returns (uint256) {
        return Meters.weight(meter);
    }

    function coarser(uint256 meter) external pure returns (uint256) {
        return Meters.coarser(meter);
    }

    function rates(Ask[] calldata asks) external pure returns (uint256[METERS] memory) {
        return Meters.rates(asks);
    }

    function hash(Receipt calldata receipt) external pure returns (bytes32) {
        return Receipts.hash(receipt);
    }

    function receiptOf(bytes calldata record) external pure returns (Receipt memory) {
        return Receipts.read(record);
    }

    function read(bytes calldata terms) external pure returns (Reading memory) {
        return Terms.read(terms);
    }

    function line(bytes calldata terms, uint256 i)
        external
        pure
        returns (address party, uint8 role, uint24 ratioPpm, Ask[] memory asks)
    {
        Line one = Terms.read(terms).lines[i];
        return (one.party(), uint8(one.role()), one.ratioPpm(), one.asks());
    }

    function split(bytes calldata terms, Unit[] calldata units, uint256 subcallTotal)
        external
        pure
        returns (Prices.Split memory)
    {
        return Prices.split(Terms.read(terms), units, subcallTotal);
    }

    function pays(bytes calldata terms, Unit[] calldata units, uint256 subcallTotal, uint256 price)
        external
        pure
        returns (uint256[] memory)
    {
        return Prices.pays(Terms.read(terms), units, subcallTotal, price);
    }

    function paysTo(bytes calldata terms, Unit[] calldata units, uint256 subcallTotal, uint256 price, address party)
        external
        pure
        returns (uint256)
    {
        return Prices.paysTo(Terms.read(terms), units, subcallTotal, price, party);
    }

    /// @dev As a run proof does it: each receipt hashed and opened with its own terms, one party's amounts added up.
    function run(bytes[] calldata records, bytes[] calldata terms, address party)
        external
        pure
        returns (bytes32 hashes, uint256 total)
    {
        for (uint256 i; i < records.length; ++i) {
            Receipt memory r = Receipts.read(records[i]);
            require(keccak256(terms[i]) == r.terms, "terms");
            hashes = keccak256(abi.encode(hashes, Receipts.hash(r)));
            total += Prices.paysTo(Terms.read(terms[i]), r.units, r.subcallTotal, r.price, party);
        }
    }
}
