"""What the documents say to type is there, what they point at exists, and they can be read in a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.source import ROOT

DOCUMENTS = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/*.md")]
    if not {"node_modules", ".venv"} & set(page.relative_to(ROOT).parts)
)
WIDEST = 120
HISTORY = ("CHANGELOG.md", "decisions")
"""What these name may be gone since."""
MADE = {"build/book", "build/book/index.html", "deploy/keys"}
"""What the reader makes."""


def too_wide(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > WIDEST]


def targets(text: str) -> set[str]:
    """What a text says to make."""
    return set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE))


def makeable(makefile: str) -> re.Pattern[str]:
    """A pattern of the targets a Makefile has."""
    names = re.findall(r"^([a-z][a-z-]*%?):", makefile, re.MULTILINE)
    return re.compile("|".join(name.replace("%", "[a-z-]+") for name in names))


def paths(text: str) -> set[str]:
    """Files and folders named in backticks."""
    return set(re.findall(r"`([\w-]+/[\w./-]*|[\w./-]+\.(?:md|py|toml|yaml))`", text)) - MADE


def lost_tests(text: str) -> list[str]:
    """Python tests named as `file.py::test` that are not in their file, which is named from the root."""
    named = re.findall(r"`([\w/.-]+\.py)::(\w+)", text)
    return [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text()
    ]


def exists(name: str, page: Path) -> bool:
    """From the root of the project or the folder of the page; a bare name anywhere in that folder or in the tests."""
    if "/" in name or page.parent == ROOT:
        return (ROOT / name).exists() or (page.parent / name).exists()
    return any(next(folder.rglob(name), None) for folder in (page.parent, ROOT / "tests"))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_document_is_narrow_and_names_what_is_there(page: Path) -> None:
    text = page.read_text()
    assert too_wide(text) == []
    known = makeable((ROOT / "Makefile").read_text())
    assert [name for name in targets(text) if not known.fullmatch(name)] == []
    if not any(part in HISTORY for part in page.parts):
        assert [name for name in paths(text) if not exists(name, page)] == []
        assert lost_tests(text) == []


def test_every_package_and_decision_is_reached() -> None:
    assert {page.parent.name for page in DOCUMENTS} >= {"contracts", "deploy", "gateway", "ledger", "roles", "node"}
    assert len([page for page in DOCUMENTS if page.parent.name == "decisions"]) >= 3


def test_no_lock_file_names_a_host() -> None:
    locks = [*ROOT.glob("*.lock"), *ROOT.glob("*/*.lock"), *ROOT.glob("tests/*/*.lock")]
    locks += [lock for lock in ROOT.rglob("package-lock.json") if not {"node_modules", ".venv"} & set(lock.parts)]
    assert len(locks) >= 10
    assert [lock.name for lock in locks if re.search(r"https?://", lock.read_text())] == []


def test_a_wide_line_a_missing_target_and_a_missing_file_are_found() -> None:
    assert too_wide("x" * WIDEST + "\n" + "y" * (WIDEST + 1)) == ["y" * (WIDEST + 1)]
    known = makeable("help:\n\ttrue\nbench-%: help\n")
    text = "Run `make help`, `make bench-ledger`, or:\n```\nmake magic\n```\nSee `docs/none.md`."
    assert {name for name in targets(text) if not known.fullmatch(name)} == {"magic"}
    assert [name for name in paths(text) if not exists(name, ROOT / "README.md")] == ["docs/none.md"]
    here = "tests/house/test_docs.py::test_a_wide_line_a_missing_target_and_a_missing_file_are_found"
    lost = [f"{here}_too", "tests/house/test_none.py::test_one"]
    assert lost_tests(" and ".join(f"`{name}`" for name in [here, *lost])) == lost
