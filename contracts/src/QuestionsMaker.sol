// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "./interfaces/ISettlement.sol";
import {Maker} from "./Maker.sol";
import {Questions} from "./Questions.sol";

/// @title QuestionsMaker
/// @notice Makes a Settlement its Questions. Its arguments are two numbers of wei: `floor` and `dataFee`.
contract QuestionsMaker is Maker {
    function _create(ISettlement settlement, bytes calldata arguments) internal override returns (address) {
        (uint256 floor, uint256 dataFee) = abi.decode(arguments, (uint256, uint256));
        return address(new Questions(settlement, floor, dataFee));
    }
}
