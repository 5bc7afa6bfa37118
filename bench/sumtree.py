"""Merkle-sum tree: leaves a second at a million leaves, hashing of leaves included, one thread.

Beside the kernel: the plain page (safe-pysha3), the same page on pycryptodome's Keccak, and OpenZeppelin's JavaScript
tree, which commits to no sums. The slow ones build fewer leaves; their cost is linear.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from Crypto.Hash import keccak as pycryptodome

from bench.report import best, save, table
from ledger.core.kernels.sum_tree import Levels
from ledger.core.settlement.cumulatives import Cumulatives
from ledger.core.values import sum_tree
from ledger.core.values.ids import Address, Lane

LANE = Lane(bytes(19) + b"\1")
PEER = Path(__file__).parent / "peers" / "openzeppelin.js"


def plain(rows: list[tuple[int, Address, int]]) -> sum_tree.Tree:
    """Leaves and levels by the plain page."""
    return sum_tree.Tree.build([sum_tree.leaf(1, LANE, *row) for row in rows])


def by_pycryptodome(rows: list[tuple[int, Address, int]]) -> bytes:
    """The same tree, hashed by pycryptodome."""

    def node(data: bytes, amount: int) -> bytes:
        return pycryptodome.new(digest_bits=256, data=data).digest()[:24] + amount.to_bytes(8, "big")

    level = [
        node(bytes((1,)) + LANE + index.to_bytes(4, "big") + account + amount.to_bytes(8, "big"), amount)
        for index, account, amount in rows
    ]
    height = 0
    while len(level) > 1:
        if len(level) & 1:
            level.append(sum_tree.EMPTY[height])
        level = [
            node(left + right, int.from_bytes(left[24:], "big") + int.from_bytes(right[24:], "big"))
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
        height += 1
    return level[0]


def openzeppelin(count: int) -> float | None:
    """Leaves a second of OpenZeppelin's tree, or None where there is no Node."""
    node = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if node is None:
        return None
    ran = subprocess.run([node, str(PEER), str(count)], capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"OpenZeppelin's tree did not run: {ran.stderr.strip().splitlines()[-1:]}")
        return None
    return count / float(json.loads(ran.stdout)["seconds"])


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    count = parser.parse_args().leaves
    few = min(count, 20_000)
    chance = np.random.default_rng(1)
    accounts = chance.integers(0, 256, (count, 20), np.uint8)
    amounts = chance.integers(1, 10**12, count).astype(np.uint64)
    everybody = Cumulatives(np.arange(count), accounts, amounts)
    rows = Cumulatives(np.arange(few), accounts[:few], amounts[:few]).rows()

    small = Cumulatives.of(rows).tree(1, LANE)  # compiles
    assert small.root == plain(rows).root == by_pycryptodome(rows)
    leaves = everybody.leaves(1, LANE)
    ours = count / best(lambda: everybody.tree(1, LANE))
    inner = count / best(lambda: Levels.build(leaves))
    tree = Levels.build(leaves)
    changes = {int(i): sum_tree.leaf(1, LANE, int(i), Address(bytes(20)), 7) for i in chance.integers(0, count, 1_000)}
    _, positions = sum_tree.positions_to_read(changes, tree.height)
    known = {at: tree.at(*at) for at in positions}
    update = len(changes) / best(lambda: sum_tree.rehash(changes, tree.height, tree.height, known))
    rates = {
        "numba kernel, leaves and levels": ours,
        "plain page, safe-pysha3": few / best(lambda: plain(rows), 2),
        "plain page, pycryptodome": few / best(lambda: by_pycryptodome(rows), 2),
    }
    peer = openzeppelin(few)
    if peer is not None:
        rates["OpenZeppelin merkle-tree (JavaScript, no sums)"] = peer
    table(f"sum tree, {count:,} leaves, one thread", "leaves/s", rates, "numba kernel, leaves and levels")
    print(f"  levels alone {inner:,.0f} leaves/s; {len(changes)} changed leaves: {update:,.0f} updates/s")
    facts = {
        "sumtree_leaves_per_s": round(ours),
        "sumtree_levels_only_per_s": round(inner),
        "sumtree_updates_per_s": round(update),
        "sumtree_pysha3_per_s": round(rates["plain page, safe-pysha3"]),
        "sumtree_pycryptodome_per_s": round(rates["plain page, pycryptodome"]),
        "sumtree_openzeppelin_per_s": round(peer) if peer is not None else None,
        "sumtree_ratio_to_pycryptodome": round(ours / rates["plain page, pycryptodome"], 1),
        "sumtree_ratio_to_openzeppelin": round(ours / peer, 1) if peer is not None else None,
    }
    save("sumtree", facts)


if __name__ == "__main__":
    main()
