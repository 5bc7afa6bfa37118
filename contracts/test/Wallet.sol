// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev A contract account that signs with a key (ERC-1271).
contract Wallet {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function call(address target, bytes calldata call_) external {
        (bool ok,) = target.call(call_);
        require(ok);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        return ecrecover(digest, uint8(signature[64]), r, s) == _owner ? bytes4(0x1626ba7e) : bytes4(0);
    }
}
