// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Models} from "./Models.sol";
import {Owed} from "./Owed.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Transfers and sales of models
/// @notice See IRegistry, the manual.
abstract contract Sales is Models, Owed {
    /// @dev Hash of an offer and of all that ends it, but a transfer and a sale, which delete it; one a model.
    mapping(bytes32 id => bytes32) private _offers;

    /// @inheritdoc IRegistry
    function transfer(bytes32 id, address to) external {
        Model memory model = _checkOwner(id);
        delete _offers[id]; // it would stand again if the model came back
        _setOwner(id, model, to);
    }

    /// @inheritdoc IRegistry
    function offerModel(bytes32 id, address buyer, uint64 price, bytes32 terms) external {
        Model memory model = _checkOwner(id);
        if (price == 0) revert PriceZero();
        _offers[id] = _offerHash(id, model, buyer, price, terms);
        emit ModelOffered(id, msg.sender, buyer, price, terms);
    }

    /// @inheritdoc IRegistry
    function withdrawOffer(bytes32 id) external {
        _checkOwner(id);
        if (_offers[id] == 0) revert OfferUnknown(id);
        delete _offers[id];
        emit OfferWithdrawn(id);
    }

    /// @inheritdoc IRegistry
    function buyModel(bytes32 id, address buyer, uint64 price, bytes32 terms) external {
        Model memory model = models(id);
        if (_offers[id] != _offerHash(id, model, buyer, price, terms)) revert OfferUnknown(id);
        if (buyer != address(0) && buyer != msg.sender) revert NotTheBuyer(msg.sender, buyer);
        uint256 finalAt = model.committedAt + COMMITMENT_LIFE;
        if (block.timestamp < finalAt) revert NotFinal(id, finalAt);
        delete _offers[id];
        uint32 fromEpoch = _setOwner(id, model, msg.sender);
        emit ModelSold(id, model.owner, msg.sender, price, terms, fromEpoch);
        _credit(model.owner, price);
        _take(price);
    }

    /// @dev Commitment (a contest changes it), lineage and terms are those of now.
    function _offerHash(bytes32 id, Model memory model, address buyer, uint64 price, bytes32 terms)
        private
        view
        returns (bytes32)
    {
        (bytes24 content_,,) = content(id);
        return keccak256(abi.encode(model.committedAt, content_, buyer, price, terms));
    }
}
