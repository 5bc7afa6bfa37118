// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "./IEpochs.sol";
import {IOwed} from "./IOwed.sol";

/// @title Registry: who is paid at which index, who owns which model, who may use which name
/// @notice A model's id is the sha256 of its canonical document. Models and organisations are registered by commitment and
/// reveal: `commit` hides what is registered, so nobody takes an id or a name by reading it in somebody's transaction. A
/// commitment is revealed in a later second, and within COMMITMENT_LIFE.
///
/// **Models.** An earlier commitment takes a model over (offence S7) while it lives: COMMITMENT_LIFE after the owner's own
/// commitment the model is final. Who owns a model, and its parents and terms, are kept by epoch: a change counts from the
/// next epoch whose books are open, at most one an epoch, and the state of every past epoch is provable in constant size.
/// The owner acts for the model at once; it is paid from the epoch its ownership enters, and the one before until then.
///
/// **Lineage.** A child names its parents with the terms each offers when the child is registered, and each one's own
/// lineage: the hash of its parents. So a model's lineage is one hash from which all its ancestors, and the terms each
/// granted, can be opened. A parent changes its terms for children to come only.
///
/// **Sales.** The owner offers a model at a price until a time; the buyer names the whole offer, pays here, and the model
/// passes in the same transaction, if it is final and still as offered. The price is owed to the seller (IOwed), so no
/// token and no seller can stop a sale. An offer ends with a change of owner, parents or terms, for good.
///
/// **Organisations** have a name of `[a-z0-9-]`, 1 to 32 characters, for as long as their stake lies here. The owner names
/// keys; a name under an organisation's own is published by the owner or a key, once, for ever.
interface IRegistry is IEpochs, IOwed {
    /// @notice A parent as its child names it.
    struct Parent {
        bytes32 id;
        /// keccak256 of the parent's own parents, as `abi.encode(Parent[])`.
        bytes32 lineage;
        /// Digest of the terms that the parent offers its children.
        bytes32 terms;
    }

    /// @notice A model as it stands.
    struct Model {
        address owner;
        /// Time of the owner's commitment.
        uint32 committedAt;
        /// The owner is paid from this epoch on.
        uint32 fromEpoch;
        /// Number of this change of ownership, from 1.
        uint32 number;
    }

    // ------------------------------------------------------------------ payees

    /// @notice `party` is paid at `index` of every payout tree.
    event PayeeRegistered(uint32 indexed index, address indexed party);

    error ZeroAddress();
    error TooManyPayees(uint256 max);

    /// @notice Gives `party` its payee index, or the one it has. Anyone may call, for anyone. Indices are dense, from 1, and
    /// below 2^31. Bids, registrations, transfers and sales do this by themselves.
    function registerPayee(address party) external returns (uint32 index);

    /// @notice Payee index of a party; 0 if none.
    function payeeIndex(address party) external view returns (uint32);
    /// @notice Party at a payee index; zero if none.
    function payeeAt(uint32 index) external view returns (address);
    /// @notice Number of payees.
    function payeeCount() external view returns (uint32);

    // ------------------------------------------------------------------ commitments

    /// @notice Somebody will register something.
    event Committed(bytes32 indexed commitment);

    error AlreadyCommitted(bytes32 commitment);
    error NotCommitted(bytes32 commitment);
    error CommitmentTooFresh(uint256 committedAt);
    error CommitmentExpired(uint256 committedAt);

    /// @notice First step: `keccak256(abi.encode(model id or organisation, owner, salt))`. Again once it has expired.
    function commit(bytes32 commitment) external;

    /// @notice Time of a commitment; 0 if it was never made or is used.
    function commitments(bytes32 commitment) external view returns (uint256);
    /// @notice Seconds in which a commitment can be revealed.
    function COMMITMENT_LIFE() external view returns (uint256);

    // ------------------------------------------------------------------ models

    /// @notice A model exists, or an earlier commitment took it over. `lineage` is the hash of its parents. `number` counts
    /// the changes of (parents, terms), `ownerNumber` those of ownership; both are of `fromEpoch`. Of two events for one
    /// number, here as everywhere, the later one counts.
    event ModelRegistered(
        bytes32 indexed id,
        address indexed owner,
        Parent[] parents,
        bytes32 lineage,
        bytes32 terms,
        uint32 fromEpoch,
        uint32 number,
        uint32 ownerNumber
    );
    /// @notice A model changed hands, by gift or sale. `to` is paid from `fromEpoch` on, `from` until then.
    event OwnerChanged(bytes32 indexed id, address indexed from, address indexed to, uint32 fromEpoch, uint32 number);
    /// @notice New terms for children to come; `number` counts the changes of (parents, terms).
    event TermsChanged(bytes32 indexed id, bytes32 terms, uint32 fromEpoch, uint32 number);

    error ModelTaken(bytes32 id, address owner);
    error ModelUnknown(bytes32 id);
    error TooManyParents(uint256 parents, uint256 max);
    /// @notice This is not a model's lineage and terms: of a parent, they may have changed meanwhile.
    error TermsUnknown(bytes32 id, bytes24 expected, bytes24 given);
    error NotOwner(address caller, address owner);

