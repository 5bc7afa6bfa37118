// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMaker} from "./interfaces/IMaker.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Referee} from "./Referee.sol";

/// @title RefereeMaker
/// @notice Makes a Settlement its Referee. `arguments`: the Registry.
contract RefereeMaker is IMaker {
    /// @inheritdoc IMaker
    function make(bytes calldata arguments) external returns (address) {
        return address(new Referee(ISettlement(msg.sender), abi.decode(arguments, (IRegistry))));
    }
}
