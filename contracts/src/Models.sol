// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Epochs} from "./Epochs.sol";
import {Entry, History} from "./Histories.sol";
import {Payees} from "./Payees.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Models: owners, lineage, terms
/// @notice See IRegistry, the manual.
abstract contract Models is Payees, Epochs {
    uint256 public constant MAX_PARENTS = 4;

    /// @dev An entry is the owner, 20 bytes, and the time of its commitment, 4: it fits until 2106.
    mapping(bytes32 id => History) private _owners;
    /// @dev An entry is a hash of lineage and terms.
    mapping(bytes32 id => History) private _contents;

    /// @inheritdoc IRegistry
    function register(bytes32 id, Parent[] calldata parents, bytes32 terms, bytes32 salt) external {
        uint256 committedAt = _reveal(id, salt);
        Model memory model = models(id);
        if (model.owner != address(0) && committedAt >= model.committedAt) revert ModelTaken(id, model.owner);
        if (parents.length > MAX_PARENTS) revert TooManyParents(parents.length, MAX_PARENTS);
        for (uint256 i; i < parents.length; ++i) {
            _checkContent(parents[i].id, _contents[parents[i].id].last, parents[i].lineage, parents[i].terms);
        }
        bytes32 lineage = keccak256(abi.encode(parents));
        uint32 fromEpoch = frozenEpoch() + 1;
        uint32 number = _contents[id].put(_contentHash(lineage, terms), fromEpoch);
        uint32 ownerNumber = _putOwner(id, msg.sender, committedAt, fromEpoch);
        emit ModelRegistered(id, msg.sender, parents, lineage, terms, fromEpoch, number, ownerNumber);
    }

    /// @inheritdoc IRegistry
    function changeTerms(bytes32 id, bytes32 lineage, bytes32 previous, bytes32 terms) public virtual {
        _checkOwner(id);
        _checkContent(id, _contents[id].last, lineage, previous);
        uint32 fromEpoch = frozenEpoch() + 1;
        uint32 number = _contents[id].put(_contentHash(lineage, terms), fromEpoch);
        emit TermsChanged(id, terms, fromEpoch, number);
    }

    /// @inheritdoc IRegistry
    function models(bytes32 id) public view returns (Model memory) {
        Entry memory last = _owners[id].last;
        return Model(_owner(last), uint32(uint192(last.what)), last.fromEpoch, last.number); // the low 4 of 24 bytes
    }

    /// @inheritdoc IRegistry
    function content(bytes32 id) public view returns (bytes24, uint32, uint32) {
        Entry memory last = _contents[id].last;
        return (last.what, last.fromEpoch, last.number);
    }

    /// @inheritdoc IRegistry
    function ownerAt(bytes32 id, uint64 epoch, uint32 number) external view returns (address) {
        return _owner(_find(_owners[id], epoch, number));
    }

    /// @inheritdoc IRegistry
    function contentAt(bytes32 id, uint64 epoch, uint32 number, bytes32 lineage, bytes32 terms)
        external
        view
        returns (bool)
    {
        Entry memory entry = _find(_contents[id], epoch, number);
        if (number == 0) return false;
        _checkContent(id, entry, lineage, terms);
        return true;
    }

    /// @dev The model changes hands: the new owner is paid from the next open epoch on.
    function _setOwner(bytes32 id, Model memory model, address to) internal returns (uint32 fromEpoch) {
        fromEpoch = frozenEpoch() + 1;
        uint32 number = _putOwner(id, to, model.committedAt, fromEpoch);
        emit OwnerChanged(id, model.owner, to, fromEpoch, number);
    }

    function _putOwner(bytes32 id, address to, uint256 committedAt, uint32 fromEpoch) private returns (uint32 number) {
        registerPayee(to); // refuses zero
        return _owners[id].put(bytes24(bytes20(to)) | bytes24(uint192(uint32(committedAt))), fromEpoch);
    }

    function _checkOwner(bytes32 id) internal view returns (Model memory model) {
        model = models(id);
        if (msg.sender != model.owner) revert NotOwner(msg.sender, model.owner);
    }

    function _checkContent(bytes32 id, Entry memory entry, bytes32 lineage, bytes32 terms) private pure {
        if (entry.number == 0) revert ModelUnknown(id);
        bytes24 given = _contentHash(lineage, terms);
        if (given != entry.what) revert TermsUnknown(id, entry.what, given);
    }

    function _find(History storage history, uint64 epoch, uint32 number) private view returns (Entry memory) {
        if (epoch > frozenEpoch()) revert EpochOpen(epoch, frozenEpoch());
        return history.find(epoch, number);
    }

    function _owner(Entry memory entry) private pure returns (address) {
        return address(bytes20(entry.what));
    }

    function _contentHash(bytes32 lineage, bytes32 terms) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(lineage, terms)));
    }
}
