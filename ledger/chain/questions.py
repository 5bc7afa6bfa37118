"""The keys of challenges, as Settlement makes them, and what was answered."""

from __future__ import annotations

from eth_abi.abi import encode

from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest


def node(tree: int, word: bytes, index: int, depth: int) -> Digest:
    """Of a demand for a node."""
    return keccak256(encode(["uint8", "bytes32", "uint256", "uint256"], [tree, word, index, depth]))


def debit(index: int, account: Address, cumulative: int) -> Digest:
    """Of a challenge of a debit."""
    return keccak256(encode(["uint32", "address", "uint64"], [index, account, cumulative]))
