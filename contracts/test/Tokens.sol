// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

contract MockToken is ERC20("Mock", "MCK") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public pure virtual override returns (uint8) {
        return 6;
    }
}

contract FeeToken is MockToken {
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0xFEE), value / 100);
    }
}

contract WeiToken is MockToken {
    function decimals() public pure override returns (uint8) {
        return 18;
    }
}

/// @dev Calls back whoever it pays, as ERC-777 does.
contract HookToken is MockToken {
    mapping(address => bool) private _armed;
    address private _target;
    bytes private _call;

    function onTransferTo(address to, address target, bytes calldata call_) external {
        (_armed[to], _target, _call) = (true, target, call_);
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        super._update(from, to, value);
        _hook(to);
    }

    function _hook(address to) internal {
        if (!_armed[to]) return;
        _armed[to] = false;
        (bool ok,) = _target.call(_call);
        ok; // whatever it did, the balances tell
    }
}

/// @dev All of it at once: bars whom its owner names, and calls back whoever it pays.
contract HostileToken is HookToken {
    mapping(address => bool) private _barred;
    bool private _wordless;

    function blacklist(address who, bool barred) external {
        _barred[who] = barred;
    }

    /// @dev Returns nothing from a transfer, as USDT does, and gives no reason for a refusal.
    function setWordless(bool wordless) external {
        _wordless = wordless;
    }

    function transfer(address to, uint256 amount) public virtual override returns (bool) {
        super.transfer(to, amount);
        if (!_wordless) return true;
        assembly {
            return(0, 0)
        }
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        if (_barred[to] && _wordless) revert();
        require(!_barred[to], "blacklisted");
        super._update(from, to, value);
    }
}

/// @dev ERC-3009 as USDC has it: it does not keep what spent a nonce. It may take a fee, bar payees and call back whoever it
/// pays, all at its owner's word.
contract DollarToken is HostileToken {
    mapping(address authorizer => mapping(bytes32 nonce => bool)) public authorizationState;
    uint256 public fee;
    bool public lies;

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    /// @dev Says false to every transfer, after its callback, and moves nothing.
    function setLies(bool lies_) external {
        lies = lies_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        if (!lies) return super.transfer(to, amount);
        _hook(to);
        return false;
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        if (!lies) return super.transferFrom(from, to, amount);
        _hook(to);
        return false;
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        _authorized("TransferWithAuthorization", from, to, value, validAfter, validBefore, nonce, signature);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        require(msg.sender == to, "not the payee");
        _authorized("ReceiveWithAuthorization", from, to, value, validAfter, validBefore, nonce, signature);
    }

    function cancelAuthorization(bytes32 nonce) external {
        authorizationState[msg.sender][nonce] = true;
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        bytes32 typehash = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(typehash, keccak256("Dollar"), keccak256("2"), block.chainid, address(this)));
    }

    function _authorized(
        string memory kind,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) private {
        require(block.timestamp > validAfter && block.timestamp < validBefore, "not now");
        require(!authorizationState[from][nonce], "spent");
        authorizationState[from][nonce] = true;
        string memory fields =
            "WithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        kind = string.concat(bytes(kind)[0] == "T" ? "Transfer" : "Receive", fields);
        bytes32 hash = keccak256(abi.encode(keccak256(bytes(kind)), from, to, value, validAfter, validBefore, nonce));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), hash));
        require(ECDSA.recover(digest, signature) == from, "not signed");
        if (!lies) _transfer(from, to, value);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (fee != 0 && from != address(0) && to != address(0)) super._update(to, address(0xFEE), fee);
    }
}
