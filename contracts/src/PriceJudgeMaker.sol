// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Maker} from "./Maker.sol";
import {PriceJudge} from "./PriceJudge.sol";

/// @title PriceJudgeMaker
/// @notice Makes a Settlement its PriceJudge. `arguments`: the Registry, the BidBook.
contract PriceJudgeMaker is Maker {
    function _create(ISettlement settlement, bytes calldata arguments) internal override returns (address) {
        (IRegistry registry, IBidBook bidBook) = abi.decode(arguments, (IRegistry, IBidBook));
        return address(new PriceJudge(settlement, registry, bidBook));
    }
}
