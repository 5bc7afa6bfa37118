// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Receipts} from "./Receipts.sol";

/// @title Referee
contract Referee {
    ISettlement public immutable settlement;
    IRegistry public immutable registry;
    IBidBook public immutable bidBook;
    address public immutable treasury;

    constructor(ISettlement settlement_, IRegistry registry_, IBidBook bidBook_, address treasury_) {
        (settlement, registry, bidBook, treasury) = (settlement_, registry_, bidBook_, treasury_);
    }

    function leafOf(ISettlement.Tree tree, uint256 index, bytes calldata preimage, bytes calldata terms)
        external
        pure
        returns (bytes32)
    {
        return Receipts.leafOf(tree, index, preimage, terms);
    }
}
