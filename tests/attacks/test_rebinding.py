"""A provider's name that leads into the gateway's network at the second look (DNS rebinding): a real resolver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.rebinding import INSIDE, resolver


def test_a_name_that_changes_between_two_looks_leads_nobody_into_our_network(postgres_url: str, tmp_path: Path) -> None:
    resolver(tmp_path)
    inside = (*INSIDE, str(tmp_path))
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NO NAME WAS REBOUND: this machine lets nobody make a network of one's own (unshare, ip)")
    command = [*inside, sys.executable, "-m", "tests.attacks.rebinding", postgres_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.endswith("nobody was reached\n"), done.stdout + done.stderr[-3_000:]
