"""A node against its own floor: the same models called in this process, with no server around them.

    python -m bench.node [--seconds 4]

Classifier calls a second at 1 and 16 connections, and tokens a second of 1 and 8 conversations at once. Batching
shows in both: sixteen callers share a run of the classifier, eight conversations share each step of the decoder.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp

from bench import report
from roles.node.models.model import Folder, Sampling
from roles.node.models.text_models import Classifier
from tests.roles.node.conftest import MODELS, RunningNode, serving

TEXT = "i have been waiting for weeks for my parcel, this is unacceptable"
INFER = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]}]}
FACT = (
    "You can return any item within 30 days of delivery, unused and in its box. Start the return from your orders page."
)
CHAT = {
    "model": "dialog",
    "messages": [
        {"role": "system", "content": f"emotion: anger\nfact: {FACT}"},
        {"role": "user", "content": "i want to send this lamp back"},
    ],
}


def floor_classifier(seconds: float) -> float:
    """Calls a second of features and session alone."""
    model = Classifier(Folder.read(MODELS / "emotion"), ThreadPoolExecutor(1), most=1, queue=1)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        model.scores([TEXT])
        calls += 1
    return calls / (time.perf_counter() - began)


def floor_decoder(seconds: float, together: int) -> float:
    """Tokens a second of the bare decoding loop with so many rows."""
    from roles.node.models.generator import Generator, Row, Rows

    folder = Folder.read(MODELS / "dialog")
    generator = Generator(folder, ThreadPoolExecutor(1), most=together, queue=together)
    prompt = list(range(10, 60))
    began, tokens = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        rows: Rows = generator._rows
        rows.leave(list(rows.rows))
        for _ in range(together):
            rows.join(Row(prompt, Sampling()))
        for _ in range(40):
            tokens += len(rows.step())
    return tokens / (time.perf_counter() - began)


async def hammer(connections: int, seconds: float, one: Callable[[], Awaitable[int]]) -> float:
    """What `one` returns, summed over so many callers, a second."""
    until = time.perf_counter() + seconds
    total = 0

    async def caller() -> None:
        nonlocal total
        while time.perf_counter() < until:
            done = await one()  # `total += await one()` would read the total before it waits, and lose what others add
            total += done

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(connections)))
    return total / (time.perf_counter() - began)


async def measure(node: RunningNode, seconds: float) -> dict[str, float]:
    """All rates through HTTP."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(node.url, connector=connector) as http:

        async def classify() -> int:
            async with http.post("/v2/models/emotion/infer", json=INFER) as answer:
                await answer.read()
                assert answer.status == 200
            return 1

        async def converse() -> int:
            async with http.post("/v1/chat/completions", json=CHAT) as answer:
                said = await answer.json()
            return int(said["usage"]["completion_tokens"])

        found = {}
        for connections in (1, 16):
            await hammer(connections, 0.5, classify)
            found[f"classifier calls/s, {connections} connections"] = await hammer(connections, seconds, classify)
        for conversations in (1, 8):
            found[f"decoder tokens/s, {conversations} conversations"] = await hammer(conversations, seconds, converse)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args()
    node = serving("emotion", "dialog")
    try:
        found = asyncio.run(measure(node, given.seconds))
    finally:
        node.stop()
    floors = {
        "classifier calls/s": floor_classifier(given.seconds / 2),
        "decoder tokens/s, 1 row": floor_decoder(given.seconds / 2, 1),
        "decoder tokens/s, 8 rows": floor_decoder(given.seconds / 2, 8),
    }
    for name, rate in {**found, **{f"floor: {name}": rate for name, rate in floors.items()}}.items():
        print(f"  {name:<44} {rate:>10,.0f}")
    rounded = {name: round(rate) for name, rate in found.items()}
    report.save("node", {"rates": rounded, "floors": {name: round(rate) for name, rate in floors.items()}})


if __name__ == "__main__":
    main()
