"""Running `tollway` as a person does: in another process, with its own home."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Person:
    """A person at a terminal."""

    home: Path

    def types(self, *words: str, seconds: float = 900, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run a command in a folder, and wait for its end."""
        return subprocess.run(
            [sys.executable, "-m", "roles.cli.main", *words],
            env=self.environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLWAY_", "LEDGER_"))}
        return {**inherited, "TOLLWAY_HOME": str(self.home), "PYTHONPATH": str(ROOT)}

    def asks(self, *words: str) -> Any:
        """Run a command that must succeed, and return its answer."""
        ended = self.types(*words, "--json")
        assert ended.returncode == 0, f"{' '.join(words)}: {ended.stdout}{ended.stderr}"
        return json.loads(ended.stdout)


@contextmanager
def settled_in(home: Path, *options: str) -> Iterator[Person]:
    """A person who typed `tollway up`, and whose network is stopped afterwards."""
    person = Person(home)
    try:
        person.asks("up", *options)
        yield person
    finally:
        person.types("down", "--forget", "--yes")


@pytest.fixture(scope="package")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """One running network for every test that needs one."""
    with settled_in(tmp_path_factory.mktemp("journey") / "home") as person:
        yield person


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """A person with an empty home, whose network is stopped afterwards."""
    person = Person(tmp_path / "home")
    yield person
    person.types("down", "--forget", "--yes")
