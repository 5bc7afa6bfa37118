"""Stock clients of other protocols, at their newest and in an environment of their own: only URL and key are ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ledger.core.values.typed_data import Signer
from tests.gateway.clients.answering import speaking
from tests.gateway.clients.outcomes import Record, note
from tests.gateway.nodes import Node
from tests.gateway.world import Running, World

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("CLIENTS_PYTHON") or HERE.parents[2] / ".venv" / "clients" / "bin" / "python")
PROGRAMS = sorted(page.stem for page in (HERE / "programs").glob("[a-z]*.py"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_stock_client_needs_a_url_and_a_key(
    program: str,
    world: World,
    gateway: Running,
    node: Node,
    consumer: Signer,
    tmp_path: Path,
    record_property: Record,
) -> None:
    if not CLIENTS.exists():
        pytest.skip(f"{CLIENTS} is not there: make test-slow installs it")
    world.deposit(consumer.address, 10**9)
    node.behaviour = speaking
    command: list[str | Path] = [
        CLIENTS,
        HERE / "programs" / f"{program}.py",
        gateway.url,
        gateway.key(consumer, rights=["manage"]),
    ]
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}  # nobody's keys, proxies and traces
    ended = subprocess.run(command, env=home, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert all(one.path == "/v1/chat/completions" for one in node.asked)
    assert world.receipts_of(consumer.address)
    note(record_property, f"programs/{program}.py", ended.stdout)
