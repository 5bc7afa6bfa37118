"""A new meter is a row in the core's table and a row in the contracts': tried on a copy of both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.chain.rpc import Endpoint
from ledger.core.values.ids import to_hex
from tests.builders import an_address

ROOT = Path(__file__).parents[3]
METERS, ON_CHAIN = "ledger/core/values/meters.py", "contracts/src/Meters.sol"
ROWS = [
    (METERS, "    fuel = 14, 10**6\n", "    fuel = 14, 10**6\n    video_token = 15, 10**6, 4\n"),
    (ON_CHAIN, 'hex"3f"; // 14 fuel', 'hex"3f" hex"34"; // 14 fuel, 15 video_token'),
    (ON_CHAIN, "METERS = 15;", "METERS = 16;"),
]
"""What CONTRIBUTING says to write: the file, the text, and what takes its place."""
HARNESS = an_address(99)
USE = """
import json
from contracts import build
from ledger.chain.abi import Interface
from ledger.core.catalog.bids import Line, Role, decode, encode
from ledger.core.pricing.price import price
from ledger.core.receipts.receipt import pack, struct_hash, unpack
from ledger.core.values import meters
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from tests.builders import COMPUTE, MAKER, a_receipt, some_terms

used = meters.units({"video_token": 5_000_001, "call": 1})
assert meters.used(used) == {"call": 1, "video_token": 5_000_001}
assert meters.coarse(used).output_token == 5_000_001
harness = build.compile_unit(("test/LibrariesHarness",))["test/LibrariesHarness"]
calls, answers = [], []
for ask in ({"video_token": "7"}, {"output_token": "3"}, {"output_token": "3", "video_token": "0"}, {"fuel": "9"}):
    rates = meters.rates(ask)
    meters.check_rates(rates)
    assert meters.quoted(rates) == ask
    terms = some_terms(lines=[Line(MAKER, Role.maker, 100_000), Line(COMPUTE, Role.compute, 0, rates)])
    receipt = a_receipt(1, terms, units=used)
    assert decode(encode(terms)) == terms and unpack(pack(receipt)) == receipt
    calls.append(to_hex(Interface(harness["abi"]).call_data("run", [pack(receipt)], [encode(terms)], COMPUTE)))
    answers.append([keccak256(bytes(32) + struct_hash(receipt)).hex(), price(terms, used).amounts[1]])
print(json.dumps({"code": harness["deployedBytecode"], "calls": calls, "answers": answers}))
"""
"""A use of the new meter under four asks, by the core; and calls that ask the contracts' libraries for the same."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_new_meter_is_a_row_in_the_core_and_a_row_on_chain(anvil: str, tmp_path: Path) -> None:
    for folder in ("ledger", "contracts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("out", "cache", "__pycache__"))
    for shared in ("tests", "node_modules"):
        (tmp_path / shared).symlink_to(ROOT / shared)
    for name, row, rows in ROWS:
        text = (tmp_path / name).read_text()
        assert text.count(row) == 1, row
        (tmp_path / name).write_text(text.replace(row, rows))
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "TOLLWAY_ROOT": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    copy = json.loads(ended.stdout)
    assert [amount for _, amount in copy["answers"]] == [36, 16, 0, 0], "at 7, at the coarser meter's 3, free, no ask"
    for call, (hashes, amount) in zip(copy["calls"], copy["answers"], strict=True):
        harness = {to_hex(HARNESS): {"code": copy["code"]}}
        said = Endpoint(anvil).rpc("eth_call", {"to": to_hex(HARNESS), "data": call}, "latest", harness)
        assert said == f"0x{hashes}{amount:064x}"
