"""What operators opened on chain, under the word that was asked for: the clues of `core.disputes.challenge_game`."""

from __future__ import annotations

from ledger.chain.abi import interface
from ledger.chain.client import Chain
from ledger.core.disputes.recomputation import Answers
from ledger.core.receipts.receipt import RECEIPT_TYPEHASH
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from ledger.core.values.sum_tree import Word, parent, receipt_leaf, tree_node

RECEIPT_BYTES = 672
"""A receipt's preimage: its 21 words. All other leaves have 33 bytes or fewer."""
_CHARGE = slice(16 * 32, 17 * 32)


def answers(chain: Chain) -> Answers:
    """Every node and leaf that was ever opened. The contract checked each against its word."""
    nodes: dict[Word, tuple[Word, Word]] = {}
    leaves: dict[Word, tuple[bytes, bytes]] = {}
    opened, shown = (interface("Settlement").topic(name) for name in ("NodeOpened", "LeafOpened"))
    where = {"fromBlock": hex(chain.deployment.block), "toBlock": "latest", "address": chain.deployment.settlement}
    for log in chain.rpc("eth_getLogs", {**where, "topics": [[to_hex(opened), to_hex(shown)]]}):
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        decoded = interface("Settlement").decode_log(topics, bytes.fromhex(log["data"][2:]))
        assert decoded is not None, "only these two were asked for"
        name, said = decoded
        if name == "NodeOpened":
            nodes[parent(said["left"], said["right"])] = (said["left"], said["right"])
        else:
            leaves[_leaf(said["preimage"])] = (said["preimage"], said["terms"])
    return Answers(nodes, leaves)


def _leaf(preimage: bytes) -> Word:
    if len(preimage) == RECEIPT_BYTES:
        return receipt_leaf(keccak256(RECEIPT_TYPEHASH, preimage), int.from_bytes(preimage[_CHARGE], "big"))
    return tree_node(keccak256(preimage), int.from_bytes(preimage[-8:], "big"))
