// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccountProofs} from "./AccountProofs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Judge} from "./Judge.sol";
import {ReceiptProofs} from "./ReceiptProofs.sol";

/// @title Referee
/// @notice See IReferee, the manual. It holds no money and keeps no state but which offences were punished.
contract Referee is AccountProofs, ReceiptProofs {
    constructor(ISettlement settlement_, IRegistry registry_) Judge(settlement_, registry_) {}
}
