// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev Says to its Settlement whatever a test says to it: `ISettlement(judge).convict(...)`. So Settlement is tested by
/// itself, whatever the real judges would find proven.
contract TestJudge {
    address private immutable _settlement;

    constructor(address settlement) {
        _settlement = settlement;
    }

    fallback() external {
        (bool done, bytes memory said) = _settlement.call(msg.data);
        assembly ("memory-safe") {
            if iszero(done) { revert(add(said, 0x20), mload(said)) }
            return(add(said, 0x20), mload(said))
        }
    }
}

/// @dev Makes three judges of a Settlement, one per argument.
contract TestMaker {
    mapping(bytes32 request => address) private _judges;

    function make(address settlement, bytes calldata, bytes calldata arguments) external returns (address judge) {
        judge = address(new TestJudge(settlement));
        _judges[keccak256(abi.encode(settlement, arguments))] = judge;
    }

    function judgeOf(address settlement, bytes calldata arguments) external view returns (address) {
        return _judges[keccak256(abi.encode(settlement, arguments))];
    }
}
