"""The short run: real processes, real kills, nothing lost. `make chaos` is the long one."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.chaos import trial


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder PostgreSQL's own user may enter."""
    made = Path(tempfile.mkdtemp(prefix="tollway-chaos-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="limits and finds processes as Linux has them")
@pytest.mark.parametrize("names", [trial.SHORT, (*trial.ONCE, *trial.LONG)], ids=["short", "long"])
def test_nothing_is_lost_doubled_or_paid_twice_whoever_dies(folder: Path, names: Sequence[str]) -> None:
    facts = trial.run(folder, names, Random(1))
    assert facts["differences"] == ()
    assert sum(facts["survived"].values()) == len(names), facts
    assert facts["calls"] > 20
    assert facts["paid_atoms"] == facts["charged_atoms"]
