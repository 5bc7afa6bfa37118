// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Maker} from "./Maker.sol";
import {Referee} from "./Referee.sol";

/// @title RefereeMaker
/// @notice Makes a Settlement its Referee. `arguments`: the Registry.
contract RefereeMaker is Maker {
    function _create(ISettlement settlement, bytes calldata arguments) internal override returns (address) {
        return address(new Referee(settlement, abi.decode(arguments, (IRegistry))));
    }
}
