// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";
import {IRefereeMaker} from "./interfaces/IRefereeMaker.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Referee} from "./Referee.sol";

/// @title RefereeMaker
/// @notice Makes a Settlement its Referee: the two name each other for good, and together they would be too large to create
/// in one piece (EIP-3860).
contract RefereeMaker is IRefereeMaker {
    /// @inheritdoc IRefereeMaker
    function make(IRegistry registry, IBidBook bidBook, address treasury) external returns (address) {
        return address(new Referee(ISettlement(msg.sender), registry, bidBook, treasury));
    }
}
