// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./IBidBook.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title RefereeMaker: makes a Settlement its Referee
interface IRefereeMaker {
    /// @notice A new Referee that judges for the caller.
    function make(IRegistry registry, IBidBook bidBook, address treasury) external returns (address referee);
}
