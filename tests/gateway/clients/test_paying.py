"""Stock clients that pay for calls, at their newest: @x402/fetch by x402, and mppx by MPP. Each brings the token's name
and a cap, and makes a plain call and a streamed one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from ledger.core.values.ids import Address, to_hex
from tests import book
from tests.gateway.clients.outcomes import Record, note
from tests.gateway.nodes import Asked, Node, Wire, answering, streaming
from tests.gateway.test_x402 import MINED, PRICE, chain
from tests.gateway.world import CHAIN, TOKEN, World
from tests.javascript import NODE

__all__ = ["chain"]
HERE = Path(__file__).parent / "paying"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="no clients there: make test-slow installs them"),
]
SECRET = "0x" + "5a" * 32
PAYER = Address(bytes.fromhex(Account.from_key(SECRET).address[2:]))


async def whole_or_streamed(asked: Asked, wire: Wire) -> None:
    """A node that does what it is asked."""
    serve = streaming(5, (10, 5)) if json.loads(asked.body).get("stream") else answering()
    await serve(asked, wire)


def paid_by(program: str, world: World, node: Node, home: Path, record: Record) -> Any:
    """What a client read of its two payments."""
    node.behaviour = whole_or_streamed
    gateway = world.gateway()
    command: list[str | Path] = [
        NODE,
        HERE / program,
        gateway.url,
        SECRET,
        str(CHAIN),
        to_hex(TOKEN),
        "AI Coin",
        "1",
        "1000000",
    ]
    bare = {"HOME": str(home), "PATH": os.environ["PATH"]}
    ended = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [one.receipt.charge for one in world.receipts_of(PAYER)] == [PRICE, PRICE]
    note(record, f"paying/{program}", ended.stdout)
    return json.loads(ended.stdout.splitlines()[-1])


def test_x402_of_npm_pays_by_exact_and_reads_the_transaction(
    chain: World, node: Node, tmp_path: Path, record_property: Record
) -> None:
    for payment in paid_by("x402_fetch.mjs", chain, node, tmp_path, record_property):
        assert (payment["success"], payment["payer"]) == (True, to_hex(PAYER))
        assert (payment["amount"], payment["transaction"]) == (str(PRICE), to_hex(MINED))


def test_mppx_of_npm_pays_by_a_charge_and_reads_its_receipt(
    chain: World, node: Node, tmp_path: Path, record_property: Record
) -> None:
    for receipt in paid_by("mppx_charge.mjs", chain, node, tmp_path, record_property):
        assert (receipt["method"], receipt["status"], receipt["reference"]) == ("evm", "success", to_hex(MINED))


def test_the_readmes_client_of_mppx_pays(chain: World, node: Node, tmp_path: Path) -> None:
    url, readme = chain.gateway().url, book.typed("gateway/README.md", "Mppx.create").with_({"0x...": to_hex(TOKEN)})
    body = json.dumps({"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50})
    request = f'{{method: "POST", headers: {{"content-type": "application/json"}}, body: {json.dumps(body)}}}'
    (tmp_path / "readme.mjs").write_text(
        'import { privateKeyToAccount } from "viem/accounts";\n'
        f'const account = privateKeyToAccount("{SECRET}");\n'
        f'{readme.text}\nconsole.log((await fetch("{url}/v1/chat/completions", {request})).status);\n'
    )
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    ended = subprocess.run([NODE, "readme.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout == "200\n", ended.stderr
    assert [one.receipt.charge for one in chain.receipts_of(PAYER)] == [PRICE]
