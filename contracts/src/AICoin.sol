// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {IAuthorizations} from "./interfaces/IAuthorizations.sol";
import {Eip712} from "./Eip712.sol";
import {Signatures} from "./Signatures.sol";

/// @title AI coin: nine decimals, a supply fixed at deployment, no owner
/// @notice An ERC-20 whose holders can also pay by signature: ERC-2612 permits and ERC-3009 authorizations.
/// @dev OpenZeppelin's keyed `ERC3009` reads meaning into nonces and times and so rejects what x402 clients send; this one takes any
/// 32 bytes. The spent slot keeps the struct hash that spent it, at the cost of a flag.
contract AICoin is ERC20, Nonces, Eip712, IERC20Permit, IAuthorizations {
    /// @notice 10^9 coins of 10^9 atoms: any sum of amounts fits a signed 64-bit integer.
    uint256 public constant MAX_SUPPLY = 1e18;

    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant CANCEL_TYPEHASH = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 private constant CANCELED = bytes32(uint256(1));

    /// @notice The supply asked for is above MAX_SUPPLY.
    error SupplyTooLarge(uint256 supply, uint256 max);
    /// @notice The permit's time is over.
    error PermitExpired(uint256 deadline, uint256 time);

    /// @inheritdoc IAuthorizations
    mapping(address authorizer => mapping(bytes32 nonce => bytes32 structHash)) public authorizationOf;

    /// @param holder Who holds the whole supply at first.
    /// @param supply In atoms.
    constructor(address holder, uint256 supply) ERC20("AI Coin", "AIC") Eip712("AI Coin", "1") {
        if (supply > MAX_SUPPLY) revert SupplyTooLarge(supply, MAX_SUPPLY);
        _mint(holder, supply);
    }

    /// @notice One AIC is 10^9 atoms.
    function decimals() public pure override returns (uint8) {
        return 9;
    }

    /// @notice EIP-712 domain version, as x402 clients ask for it.
    function version() external pure returns (string memory) {
        return "1";
    }

    /// @inheritdoc IERC20Permit
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        _permit(owner, spender, value, deadline, abi.encodePacked(r, s, v));
    }

    /// @notice ERC-2612 with the signature as bytes; contracts sign by ERC-1271.
    function permit(address owner, address spender, uint256 value, uint256 deadline, bytes calldata signature)
        external
    {
        _permit(owner, spender, value, deadline, signature);
    }

    /// @inheritdoc IERC20Permit
    function nonces(address owner) public view override(Nonces, IERC20Permit) returns (uint256) {
        return super.nonces(owner);
    }

    /// @inheritdoc IERC20Permit
    function DOMAIN_SEPARATOR() public view override(Eip712, IERC20Permit) returns (bytes32) {
        return super.DOMAIN_SEPARATOR();
    }

    /// @inheritdoc IAuthorizations
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool) {
        return authorizationOf[authorizer][nonce] != 0;
    }

    /// @inheritdoc IAuthorizations
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        _move(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce, signature);
    }

    /// @inheritdoc IAuthorizations
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
        _move(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
    }

    /// @inheritdoc IAuthorizations
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        if (msg.sender != to) revert CallerIsNotPayee(msg.sender, to);
        _move(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce, signature);
    }

    /// @inheritdoc IAuthorizations
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
        if (msg.sender != to) revert CallerIsNotPayee(msg.sender, to);
        _move(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
    }

    /// @inheritdoc IAuthorizations
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external {
        _cancel(authorizer, nonce, signature);
    }

    /// @inheritdoc IAuthorizations
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        _cancel(authorizer, nonce, abi.encodePacked(r, s, v));
    }

    function _permit(address owner, address spender, uint256 value, uint256 deadline, bytes memory signature) private {
        if (block.timestamp > deadline) revert PermitExpired(deadline, block.timestamp);
        bytes32 structHash = keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, _useNonce(owner), deadline));
        _check(owner, structHash, signature);
        _approve(owner, spender, value);
    }

    function _move(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) private {
        if (block.timestamp <= validAfter || block.timestamp >= validBefore) {
            revert AuthorizationNotValidNow(validAfter, validBefore, block.timestamp);
        }
        bytes32 structHash = keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce));
        _spend(from, nonce, structHash, structHash, signature);
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    function _cancel(address authorizer, bytes32 nonce, bytes memory signature) private {
        _spend(authorizer, nonce, CANCELED, keccak256(abi.encode(CANCEL_TYPEHASH, authorizer, nonce)), signature);
        emit AuthorizationCanceled(authorizer, nonce);
    }

    function _spend(address from, bytes32 nonce, bytes32 mark, bytes32 structHash, bytes memory signature) private {
        if (authorizationOf[from][nonce] != 0) revert AuthorizationSpent(from, nonce);
        authorizationOf[from][nonce] = mark;
        _check(from, structHash, signature);
    }

    function _check(address account, bytes32 structHash, bytes memory signature) private view {
        if (!Signatures.valid(account, _digest(structHash), signature)) revert SignatureInvalid(account);
    }
}
