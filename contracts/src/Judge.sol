// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IJudge} from "./interfaces/IJudge.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Header, Headers, Tree} from "./Headers.sol";
import {Receipt, Receipts} from "./Receipt.sol";
import {SumTree} from "./SumTree.sol";

/// @title Judge: what stands in a batch
/// @notice Every tree has the height that the header states, and every leaf an index that the chain knows: a path of
/// another length, or to another place, proves nothing.
abstract contract Judge is IJudge {
    using Headers for Header;

    ISettlement public immutable settlement;
    IRegistry public immutable registry;

    constructor(ISettlement settlement_, IRegistry registry_) {
        (settlement, registry) = (settlement_, registry_);
    }

    /// @dev The end of every proof about a pending batch.
    function _convict(address lane, uint64 id, Header calldata header, bool lies) internal {
        if (!lies) revert NotProven();
        settlement.convict(lane, id, header.id(), msg.sender);
    }

    /// @dev Batch 1 has no previous one: where that matters, the caller looks at `header.prev`.
    function _checkPrevious(Header calldata header, Header calldata prevHeader) internal pure {
        if (header.prev == 0 || prevHeader.id() != header.prev) revert PreviousHeaderWrong();
    }

    function _checkWord(Header calldata header, Tree tree, uint256 index, bytes32 word, bytes32[] calldata proof)
        internal
        pure
    {
        _checkNode(header.root(tree), header.height(tree), index, word, proof);
    }

    /// @dev A node `depth` levels below `root`.
    function _checkNode(bytes32 root, uint256 depth, uint256 index, bytes32 word, bytes32[] calldata proof)
        internal
        pure
    {
        bool stands = index >> depth != 0
            ? word == 0 && proof.length == 0
            : proof.length == depth && SumTree.verify(root, word, index, proof);
        if (!stands) revert ProofInvalid();
    }

    /// @dev What an index was paid or debited, in all, when the batch was closed.
    function _checkAccounts(Header calldata header, Tree tree, uint256 index, Word calldata word)
        internal
        pure
        returns (uint64 cumulative)
    {
        if (tree != Tree.payouts && tree != Tree.debits) revert ProofInvalid();
        _checkWord(header, tree, index, word.word, word.proof);
        return SumTree.sum(word.word);
    }

    function _checkRow(address lane, Header calldata header, Row calldata row) internal pure {
        bytes32 word =
            row.first == 0 ? bytes32(0) : SumTree.gatewayLeaf(lane, row.number, row.key, row.first, row.count);
        if (row.first == 0 && row.count != 0) revert ProofInvalid();
        _checkWord(header, Tree.gateways, row.number, word, row.proof);
    }

    function _open(address lane, Header calldata header, Opening calldata opening)
        internal
        pure
        returns (Receipt memory r)
    {
        r = Receipts.read(opening.record);
        _checkWord(header, Tree.receipts, opening.place, _leaf(lane, r), opening.proof);
    }

    /// @dev The receipts of a range of places, with empty ones (`gateway` 0) where the zero word stands.
    function _openAll(address lane, Header calldata header, Openings calldata openings)
        internal
        pure
        returns (Receipt[] memory receipts)
    {
        receipts = new Receipt[](openings.records.length);
        bytes32[] memory leaves = new bytes32[](receipts.length);
        for (uint256 i; i < leaves.length; ++i) {
            if (openings.records[i].length == 0) continue;
            receipts[i] = Receipts.read(openings.records[i]);
            leaves[i] = _leaf(lane, receipts[i]);
        }
        bytes32 root = SumTree.rangeRoot(leaves, openings.start, header.height(Tree.receipts), openings.proof);
        if (root == 0 || root != header.receiptsRoot) revert ProofInvalid();
    }

    function _leaf(address lane, Receipt memory r) internal pure returns (bytes32) {
        return SumTree.receiptLeaf(lane, Receipts.hash(r), r.charge);
    }
}
