// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Payees, and commitments
/// @notice See IRegistry, the manual.
abstract contract Payees is IRegistry {
    uint32 public constant MAX_PAYEES = 2 ** 31 - 1;
    /// @inheritdoc IRegistry
    uint256 public constant COMMITMENT_LIFE = 1 days;

    /// @inheritdoc IRegistry
    mapping(address party => uint32) public payeeIndex;
    /// @inheritdoc IRegistry
    mapping(uint32 index => address) public payeeAt;
    /// @inheritdoc IRegistry
    uint32 public payeeCount;
    /// @inheritdoc IRegistry
    mapping(bytes32 commitment => uint256) public commitments;

    /// @inheritdoc IRegistry
    function registerPayee(address party) public returns (uint32 index) {
        if (party == address(0)) revert ZeroAddress();
        index = payeeIndex[party];
        if (index != 0) return index;
        if (payeeCount == MAX_PAYEES) revert TooManyPayees(MAX_PAYEES);
        index = ++payeeCount;
        payeeIndex[party] = index;
        payeeAt[index] = party;
        emit PayeeRegistered(index, party);
    }

    /// @inheritdoc IRegistry
    function commit(bytes32 commitment) external {
        uint256 before = commitments[commitment];
        if (before != 0 && block.timestamp < before + COMMITMENT_LIFE) revert AlreadyCommitted(commitment);
        commitments[commitment] = block.timestamp;
        emit Committed(commitment);
    }

    /// @dev Uses up the caller's commitment to `what`. Returns when it was made.
    function _reveal(bytes32 what, bytes32 salt) internal returns (uint256 committedAt) {
        bytes32 commitment = keccak256(abi.encode(what, msg.sender, salt));
        committedAt = commitments[commitment];
        if (committedAt == 0) revert NotCommitted(commitment);
        if (block.timestamp == committedAt) revert CommitmentTooFresh(committedAt);
        if (block.timestamp >= committedAt + COMMITMENT_LIFE) revert CommitmentExpired(committedAt);
        delete commitments[commitment];
    }
}
