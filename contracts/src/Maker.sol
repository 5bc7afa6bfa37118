// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMaker} from "./interfaces/IMaker.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";

/// @title What the makers of judges have in common
/// @notice See IMaker, the manual.
abstract contract Maker is IMaker {
    mapping(bytes32 request => address) private _judges;

    /// @inheritdoc IMaker
    function make(address settlement, bytes calldata arguments) external returns (address judge) {
        bytes32 request = keccak256(abi.encode(settlement, arguments));
        judge = _judges[request];
        if (judge != address(0)) return judge;
        judge = _create(ISettlement(settlement), arguments);
        _judges[request] = judge;
    }

    /// @inheritdoc IMaker
    function judgeOf(address settlement, bytes calldata arguments) external view returns (address) {
        return _judges[keccak256(abi.encode(settlement, arguments))];
    }

    function _create(ISettlement settlement, bytes calldata arguments) internal virtual returns (address);
}
