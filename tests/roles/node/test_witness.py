"""What a node signs, what it remembers, and what it can prove with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from ledger.core.catalog.bids import encode
from ledger.core.receipts.service_proofs import Served, attempt_id, served_hash
from ledger.core.values.hashes import body_digest, keccak256
from ledger.core.values.ids import ZERO_DIGEST, Digest, address, digest
from ledger.core.values.meters import Units, used
from ledger.core.values.typed_data import Domain, signed_by, signing_digest
from roles.node.audit import Outcome, Settled, audit
from roles.node.models.loader import LoadedModels, load
from roles.node.server import application
from roles.node.state import State
from roles.node.witness import Entry, ServedLog, Witness
from tests.builders import a_receipt, some_terms
from tests.roles.node.conftest import MODELS, ROOT
from tests.roles.node.gateways import GATEWAY, LANE, PROVIDER, callers, headed

DOMAIN = Domain(31337)
SUBJECT = keccak256(b"the dialog model")
ATTEMPT = attempt_id(keccak256(b"a call"), 0)
ASK = {"model": "dialog", "messages": [{"role": "user", "content": "How long is the warranty?"}]}


def is_signed(served: Served, signature: bytes) -> bool:
    """Whether the provider that a service proof names signed it."""
    return signed_by(signing_digest(DOMAIN, served_hash(served)), signature, served.provider)


def witnessing(log: ServedLog) -> State:
    """A node's state with the dialog model and a witness."""
    model = load(MODELS / "dialog", ThreadPoolExecutor(1), most=4, queue=8)
    return State(
        LoadedModels([("dialog", model)]), callers(GATEWAY), Witness(PROVIDER, DOMAIN, {"dialog": SUBJECT}, log)
    )


def as_signed(said: dict[str, object]) -> tuple[Served, bytes]:
    """A `Tollway-Served` header as a value."""
    units = said["units"]
    assert isinstance(units, dict)
    served = Served(
        address(str(said["lane"])),
        digest(str(said["attempt"])),
        digest(str(said["subject"])),
        PROVIDER.address,
        Units(**units),
        digest(str(said["request"])),
        digest(str(said["response"])),
        int(str(said["served_at"])),
    )
    return served, bytes.fromhex(str(said["signature"])[2:])


async def test_an_answer_a_gateway_asked_for_is_signed_and_logged(tmp_path: Path) -> None:
    log = ServedLog(tmp_path / "served.sqlite")
    async with TestClient(TestServer(application(witnessing(log)))) as client:
        body = json.dumps(ASK).encode()
        answer = await client.post("/v1/chat/completions", data=body, headers=headed(ATTEMPT, body))
        raw = await answer.read()
        served, signature = as_signed(json.loads(answer.headers["Tollway-Served"]))
        assert is_signed(served, signature)
        assert served.units.output_token == json.loads(raw)["usage"]["completion_tokens"]
        assert (served.lane, served.subject, served.attempt) == (LANE, SUBJECT, ATTEMPT)
        assert served.response_digest == body_digest(ATTEMPT, raw)
        assert log.entries() == [Entry(served, signature)]
    log.close()


async def test_a_stream_is_signed_in_its_last_event(tmp_path: Path) -> None:
    log = ServedLog(tmp_path / "served.sqlite")
    async with TestClient(TestServer(application(witnessing(log)))) as client:
        body = json.dumps(ASK | {"stream": True, "stream_options": {"include_usage": True}}).encode()
        answer = await client.post("/v1/chat/completions", data=body, headers=headed(ATTEMPT, body))
        raw = await answer.read()
        events = raw.decode().split("\n\n")
        last = json.loads(events[-3][6:])
        served, signature = as_signed(last["tollway_served"])
        assert is_signed(served, signature)
        assert used(served.units) == last["tollway_units"]
        before = "".join(f"{event}\n\n" for event in events[:-3]).encode()
        assert served.response_digest == body_digest(ATTEMPT, before)
    log.close()


def test_a_changed_figure_breaks_the_signature() -> None:
    served = an_entry(ATTEMPT).served
    assert is_signed(served, an_entry(ATTEMPT).signature)
    assert not is_signed(
        replace(served, units=Units(call=1, input_token=2, output_token=4)), an_entry(ATTEMPT).signature
    )


def test_what_was_logged_survives_a_kill(tmp_path: Path) -> None:
    """The child appends for ever and says each append that returned; then it is killed; all it said is there."""
    script = f"""
import asyncio
from pathlib import Path
from ledger.core.receipts.service_proofs import attempt_id
from roles.node.witness import ServedLog
from tests.roles.node.test_witness import an_entry
async def main():
    log = ServedLog(Path({str(tmp_path / "served.sqlite")!r}))
    n = 0
    while True:
        await asyncio.gather(*(log.append(an_entry(attempt_id(bytes(32), n + k))) for k in range(8)))
        n += 8
        print(n, flush=True)
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    said = 0
    for line in child.stdout:
        said = int(line)
        if said >= 400:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    log = ServedLog(tmp_path / "served.sqlite")
    attempts = {entry.served.attempt for entry in log.entries()}
    assert {attempt_id(bytes(32), number) for number in range(said)} <= attempts
    log.close()


def an_entry(attempt: Digest) -> Entry:
    """A served attempt, signed: 10 tokens in, 20 out, at 1,000 ms."""
    served = Served(
        LANE,
        attempt,
        SUBJECT,
        PROVIDER.address,
        Units(call=1, input_token=10, output_token=20),
        ZERO_DIGEST,
        ZERO_DIGEST,
        1_000,
    )
    return Entry(served, PROVIDER.sign(signing_digest(DOMAIN, served_hash(served))))


def test_the_audit_finds_every_fate_of_a_served_attempt() -> None:
    ours = some_terms(lines=[replace(some_terms().lines[0], party=PROVIDER.address)])
    theirs = some_terms()
    bodies = {Digest(keccak256(encode(terms))): encode(terms) for terms in (ours, theirs)}
    paid = a_receipt(1)._replace(terms=keccak256(encode(ours)), units=Units(call=1, input_token=10, output_token=20))
    short = a_receipt(2)._replace(terms=keccak256(encode(ours)), units=Units(call=1, input_token=10, output_token=19))
    elsewhere = a_receipt(3)._replace(terms=keccak256(encode(theirs)))
    calls = (paid.call_id, short.call_id, elsewhere.call_id, keccak256(b"in no batch"))
    entries = [an_entry(attempt_id(call, number)) for number, call in enumerate(calls)]
    findings = audit(entries, [Settled(4, [paid, short], bodies), Settled(5, [elsewhere], bodies)])
    assert [finding.outcome for finding in findings] == [Outcome.paid, Outcome.short, Outcome.elsewhere, Outcome.open]
    assert [finding.batch for finding in findings] == [4, 4, 5, None]


async def test_entries_written_together_are_all_there(tmp_path: Path) -> None:
    log = ServedLog(tmp_path / "served.sqlite")
    await asyncio.gather(*(log.append(an_entry(attempt_id(bytes(32), number))) for number in range(500)))
    assert len(log.entries()) == 500
    assert log.entries(since=1_001) == []
    log.close()
