"""`tollway auditor watch`, a process of its own beside a chain, convicts a lying operator of each kind by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest

from gateway.api.representations import receipt_fields
from ledger.core.values.documents import Document
from ledger.core.values.ids import cid_digest, to_hex
from roles.wallet import keystore
from tests.conftest import free_port
from tests.ledger.chain.conftest import ANSWER, BOND
from tests.ledger.chain.liars import LIES, Live, a_royalty_left_out_beside_a_secret_one, playing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[3]
WAIT_SECONDS = 60
OPEN_LIES = [(lie, word) for lie, word in LIES if lie is not a_royalty_left_out_beside_a_secret_one]
"""Without the one about a document that nobody shows: the process has seen it when it looked at the lies before."""
COMMAND_SECONDS = 140
"""Four commands in the time of a test: each imports much, on a machine that may be busy."""


@dataclass(frozen=True)
class Auditor:
    """A wallet's folder and environment, and the options that lead to the lane."""

    folder: Path
    environment: dict[str, str]
    options: tuple[str, ...]

    def start(self, *words: str, out: IO[str]) -> subprocess.Popen[bytes]:
        """A command, as a process of its own."""
        command = [sys.executable, "-m", "roles.cli.main", *words, "--json", *self.options]
        return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    def run(self, *words: str) -> tuple[int, str]:
        """A command that ends: its exit status, and what it says."""
        said = self.folder / "ran"
        with said.open("w") as out:
            status = self.start(*words, out=out).wait(COMMAND_SECONDS)
        return status, said.read_text()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    with playing(folder) as made:
        yield made


@pytest.fixture(scope="module")
def auditor(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auditor]:
    """The gateway of the operator, and a wallet beside it."""
    folder, deployment = tmp_path_factory.mktemp("auditor"), live.chain.deployment
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOLLWAY_HOME", str(folder))
        patch.setenv("TOLLWAY_PASSWORD", "correct horse")
        keystore.create("auditor", bytes(31) + b"\x04", strength=keystore.LIGHT)
    (folder / "deployment.json").write_text(json.dumps(asdict(deployment)))
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), _gateway(live))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLWAY_", "LEDGER_"))}
    extra = {"TOLLWAY_HOME": str(folder), "TOLLWAY_PASSWORD": "correct horse", "PYTHONPATH": str(ROOT)}
    environment = {**kept, **extra, "TOLLWAY_DEPLOYMENT": str(folder / "deployment.json"), "PYTHONUNBUFFERED": "1"}
    yield Auditor(folder, environment, ("--gateway", f"http://127.0.0.1:{server.server_port}", "--rpc", live.url))
    server.shutdown()


@pytest.fixture(scope="module")
def watch(auditor: Auditor) -> Iterator[Path]:
    """The auditor's process; where it says what it does."""
    said = auditor.folder / "said"
    with said.open("w") as out:
        process = auditor.start("auditor", "watch", "--every", "0.2", out=out)
    yield said
    assert process.poll() is None, "it still watches: " + said.read_text()[-2000:]
    process.terminate()
    process.wait(20)


@pytest.mark.parametrize(("lie", "word"), OPEN_LIES, ids=[lie.__name__ for lie, _ in OPEN_LIES])
def test_the_liar_is_convicted_and_its_bond_gone(
    live: Live, watch: Path, lie: Callable[[Live], None], word: str
) -> None:
    before = len(watch.read_text())
    live.begin()
    live.post(live.honest())
    lie(live)
    convicted(live, watch)
    live.is_convicted()
    deadline = time.monotonic() + WAIT_SECONDS
    while word not in (said := watch.read_text()[before:]):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    time.sleep(1)  # looks at a lane without batches, which say nothing: none is under way when time is turned back


def test_who_holds_a_receipt_proves_with_one_command_that_it_was_left_out(live: Live, auditor: Auditor) -> None:
    live.begin()
    first, given = live.receipts(2)
    live.post(live.book.honest([first]))
    live.hold(given)
    mine = auditor.folder / "receipt.json"
    shown = {"receipt": receipt_fields(given), "signature": to_hex(live.held[0].signature)}
    mine.write_text(json.dumps(shown))
    status, said = auditor.run("consumer", "prove", str(mine))
    assert (status, "is in no batch yet: a batch that is closed in 86" in said) == (0, True), said
    live.stage.wait(86_401)
    live.post(live.book.honest([]))
    mine.write_text(json.dumps(shown | {"signature": "0x" + "11" * 65}))
    status, said = auditor.run("consumer", "prove", str(mine))
    assert (status, "its gateway did not sign what it says" in said) == (1, True), said
    mine.write_text("{}")
    status, said = auditor.run("consumer", "prove", str(mine))
    assert (status, "tollway consumer receipt ID --json > receipt.json" in said) == (1, True), said
    mine.write_text(json.dumps(shown))
    status, said = auditor.run("consumer", "prove", str(mine))
    assert (status, "receipt 2 of gateway 1 was left out" in said) == (0, True), said
    live.is_convicted()


def test_an_honest_operator_is_left_alone(live: Live, watch: Path) -> None:
    live.begin()
    live.post(live.honest(70))
    live.post(live.honest(2))
    looked_again(watch)
    looked_again(watch)
    assert live.chain.head(live.stage.lane).next == 3
    assert live.chain.books(live.stage.lane).bond == BOND


def convicted(live: Live, watch: Path) -> None:
    """Answer what there is an answer for, let an hour pass when there is none, until the bond is gone."""
    deadline, waited = time.monotonic() + WAIT_SECONDS, False
    while live.chain.books(live.stage.lane).bond:
        assert time.monotonic() < deadline, watch.read_text()[-3000:]
        if not live.answer() and not waited:
            live.stage.wait(ANSWER + 1)
            waited = True
        time.sleep(0.1)


def looked_again(watch: Path) -> None:
    """Two more looks at honest batches."""
    before, deadline = watch.read_text().count("honest"), time.monotonic() + WAIT_SECONDS
    while watch.read_text().count("honest") < before + 2:
        assert time.monotonic() < deadline, watch.read_text()[-3000:]
        time.sleep(0.05)


def _gateway(live: Live) -> type[BaseHTTPRequestHandler]:
    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            number = int(parts[-2]) if parts[-1] == "file" else 0
            if parts[1] == "documents":
                self._show(live.documents.get(cid_digest(parts[2])))
            elif parts[1] == "lane":
                contract = to_hex(live.stage.domain.contract)
                names = {"name": live.stage.domain.name, "version": live.stage.domain.version}
                domain = {**names, "chainId": 31337, "verifyingContract": contract}
                lane = {"lane": to_hex(live.stage.lane), "chain_id": 31337, "domain": domain}
                self._say(json.dumps(lane).encode())
            elif number and (number > len(live.book.bodies) or (number > 1 and not live.shown)):
                self.send_error(404)
            elif number:
                self._say(live.book.bodies[number - 1])
            else:
                rows = [{"number": n + 1, "status": "posted"} for n in range(len(live.book.bodies))]
                self._say(json.dumps({"data": rows}).encode())

        def _show(self, document: Document | None) -> None:
            if document is None:
                self.send_error(404)
            else:
                self._say(json.dumps(document).encode())

        def _say(self, body: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Gateway
