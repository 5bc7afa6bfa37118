// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Eip712} from "../src/Eip712.sol";
import {Signatures} from "../src/Signatures.sol";

/// @title What a local network settles in when it is to be as on a chain that has USDC: play money, worth nothing
/// @dev Six decimals, and ERC-3009 as USDC v2.2 has it: in both spellings of a signature, without a record of what spent a
/// nonce, refusing in words. It has no owner who mints or bars, and no permits.
contract LocalUsdc is ERC20, Eip712 {
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    /// @notice The authorization is used.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);

    /// @notice True once the nonce is spent.
    mapping(address authorizer => mapping(bytes32 nonce => bool)) public authorizationState;

    /// @param holder Who holds the whole supply at first.
    /// @param supply In atoms, of which a USDC has 10^6.
    constructor(address holder, uint256 supply) ERC20("USDC", "USDC") Eip712("USDC", "2") {
        _mint(holder, supply);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @notice EIP-712 domain version, as x402 clients ask for it.
    function version() external pure returns (string memory) {
        return "2";
    }

    /// @notice Moves `value` from `from` to `to` as `from` signed.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) public {
        _spend(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce, signature);
    }

    /// @notice As above, with the signature in three words.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _spend(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
    }

    /// @notice Moves `value` from `from` to the caller, `to`, as `from` signed.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) public {
        require(to == msg.sender, "FiatTokenV2: caller must be the payee");
        _spend(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce, signature);
    }

    /// @notice As above, with the signature in three words.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        require(to == msg.sender, "FiatTokenV2: caller must be the payee");
        _spend(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
    }

    function _spend(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) private {
        require(block.timestamp > validAfter, "FiatTokenV2: authorization is not yet valid");
        require(block.timestamp < validBefore, "FiatTokenV2: authorization is expired");
        require(!authorizationState[from][nonce], "FiatTokenV2: authorization is used or canceled");
        bytes32 hash = keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce));
        require(Signatures.valid(from, _digest(hash), signature), "FiatTokenV2: invalid signature");
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }
}