    /// @notice Second step: the caller becomes the owner of `id`. `parents` are registered models, at most 4; `terms` is the
    /// digest of the terms it offers its own children.
    function register(bytes32 id, Parent[] calldata parents, bytes32 terms, bytes32 salt) external;

    /// @notice Offers other terms to children to come. `lineage` and `previous` terms are those in the registry.
    function changeTerms(bytes32 id, bytes32 lineage, bytes32 previous, bytes32 terms) external;

    /// @notice A model as it stands now; zeros if unknown.
    function models(bytes32 id) external view returns (Model memory);
    /// @notice Hash of a model's last (lineage, terms), the epoch it enters, and its number.
    function content(bytes32 id) external view returns (bytes24 hash, uint32 fromEpoch, uint32 number);
    /// @notice Who is paid for a model in an epoch: change of ownership number `number`. Zero for number 0, when the model
    /// was registered later or never. Reverts when another number is the epoch's, or its books are open.
    function ownerAt(bytes32 id, uint64 epoch, uint32 number) external view returns (address);
    /// @notice True when a model had these parents and terms in an epoch, by change number `number`; false for number 0, when
    /// it was registered later or never. Reverts when neither is so, or the epoch's books are open.
    function contentAt(bytes32 id, uint64 epoch, uint32 number, bytes32 lineage, bytes32 terms)
        external
        view
        returns (bool);

    // ------------------------------------------------------------------ transfers and sales

    /// @notice What is offered, by whom, for how much.
    struct Offer {
        address seller;
        /// The only one who may buy; zero: anybody.
        address buyer;
        uint64 price;
        /// The first second in which nobody can buy any more.
        uint40 until;
        /// Hash of the model's parents and terms, as `content` says.
        bytes24 content;
        /// Digest of what the two agree on besides.
        bytes32 agreement;
    }

    /// @notice A model is for sale. It replaces an earlier offer.
    event ModelOffered(bytes32 indexed id, Offer offer);
    event OfferWithdrawn(bytes32 indexed id);
    /// @notice Sold. The seller is paid for calls until `fromEpoch`, the buyer from then on.
    event ModelSold(
        bytes32 indexed id,
        address indexed seller,
        address indexed buyer,
        uint64 price,
        bytes32 agreement,
        uint32 fromEpoch
    );

    error PriceZero();
    error OfferUnknown(bytes32 id);
    error OfferExpired(uint256 until);
    error NotTheBuyer(address caller, address buyer);
    /// @notice An earlier commitment may still take the model over.
    error NotFinal(bytes32 id, uint256 finalAt);

    /// @notice Gives the model away. An offer to sell it ends.
    function transfer(bytes32 id, address to) external;

    /// @notice The owner offers the model as it is, before the second `until`, to `buyer` or, if that is zero, to anybody.
    function offerModel(bytes32 id, address buyer, uint64 price, uint40 until, bytes32 agreement) external;

    /// @notice The owner takes its offer back.
    function withdrawOffer(bytes32 id) external;

    /// @notice The caller buys the model as offered, and pays by allowance. Whoever raises the price, changes the terms or
    /// gets the model first makes this revert: the caller never pays more than it names, nor for anything else.
    function buyModel(bytes32 id, Offer calldata offer) external;

    /// @notice True when this is the model's offer, and nothing has ended it. It may have expired.
    function isOffered(bytes32 id, Offer calldata offer) external view returns (bool);

    // ------------------------------------------------------------------ organisations

    /// @notice An organisation has an owner; zero when it was given up. All its keys end.
    event OrganisationChanged(bytes32 indexed name, address indexed owner);
    event OrganisationKeySet(bytes32 indexed name, address indexed key, bool valid);
    /// @notice This name under the organisation's own is this model, for ever.
    event NamePublished(bytes32 indexed organisation, string name, bytes32 indexed model);

    error NameMalformed();
    error OrganisationTaken(bytes32 name, address owner);
    error NotOfOrganisation(bytes32 name, address party);
    error NameTaken(bytes32 model);

    /// @notice Second step: the caller owns the name, and pays `nameStake` by allowance. Not contestable.
    function registerOrganisation(bytes32 name, bytes32 salt) external;

    /// @notice The owner adds or removes a key.
    function setOrganisationKey(bytes32 name, address key, bool valid) external;

    /// @notice The owner gives the organisation and its stake to another. Its keys end.
    function transferOrganisation(bytes32 name, address to) external;

    /// @notice The owner gives the name up; the stake is owed to it. What was published stays.
    function releaseOrganisation(bytes32 name) external;

    /// @notice The organisation's owner or a key publishes a model that belongs to its owner or a key. The name, version
    /// included, has 1 to 64 lower-case letters, digits, dots, underscores, hyphens and at signs.
    function publishName(bytes32 organisation, string calldata name, bytes32 model) external;

    /// @notice Owner of an organisation; zero if it has none.
    function organisationOwner(bytes32 name) external view returns (address);
    /// @notice True for an organisation's owner and its keys.
    function speaksFor(bytes32 organisation, address party) external view returns (bool);
    /// @notice The model published under this name; 0 if none.
    function named(bytes32 organisation, string calldata name) external view returns (bytes32 model);
    /// @notice Atoms that an organisation's name costs while it is held.
    function nameStake() external view returns (uint64);
}
