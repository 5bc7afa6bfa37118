// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title An EIP-712 domain that survives a fork, and describes itself (EIP-5267)
/// @dev OpenZeppelin's `EIP712` needs Cancun's MCOPY through its string library; this one runs on Shanghai. The
/// separator is cached and made anew when the chain id is no longer the one of deployment.
abstract contract Eip712 {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    bytes32 private immutable _name;
    bytes32 private immutable _version;
    bytes32 private immutable _separator;
    uint256 private immutable _chainId;

    /// @dev Names and versions have at most 31 bytes: each is kept in one word, its length in the last byte.
    constructor(string memory name_, string memory version_) {
        _name = _short(name_);
        _version = _short(version_);
        _chainId = block.chainid;
        _separator = _build();
    }

    /// @notice The EIP-712 domain separator of this contract on this chain.
    function DOMAIN_SEPARATOR() public view virtual returns (bytes32) {
        return block.chainid == _chainId ? _separator : _build();
    }

    /// @notice The fields of the domain: name, version, chain and contract; no salt, no extensions.
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (hex"0f", _long(_name), _long(_version), block.chainid, address(this), 0, new uint256[](0));
    }

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash));
    }

    function _build() private view returns (bytes32) {
        bytes32 name = keccak256(bytes(_long(_name)));
        bytes32 version = keccak256(bytes(_long(_version)));
        return keccak256(abi.encode(DOMAIN_TYPEHASH, name, version, block.chainid, address(this)));
    }

    function _short(string memory text) private pure returns (bytes32) {
        assert(bytes(text).length < 32);
        return bytes32(bytes(text)) | bytes32(bytes(text).length);
    }

    function _long(bytes32 word) private pure returns (string memory text) {
        text = new string(uint8(uint256(word)));
        bytes32 body = word & ~bytes32(uint256(0xff));
        assembly ("memory-safe") {
            mstore(add(text, 0x20), body)
        }
    }
}
