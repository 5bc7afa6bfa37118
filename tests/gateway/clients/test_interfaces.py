"""The demo's own models behind every interface they speak, called by stock clients in environments of their own: at a
node, at a node that resells that one, and at a node behind a tunnel. Only URL and key are ours.
"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ledger.core.values.ids import PRIVATE_LANE, Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer
from roles.node.tunnel import Identity, Tunnel
from tests.gateway.clients.outcomes import Record, note
from tests.gateway.workflows import Loom, pinned
from tests.gateway.world import DOMAIN, MAKER, PROVIDER, a_model
from tests.javascript import NODE
from tests.roles.node.conftest import MODELS, ROOT, RunningNode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("CLIENTS_PYTHON") or ROOT / ".venv" / "clients" / "bin" / "python")
KSERVE = Path(os.environ.get("KSERVE_PYTHON") or ROOT / ".venv" / "kserve" / "bin" / "python")
"""KServe wants older packages than the other clients do."""
PROGRAMS = ("openai_texts.py", "openai_texts.cjs", "cohere_rerank.py", "triton_tensors.py")
KSERVES = "kserve_tensors.py"
NAMES = ("dialog", "kb", "emotion")


def folders(maker: str) -> list[str]:
    """The demo's models, as a node serves them under a maker's names."""
    return [part for name in NAMES for part in ("--model", f"{MODELS / name}=@{maker}/{name}")]


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, RunningNode]]:
    """A node for who connects to it, another one behind a tunnel, and one that resells the first."""
    direct = RunningNode(*folders("acme"))
    sold = [part for name in NAMES for part in ("--upstream", f"@sold/{name}={direct.url}/v1#@acme/{name}")]
    made = {"acme": direct, "home": RunningNode(*folders("home")), "sold": RunningNode(*sold)}
    yield made
    assert [one.stop() for one in made.values()] == [0, 0, 0]


def publish(loom: Loom, maker: str, url: str) -> list[Digest]:
    """The models as their folders describe them, served at a URL, and a workflow of one of them."""
    subjects = []
    for name in NAMES:
        card = json.loads((MODELS / name / "model.json").read_text())["card"]
        subject = loom.world.publish(a_model(f"@{maker}/{name}", owner=did(0, MAKER.address), **card))
        loom.world.serve(subject, url, {"call": "100", "input_token": "1000000"})
        subjects.append(subject)
    steps = pinned("reply", subjects[0], {"messages": "$.messages"})
    loom.capsule(steps, output={"choices": "$steps.reply.output.choices"})
    return subjects


@asynccontextmanager
async def connected(url: str, at: str, subjects: Sequence[Digest]) -> AsyncIterator[None]:
    """A node's tunnel to a gateway."""
    tunnel = Tunnel(url, at, Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [cid(one) for one in subjects]))
    task = asyncio.create_task(tunnel.run())
    try:
        await asyncio.wait_for(tunnel.opened.wait(), 20)
        yield
    finally:
        task.cancel()


async def run(url: str, key: str, maker: str, record: Record, programs: Sequence[str] = PROGRAMS) -> list[str]:
    """What went wrong in each client's program."""
    kept = ("PATH", "NODE_PATH")  # and nobody's keys, proxies and traces
    home = {name: os.environ[name] for name in kept if name in os.environ}

    async def one(program: str) -> str:
        runtime = NODE if program.endswith(".cjs") else KSERVE if program == KSERVES else PYTHON
        command = [str(runtime), str(HERE / "interfaces" / program), url, key, maker]
        process = await asyncio.create_subprocess_exec(*command, env=home, stdout=PIPE, stderr=STDOUT)
        said, _ = await process.communicate()
        if process.returncode != 0:
            return f"{program}: {said.decode()}"
        note(record, f"interfaces/{program}", said.decode())
        return ""

    return [said for said in await asyncio.gather(*map(one, programs)) if said]


@pytest.mark.parametrize("maker", ["acme", "sold"])
async def test_a_stock_client_needs_a_url_and_a_key(
    loom: Loom, nodes: dict[str, RunningNode], consumer: Signer, maker: str, record_property: Record
) -> None:
    await asyncio.to_thread(publish, loom, maker, nodes[maker].url)
    key = await asyncio.to_thread(loom.consumer, consumer)
    assert await run(loom.gateway.url, key, maker, record_property) == []
    spent = [signed.receipt for signed in loom.world.receipts_of(consumer.address)]
    assert all(receipt.charge >= 100 for receipt in spent)
    assert sum(receipt.units.input_token > 0 for receipt in spent) == 10, "what was read was counted, by both clients"


async def test_kserves_client_needs_a_url_and_a_key(
    loom: Loom, nodes: dict[str, RunningNode], consumer: Signer, record_property: Record
) -> None:
    if not KSERVE.exists():
        pytest.skip(f"{KSERVE} is not there: make test-slow installs it")
    await asyncio.to_thread(publish, loom, "acme", nodes["acme"].url)
    key = await asyncio.to_thread(loom.consumer, consumer)
    assert await run(loom.gateway.url, key, "acme", record_property, [KSERVES]) == []
    assert len(await asyncio.to_thread(loom.world.receipts_of, consumer.address)) == 3


async def test_the_same_behind_a_tunnel(
    loom: Loom, nodes: dict[str, RunningNode], consumer: Signer, record_property: Record
) -> None:
    url = f"tunnel://{to_hex(PROVIDER.address)}"
    subjects = await asyncio.to_thread(publish, loom, "home", url)
    key = await asyncio.to_thread(loom.consumer, consumer)
    async with connected(loom.gateway.url, nodes["home"].url, subjects):
        assert await run(loom.gateway.url, key, "home", record_property) == []
