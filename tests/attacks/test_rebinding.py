"""A provider's name that leads into the gateway's network at the second look (DNS rebinding), and names that nobody
answers for: a real resolver.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.rebinding import INSIDE, resolver


@pytest.mark.parametrize(("page", "said"), [("rebinding", "nobody was reached"), ("silence", "nobody waited")])
def test_names_lead_nobody_astray_and_keep_nobody_waiting(
    postgres_url: str, tmp_path: Path, page: str, said: str
) -> None:
    """A name that changes between two looks leads nobody into our network; two that are silent shut all with names."""
    resolver(tmp_path)
    inside = (*INSIDE, str(tmp_path))
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NO NAME WAS LOOKED UP: this machine lets nobody make a network of one's own (unshare, ip)")
    command = [*inside, sys.executable, "-m", f"tests.attacks.{page}", postgres_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.endswith(f"{said}\n"), done.stdout + done.stderr[-3_000:]
