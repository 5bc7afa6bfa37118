// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Registry
/// @notice See IRegistry, the manual. Parents and terms live in events: the chain only has to keep who owns.
contract Registry is IRegistry {
    uint256 public constant MAX_PARENTS = 4;
    /// @notice How long an earlier commitment can take a model over.
    uint256 public constant CONTEST_TIME = 7 days;

    /// @inheritdoc IRegistry
    mapping(address party => uint32) public payeeIndex;
    /// @inheritdoc IRegistry
    mapping(uint32 index => address) public payeeAt;
    /// @inheritdoc IRegistry
    uint32 public payeeCount;
    /// @inheritdoc IRegistry
    mapping(bytes32 commitment => uint256) public commitments;
    mapping(bytes32 id => Model) private _models;

    /// @inheritdoc IRegistry
    function registerPayee(address party) external returns (uint32 index) {
        if (party == address(0)) revert ZeroAddress();
        index = payeeIndex[party];
        if (index != 0) return index;
        index = ++payeeCount;
        payeeIndex[party] = index;
        payeeAt[index] = party;
        emit PayeeRegistered(index, party);
    }

    /// @inheritdoc IRegistry
    function commitModel(bytes32 commitment) external {
        if (commitments[commitment] != 0) revert AlreadyCommitted(commitment);
        commitments[commitment] = block.number;
        emit ModelCommitted(commitment);
    }

    /// @inheritdoc IRegistry
    function register(bytes32 manifestHash, bytes32[] calldata parents, bytes32 terms, bytes32 salt) external {
        bytes32 commitment = keccak256(abi.encode(manifestHash, msg.sender, salt));
        uint256 committedIn = commitments[commitment];
        if (committedIn == 0) revert NotCommitted(commitment);
        if (committedIn == block.number) revert CommitmentTooFresh(committedIn);
        _checkParents(parents);
        Model memory model = _models[manifestHash];
        if (model.owner != address(0)) {
            bool contested = committedIn < model.committedIn && block.timestamp < model.registeredAt + CONTEST_TIME;
            if (!contested) revert ModelTaken(manifestHash, model.owner);
            emit ModelContested(manifestHash, model.owner, msg.sender);
        }
        // both fit for 34,000 years
        _models[manifestHash] = Model(msg.sender, uint40(committedIn), uint40(block.timestamp));
        emit ModelRegistered(manifestHash, msg.sender, parents, terms);
    }

    /// @inheritdoc IRegistry
    function update(bytes32 id, bytes32 terms) external {
        _onlyOwner(id);
        emit TermsUpdated(id, terms);
    }

    /// @inheritdoc IRegistry
    function transfer(bytes32 id, address to) external {
        _onlyOwner(id);
        if (to == address(0)) revert ZeroAddress();
        _models[id].owner = to;
        emit ModelTransferred(id, msg.sender, to);
    }

    /// @inheritdoc IRegistry
    function models(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    function _checkParents(bytes32[] calldata parents) private view {
        if (parents.length > MAX_PARENTS) revert TooManyParents(parents.length, MAX_PARENTS);
        for (uint256 i; i < parents.length; ++i) {
            if (_models[parents[i]].owner == address(0)) revert ParentUnknown(parents[i]);
        }
    }

    function _onlyOwner(bytes32 id) private view {
        address owner = _models[id].owner;
        if (msg.sender != owner) revert NotOwner(msg.sender, owner);
    }
}
