"""What the documents say to type is there, what they point at exists, and they can be read in a terminal."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from tests import book
from tests.book import DOCUMENTS
from tests.house.source import ROOT

PLOTS, RESULTS = ROOT / "docs" / "book" / "plots.py", ROOT / "bench" / "results"
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


@cache
def made() -> set[Path]:
    """What only the book has: references, READMEs as rooms, drawings. `test_book.py` follows links into them there."""
    navigation = (ROOT / "docs" / "book" / "mkdocs.yml").read_text()
    pages = {ROOT / "docs" / name for name in re.findall(r"[\w/-]+\.md", navigation)}
    drawn = {*re.findall(r"plots/([\w-]+\.svg)", PLOTS.read_text()), *(one.name for one in RESULTS.glob("*.svg"))}
    return pages | {ROOT / "docs" / "plots" / name for name in drawn}


def links(text: str) -> Iterator[str]:
    """What a text links to and the images that it shows."""
    for token in (part for one in MarkdownIt("commonmark").parse(text) for part in one.children or ()):
        target = token.attrGet("href" if token.type == "link_open" else "src")
        if token.type in ("link_open", "image") and target:
            yield str(target)


def places(text: str) -> set[str]:
    """What a link can name of a text behind its #: its headings, as GitHub and the book name them."""
    tokens = MarkdownIt("commonmark").parse(text)
    titles = [after.content for one, after in pairwise(tokens) if one.type == "heading_open"]
    return {re.sub(r"[ ]", "-", re.sub(r"[^\w\- ]", "", title.lower())) for title in titles}


def dead_links(text: str, page: Path) -> list[str]:
    """Links that lead nowhere from this page, and those to elsewhere that are not https."""

    def leads(target: str) -> bool:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return parts.scheme == "https" and "." in parts.netloc
        there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not there.exists():
            return there in made()
        known = text if there == page else there.read_text() if there.suffix == ".md" else ""
        return not parts.fragment or unquote(parts.fragment) in places(known)

    return [target for target in links(text) if not leads(target)]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(page: Path) -> None:
    assert dead_links(page.read_text(), page) == []


def test_a_dead_link_a_missing_place_and_a_link_without_https_are_found() -> None:
    page = ROOT / "docs" / "servers.md"
    text = "# A *b*\n[a](none.md) [b](#a-b) [c](#none) [d](http://x.org) [e](https://x.org) ![f](images/none.png)\n"
    assert dead_links(text, page) == ["none.md", "#none", "http://x.org", "images/none.png"]
    text = "[a](webhooks.md#make-one-and-try-it) [b](webhooks.md#none) [c](rooms/node.md#run-it) [d](reference/none.md)"
    assert dead_links(text, page) == ["webhooks.md#none", "reference/none.md"]


def test_make_says_what_every_target_is_for() -> None:
    (line,) = (line for line in book.typed("CONTRIBUTING.md", "make help").lines if line == "make help")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not `make check`'s
    said = subprocess.run(line.split(), cwd=ROOT, env=outside, capture_output=True, text=True, check=True).stdout
    named = re.findall(r"^([a-z-]+%?):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [row.split()[0] for row in said.splitlines()] == named


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
