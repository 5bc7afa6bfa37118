// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Models} from "./Models.sol";
import {Owed} from "./Owed.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Transfers and sales of models
/// @notice See IRegistry, the manual.
abstract contract Sales is Models, Owed {
    /// @dev Hash of an offer and of the owner's commitment, which a contest changes; one a model. Other changes of owner, and
    /// of terms, delete it: otherwise it would stand again when the model is again what it was.
    mapping(bytes32 id => bytes32) private _offers;

    /// @inheritdoc IRegistry
    function transfer(bytes32 id, address to) external {
        Model memory model = _checkOwner(id);
        delete _offers[id];
        _setOwner(id, model, to);
    }

    /// @inheritdoc IRegistry
    function changeTerms(bytes32 id, bytes32 lineage, bytes32 previous, bytes32 terms) public override {
        super.changeTerms(id, lineage, previous, terms);
        delete _offers[id];
    }

    /// @inheritdoc IRegistry
    function offerModel(bytes32 id, address buyer, uint64 price, uint40 until, bytes32 agreement) external {
        Model memory model = _checkOwner(id);
        if (price == 0) revert PriceZero();
        if (block.timestamp >= until) revert OfferExpired(until);
        (bytes24 content_,,) = content(id);
        Offer memory offer = Offer(msg.sender, buyer, price, until, content_, agreement);
        _offers[id] = _offerHash(model, offer);
        emit ModelOffered(id, offer);
    }

    /// @inheritdoc IRegistry
    function withdrawOffer(bytes32 id) external {
        _checkOwner(id);
        if (_offers[id] == 0) revert OfferUnknown(id);
        delete _offers[id];
        emit OfferWithdrawn(id);
    }

    /// @inheritdoc IRegistry
    function buyModel(bytes32 id, Offer calldata offer) external {
        Model memory model = models(id);
        if (_offers[id] != _offerHash(model, offer)) revert OfferUnknown(id);
        if (block.timestamp >= offer.until) revert OfferExpired(offer.until);
        if (offer.buyer != address(0) && offer.buyer != msg.sender) revert NotTheBuyer(msg.sender, offer.buyer);
        uint256 finalAt = model.committedAt + COMMITMENT_LIFE;
        if (block.timestamp < finalAt) revert NotFinal(id, finalAt);
        delete _offers[id];
        uint32 fromEpoch = _setOwner(id, model, msg.sender);
        emit ModelSold(id, offer.seller, msg.sender, offer.price, offer.agreement, fromEpoch);
        _credit(offer.seller, offer.price);
        _take(offer.price);
    }

    /// @inheritdoc IRegistry
    function isOffered(bytes32 id, Offer calldata offer) external view returns (bool) {
        return _offers[id] == _offerHash(models(id), offer);
    }

    function _offerHash(Model memory model, Offer memory offer) private pure returns (bytes32) {
        return keccak256(abi.encode(model.committedAt, offer));
    }
}
