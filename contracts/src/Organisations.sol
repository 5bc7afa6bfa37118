// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Sales} from "./Sales.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Organisations and the names they publish
/// @notice See IRegistry, the manual.
abstract contract Organisations is Sales {
    uint256 public constant MAX_NAME = 64;

    struct Organisation {
        address owner;
        /// Counted up with every change of owner, so that keys end with it.
        uint32 term;
    }

    /// @inheritdoc IRegistry
    uint64 public immutable nameStake;

    mapping(bytes32 name => Organisation) private _organisations;
    mapping(bytes32 name => mapping(uint32 term => mapping(address key => bool))) private _keys;
    mapping(bytes32 organisation => mapping(string name => bytes32)) private _named;

    constructor(uint64 nameStake_) {
        nameStake = nameStake_;
    }

    /// @inheritdoc IRegistry
    function registerOrganisation(bytes32 name, bytes32 salt) external {
        _reveal(name, salt);
        _checkLabel(name);
        address owner = _organisations[name].owner;
        if (owner != address(0)) revert OrganisationTaken(name, owner);
        _setOrganisation(name, msg.sender);
        _take(nameStake);
    }

    /// @inheritdoc IRegistry
    function setOrganisationKey(bytes32 name, address key, bool valid) external {
        _keys[name][_onlyOwner(name).term][key] = valid;
        emit OrganisationKeySet(name, key, valid);
    }

    /// @inheritdoc IRegistry
    function transferOrganisation(bytes32 name, address to) external {
        _onlyOwner(name);
        if (to == address(0)) revert ZeroAddress();
        _setOrganisation(name, to);
    }

    /// @inheritdoc IRegistry
    function releaseOrganisation(bytes32 name) external {
        _onlyOwner(name);
        _setOrganisation(name, address(0));
        _credit(msg.sender, nameStake);
    }

    /// @inheritdoc IRegistry
    function publishName(bytes32 organisation, string calldata name, bytes32 model) external {
        address owner = models(model).owner;
        if (owner == address(0)) revert ModelUnknown(model);
        if (!speaksFor(organisation, msg.sender)) revert NotOfOrganisation(organisation, msg.sender);
        if (!speaksFor(organisation, owner)) revert NotOfOrganisation(organisation, owner);
        _checkName(bytes(name));
        bytes32 before = _named[organisation][name];
        if (before != 0) revert NameTaken(before);
        _named[organisation][name] = model;
        emit NamePublished(organisation, name, model);
    }

    /// @inheritdoc IRegistry
    function organisationOwner(bytes32 name) external view returns (address) {
        return _organisations[name].owner;
    }

    /// @inheritdoc IRegistry
    function speaksFor(bytes32 organisation, address party) public view returns (bool) {
        Organisation memory o = _organisations[organisation];
        return o.owner != address(0) && (party == o.owner || _keys[organisation][o.term][party]);
    }

    /// @inheritdoc IRegistry
    function named(bytes32 organisation, string calldata name) external view returns (bytes32) {
        return _named[organisation][name];
    }

    function _setOrganisation(bytes32 name, address owner) private {
        _organisations[name] = Organisation(owner, _organisations[name].term + 1);
        emit OrganisationChanged(name, owner);
    }

    function _onlyOwner(bytes32 name) private view returns (Organisation memory o) {
        o = _organisations[name];
        if (msg.sender != o.owner) revert NotOwner(msg.sender, o.owner);
    }

    /// @dev `[a-z0-9-]`, at least one, then nothing but zeros.
    function _checkLabel(bytes32 name) private pure {
        uint256 length;
        while (length < 32 && name[length] != 0) {
            if (!_plain(name[length++])) revert NameMalformed();
        }
        bool ended = length == 32 || uint256(name) << 8 * length == 0;
        if (length == 0 || !ended) revert NameMalformed();
    }

    function _checkName(bytes calldata name) private pure {
        if (name.length == 0 || name.length > MAX_NAME) revert NameMalformed();
        for (uint256 i; i < name.length; ++i) {
            bytes1 c = name[i];
            if (!_plain(c) && c != "." && c != "_" && c != "@") revert NameMalformed();
        }
    }

    function _plain(bytes1 c) private pure returns (bool) {
        return (c >= "a" && c <= "z") || (c >= "0" && c <= "9") || c == "-";
    }
}
