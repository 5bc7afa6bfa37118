// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

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

contract BlacklistToken is MockToken {
    mapping(address => bool) private _barred;

    function blacklist(address who, bool barred) external {
        _barred[who] = barred;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!_barred[to], "blacklisted");
        super._update(from, to, value);
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

    function blacklist(address who, bool barred) external {
        _barred[who] = barred;
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        require(!_barred[to], "blacklisted");
        super._update(from, to, value);
    }
}
