// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IAuthorizations} from "./interfaces/IAuthorizations.sol";

/// @title One lane's tokens, at the lane's own address
/// @notice Made by Settlement, which alone moves them out. No allowance is ever given.
contract LaneVault {
    IERC20 private immutable _token;
    address private immutable _settlement;

    address private immutable _consumers;

    error NotAllowed(address caller);

    constructor(IERC20 token, address consumers) {
        _token = token;
        _settlement = msg.sender;
        _consumers = consumers;
    }

    /// @notice Pays rows `payee(20) << 64 | amount(8)`; skips zero rows. Returns the places of the rows that the token
    /// refused, as bits from the lowest, for up to 256 rows.
    function pay(uint256[] calldata rows) external returns (uint256 refused) {
        if (msg.sender != _settlement) revert NotAllowed(msg.sender);
        for (uint256 i; i < rows.length; ++i) {
            uint256 row = rows[i];
            if (row != 0 && !_sends(address(uint160(row >> 64)), uint64(row))) refused |= 1 << i;
        }
    }

    /// @notice Takes an ERC-3009 receive authorization, for Consumers: the token demands that its caller is the payee.
    function receiveAuthorized(
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        if (msg.sender != _consumers) revert NotAllowed(msg.sender);
        IAuthorizations(address(_token)).receiveWithAuthorization(
            from, address(this), amount, validAfter, validBefore, nonce, signature
        );
    }

    /// @dev As OpenZeppelin's `trySafeTransfer`: false for a refusal, a false answer, or no contract.
    function _sends(address to, uint256 amount) private returns (bool ok) {
        address coin = address(_token);
        assembly ("memory-safe") {
            let kept := mload(0x40)
            mstore(0x00, shl(224, 0xa9059cbb))
            mstore(0x04, to)
            mstore(0x24, amount)
            ok := call(gas(), coin, 0, 0x00, 0x44, 0x00, 0x20)
            switch returndatasize()
            case 0 { ok := and(ok, iszero(iszero(extcodesize(coin)))) }
            default { ok := and(ok, and(gt(returndatasize(), 0x1f), eq(mload(0x00), 1))) }
            mstore(0x40, kept)
        }
    }
}
