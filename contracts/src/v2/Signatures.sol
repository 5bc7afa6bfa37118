// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title Who signed a digest
/// @notice One spelling per signature: 65 bytes r | s | v, s in the low half of the order. High-s twins and the 64-byte
/// EIP-2098 form are refused, and no signature byte is ever used as an id. Contracts sign by ERC-1271.
library Signatures {
    bytes4 private constant ERC1271_OK = 0x1626ba7e;

    /// @notice The key that signed, or zero.
    function signer(bytes32 digest, bytes memory signature) internal pure returns (address who) {
        if (signature.length != 65) return address(0);
        ECDSA.RecoverError failure;
        (who, failure,) = ECDSA.tryRecover(digest, signature);
        if (failure != ECDSA.RecoverError.NoError) return address(0);
    }

    /// @notice True when the contract `account` says by ERC-1271 that the signature is its own.
    function byContract(address account, bytes32 digest, bytes memory signature) internal view returns (bool) {
        if (account.code.length == 0) return false;
        (bool ok, bytes memory answer) =
            account.staticcall(abi.encodeWithSelector(ERC1271_OK, digest, signature));
        return ok && answer.length >= 32 && abi.decode(answer, (bytes32)) == bytes32(ERC1271_OK);
    }

    /// @notice True when `account`, a key or a contract, signed.
    function valid(address account, bytes32 digest, bytes memory signature) internal view returns (bool) {
        return (signer(digest, signature) == account && account != address(0)) || byContract(account, digest, signature);
    }
}
