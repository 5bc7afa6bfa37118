// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title An EIP-712 domain that survives a fork
/// @dev OpenZeppelin's `EIP712` needs Cancun's MCOPY through its string library; this one runs on Shanghai. The
/// separator is cached and made anew when the chain id is no longer the one of deployment.
abstract contract Eip712 {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    bytes32 private immutable _name;
    bytes32 private immutable _version;
    bytes32 private immutable _separator;
    uint256 private immutable _chainId;

    constructor(string memory name_, string memory version_) {
        _name = keccak256(bytes(name_));
        _version = keccak256(bytes(version_));
        _chainId = block.chainid;
        _separator = _build();
    }

    /// @notice The EIP-712 domain separator of this contract on this chain.
    function DOMAIN_SEPARATOR() public view virtual returns (bytes32) {
        return block.chainid == _chainId ? _separator : _build();
    }

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash));
    }

    function _build() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, _name, _version, block.chainid, address(this)));
    }
}
