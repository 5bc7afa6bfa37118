// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Registry: who is paid at which index, and who owns which model
/// @notice A model's id is the sha256 of its canonical document. Registration is commit and reveal: the commitment
/// hides the id, so nobody can register a document by reading it in somebody's transaction. If a later commitment was
/// revealed first, the earlier one takes the model over within `CONTEST_TIME` (offence S7).
interface IRegistry {
    /// @notice One slot per model.
    struct Model {
        address owner;
        /// Block of the owner's commitment.
        uint40 committedIn;
        uint40 registeredAt;
    }

    /// @notice `party` is paid at `index` of every payout tree.
    event PayeeRegistered(uint32 indexed index, address indexed party);
    /// @notice Somebody will register something.
    event ModelCommitted(bytes32 indexed commitment);
    /// @notice A model exists. `terms` is the digest of the lineage terms its owner offers to children.
    event ModelRegistered(bytes32 indexed id, address indexed owner, bytes32[] parents, bytes32 terms);
    /// @notice An earlier commitment took the model over.
    event ModelContested(bytes32 indexed id, address indexed from, address indexed to);
    /// @notice New terms for children to come; those registered keep what they froze.
    event TermsUpdated(bytes32 indexed id, bytes32 terms);
    /// @notice The model changed hands.
    event ModelTransferred(bytes32 indexed id, address indexed from, address indexed to);

    error ZeroAddress();
    error AlreadyCommitted(bytes32 commitment);
    error NotCommitted(bytes32 commitment);
    error CommitmentTooFresh(uint256 committedIn);
    error ModelTaken(bytes32 id, address owner);
    error ParentUnknown(bytes32 parent);
    error TooManyParents(uint256 parents, uint256 max);
    error NotOwner(address caller, address owner);

    /// @notice Gives `party` its payee index, or the one it has. Anyone may call, for anyone.
    function registerPayee(address party) external returns (uint32 index);

    /// @notice First step: `keccak256(abi.encode(manifestHash, owner, salt))`.
    function commitModel(bytes32 commitment) external;

    /// @notice Second step, in a later block: the caller becomes the owner of `manifestHash`.
    /// @param parents Registered models it descends from, at most 4. @param terms Digest of its lineage terms.
    function register(bytes32 manifestHash, bytes32[] calldata parents, bytes32 terms, bytes32 salt) external;

    /// @notice Offers other terms to future children.
    function update(bytes32 id, bytes32 terms) external;

    /// @notice Gives the model away.
    function transfer(bytes32 id, address to) external;

    /// @notice Payee index of a party; 0 if none.
    function payeeIndex(address party) external view returns (uint32);
    /// @notice Party at a payee index; zero if none.
    function payeeAt(uint32 index) external view returns (address);
    /// @notice Number of payees.
    function payeeCount() external view returns (uint32);
    /// @notice A model.
    function models(bytes32 id) external view returns (Model memory);
    /// @notice Block of a commitment; 0 if never made.
    function commitments(bytes32 commitment) external view returns (uint256);
}
