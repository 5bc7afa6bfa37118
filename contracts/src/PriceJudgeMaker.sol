// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";
import {IMaker} from "./interfaces/IMaker.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {PriceJudge} from "./PriceJudge.sol";

/// @title PriceJudgeMaker
/// @notice Makes a Settlement its PriceJudge. `arguments`: the Registry, the BidBook.
contract PriceJudgeMaker is IMaker {
    /// @inheritdoc IMaker
    function make(bytes calldata arguments) external returns (address) {
        (IRegistry registry, IBidBook bidBook) = abi.decode(arguments, (IRegistry, IBidBook));
        return address(new PriceJudge(ISettlement(msg.sender), registry, bidBook));
    }
}
