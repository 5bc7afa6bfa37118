"""OpenAI's newest client for images and sound, in an environment of its own: at a node that resells a server, and at
one behind a tunnel. Only URL and key are ours.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator

import pytest

from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from tests.gateway.clients.outcomes import Record, note
from tests.gateway.clients.test_interfaces import HERE, PYTHON, connected
from tests.gateway.media_server import KEY, MediaServer
from tests.gateway.test_media import ASKS, PROTOCOLS
from tests.gateway.workflows import Loom
from tests.gateway.world import PROVIDER
from tests.roles.node.conftest import RunningNode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def seller(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningNode]:
    """A node that sells a server of images and sound."""
    server = MediaServer()
    monkeypatch.setenv("TOLLWAY_UPSTREAM_KEY", KEY)
    made = RunningNode(*[part for name in PROTOCOLS for part in ("--upstream", f"@acme/{name}={server.url}/v1#{name}")])
    yield made
    assert made.stop() == 0
    server.stop()


@pytest.mark.parametrize("tunnelled", [False, True])
async def test_a_stock_client_needs_a_url_and_a_key(
    loom: Loom, seller: RunningNode, consumer: Signer, tunnelled: bool, record_property: Record
) -> None:
    url = f"tunnel://{to_hex(PROVIDER.address)}" if tunnelled else seller.url

    def publish() -> str:
        for name, protocol in PROTOCOLS.items():
            subjects.append(loom.world.a_model_at(url, f"@acme/{name}", ASKS[name], protocol=protocol))
        return loom.consumer(consumer)

    subjects: list[bytes] = []
    key = await asyncio.to_thread(publish)

    async def run() -> None:
        command = [str(PYTHON), str(HERE / "interfaces" / "openai_media.py"), loom.gateway.url, key, "acme"]
        process = await asyncio.create_subprocess_exec(*command, env={}, stdout=PIPE, stderr=STDOUT)
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        note(record_property, "interfaces/openai_media.py", said.decode())

    if tunnelled:
        async with connected(loom.gateway.url, seller.url, subjects):  # type: ignore[arg-type]
            await run()
    else:
        await run()
    spent = [signed.receipt.units for signed in await asyncio.to_thread(loom.world.receipts_of, consumer.address)]
    assert sum(units.output_image for units in spent) == 3
    assert sum(units.input_character for units in spent) >= 2 * len("Good morning!")
