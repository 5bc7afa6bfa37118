"""Compiled kernels are had where nobody can write beside their source: in an image, or in another user's checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT

PAGE = """
from ledger.core.kernels.jit import kernel

@kernel
def add(one, two):
    return one + two

add(1, 2)
print(sum(add.stats.cache_hits.values()), sum(add.stats.cache_misses.values()), add.stats.cache_path)
"""
FROZEN = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def used(page: Path, home: Path, *, frozen: bool) -> tuple[int, int, Path]:
    """Run a page: how many cached kernels it found, how many it compiled, and where its cache was."""
    command = [sys.executable, "-B", str(page)]
    if frozen and os.geteuid() == 0:  # who may write everywhere, but not to what is mounted to be read
        command = ["unshare", "--mount", "sh", "-c", FROZEN, str(page.parent), *command]
    elif frozen:
        _allow(page, 0o555)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NUMBA_"))}
    ended = subprocess.run(
        command, env={**environment, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    _allow(page, 0o755)
    assert ended.returncode == 0, ended.stderr[-2000:]
    hits, misses, where = ended.stdout.split()
    return int(hits), int(misses), Path(where)


def _allow(page: Path, mode: int) -> None:
    """What may be done with a page's folder and its folder of compiled kernels."""
    for folder in (page.parent, page.parent / "__pycache__"):
        if folder.exists():
            folder.chmod(mode)


def written(folder: Path) -> Path:
    folder.mkdir()
    page = folder / "page.py"
    page.write_text(PAGE)
    return page


def test_what_was_compiled_is_read_where_nobody_can_write(tmp_path: Path) -> None:
    page, home = written(tmp_path / "source"), tmp_path / "home"
    hits, misses, where = used(page, home, frozen=False)
    assert (hits, misses, where) == (0, 1, page.parent / "__pycache__")
    hits, misses, where = used(page, home, frozen=True)
    assert (hits, misses) == (1, 0)
    assert not where.exists(), "a copy, which ends with the process"
    assert not home.exists()


def test_kernels_are_compiled_where_nothing_was_and_nothing_can_be_written(tmp_path: Path) -> None:
    page = written(tmp_path / "source")
    hits, misses, where = used(page, Path("/proc/nowhere"), frozen=True)
    assert (hits, misses) == (0, 1)
    assert not where.exists()
