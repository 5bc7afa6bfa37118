"""Every block of code in the documents is run by a test, or holds what it shows, or a table says why it cannot be.

Tests take blocks from the documents by `tests/book.py`; this reads those calls. `python -m tests.house.test_snippets`
prints what becomes of each block.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests import book
from tests.book import Block
from tests.house.source import ROOT

CI = (ROOT / ".ci" / "run", ROOT / ".ci" / "elsewhere")
COMMAND = re.compile(
    r"^\s*(?:\w+=\S+ )?(?:\$ )?(?:\S*/)?(?:tollway|make|python3?|pip|npm|npx|node|docker|kubectl|curl|cargo|psql) ",
    re.M,
)
"""How a command begins: a block that is for reading has none."""


@dataclass(frozen=True)
class Claim:
    """A test's call that takes blocks from a document: `kind` is what the call is named."""

    kind: str
    page: str
    words: str
    by: str

    def takes(self, block: Block) -> bool:
        if self.kind == "typed_pages":
            return Path(block.page).match(self.page) and block.language in (book.SHELL, "python")
        return self.page == block.page and block in book.holding(self.page, self.words)


def claims_in(tree: ast.Module, name: str) -> Iterator[Claim]:
    """The calls of a module that take blocks: `book.typed("PAGE", "WORDS")` and the like, with texts as they are."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if not isinstance(node.func.value, ast.Name) or node.func.value.id != "book":
            continue
        kind = node.func.attr
        said = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if kind in ("typed", "shown") and len(said) == len(node.args) == 2:
            yield Claim(kind, said[0], said[1], name)
        elif kind == "typed_pages" and len(said) == 1:
            yield Claim(kind, said[0], "", name)


@cache
def claims() -> list[Claim]:
    """What all tests take."""
    pages = [page for page in (ROOT / "tests").rglob("*.py") if "node_modules" not in page.parts]
    named = [(page.relative_to(ROOT).as_posix(), page.read_text()) for page in sorted(pages)]
    return [
        claim
        for name, text in named
        if "book" in text and name not in ("tests/book.py", Path(__file__).relative_to(ROOT).as_posix())
        for claim in claims_in(ast.parse(text), name)
    ]


@cache
def made_by_ci() -> frozenset[str]:
    """The targets that `.ci/run` makes, with those that they need."""
    text = "".join(path.read_text() for path in CI)
    waiting = {
        name for said in re.findall(r"^[^#\n]*?\b(?:make|both) ([a-z][a-z -]*)", text, re.M) for name in said.split()
    }
    needs = dict(re.findall(r"^([a-z-]+): ([a-z -]*)", (ROOT / "Makefile").read_text(), re.M))
    made: set[str] = set()
    while waiting:
        name = waiting.pop()
        made.add(name)
        waiting |= {*needs.get(name, "").split()} - made
    return frozenset(made)


SOME = re.compile(
    r"\.venv/bin/python -m pytest -q (tests/\S+)(?: -k (\w+))?|cd contracts && \S+/forge test --match-test (\w+)"
)
"""A command that runs a part of what `make test` runs: tests of a path, those with a word, those of the contracts."""


def is_made_by_ci(command: str) -> bool:
    """Whether `.ci/run` runs this command, or more than it, or it is `.ci/run`."""
    words = command.split()
    if command == ".ci/run" or (words[0] == "make" and len(words) == 2 and words[1] in made_by_ci()):
        return True
    some = SOME.fullmatch(command)
    if some is None:
        return False
    path, word, match = some.groups()
    pages: Iterator[Path]
    if match:
        pages, named = (ROOT / "contracts" / "test").rglob("*.sol"), rf"function \w*{match}"
    else:
        pages = (ROOT / path).rglob("test_*.py") if (ROOT / path).is_dir() else iter([ROOT / path])
        named = rf"def test_\w*{word or ''}"
    return any(re.search(named, page.read_text()) for page in pages if page.is_file())


@dataclass(frozen=True)
class Fate:
    """What becomes of a block: a kind, and by whom or why; nothing where it is not known."""

    kind: str = ""
    by: tuple[str, ...] = ()


def fate_of(block: Block, known: list[Claim]) -> Fate:
    """A block is run, or shown, or elsewhere; read, if it is a drawing that no test holds to anything."""
    takers = [claim for claim in known if claim.takes(block)]
    by = tuple(sorted({claim.by for claim in takers}))
    if len({claim.kind == "shown" for claim in takers}) > 1:
        return Fate()
    if takers and takers[0].kind == "shown":
        return Fate("shape", by)
    if block.language == book.READ:
        return Fate() if takers or COMMAND.search(block.text) else Fate("read")
    left = [line for line in block.commands if not block.why_not(line) and not is_made_by_ci(line)]
    if takers and (left or block.language != book.SHELL or "typed_pages" in {claim.kind for claim in takers}):
        return Fate("run", by)
    if takers or left or block.language != book.SHELL or not block.commands:
        return Fate()
    reasons = {block.why_not(line) for line in block.commands} - {""}
    if all(block.why_not(line) for line in block.commands):
        return Fate("elsewhere", tuple(sorted(reasons)))
    return Fate("run", (".ci/run",))


def every_block() -> list[Block]:
    return [block for page in book.DOCUMENTS for block in book.blocks_of(page)]


@pytest.mark.parametrize("page", book.DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_document_is_run_or_held_or_said_to_be_elsewhere(page: Path) -> None:
    found = {f"{block.page}:{block.line}": (block, fate_of(block, claims())) for block in book.blocks_of(page)}
    unknown = [
        f"{place} {block.language or 'names no language'}" for place, (block, fate) in found.items() if not fate.kind
    ]
    assert unknown == [], "take it in a test by book.typed or book.shown, or say in book.ELSEWHERE why no test can"


def test_whoever_takes_a_block_takes_one_that_is_there() -> None:
    blocks = every_block()
    count = {claim: sum(claim.takes(block) for block in blocks) for claim in claims()}
    assert [claim for claim, taken in count.items() if taken == 0] == []
    assert [claim for claim, taken in count.items() if taken != 1 and claim.kind != "typed_pages"] == []


def test_what_is_said_to_be_elsewhere_is_in_its_document_and_nowhere_else_to_be_run() -> None:
    commands = Counter(
        (page, begins)
        for block in every_block()
        for line in block.commands
        for page, begins in book.ELSEWHERE
        if page == block.page and line.startswith(begins)
    )
    assert [row for row in book.ELSEWHERE if commands[row] == 0] == []
    assert [row for row in book.ELSEWHERE if is_made_by_ci(row[1])] == []


def test_a_block_that_nobody_takes_and_a_drawing_with_a_command_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse('book.typed("README.md", "x")\nbook.shown("README.md", "y")\nbook.typed(page, "z")')
    run, shown = claims_in(tree, "tests/test_a.py")

    def fate(text: str, language: str = "sh", *known: Claim) -> str:
        block = Block("README.md", 1, language, False, text)
        monkeypatch.setattr(book, "holding", lambda page, words: [block] * (words in text))
        return fate_of(block, list(known)).kind

    assert (fate("tollway x"), fate("tollway x", "sh", run)) == ("", "run")
    assert (fate("{}", "json"), fate("{y}", "json", shown), fate("{xy}", "json", run, shown)) == ("", "shape", "")
    assert (fate("a ──► b", "text"), fate("  tollway x", "text"), fate("a", "")) == ("read", "", "")
    assert (fate("make test"), fate("make install\n.ci/run"), fate("make magic")) == ("run", "run", "")
    assert (fate("make test\nmake magic"), fate("# nothing")) == ("", "")


def test_what_ci_makes_is_read_from_it() -> None:
    assert {"install", "check", "test", "test-slow", "test-contracts", "demo"} <= made_by_ci()
    assert not {"chaos", "symbolic", "gas"} & made_by_ci()
    pytest_q, here = ".venv/bin/python -m pytest -q", "tests/house/test_snippets.py"
    assert is_made_by_ci(f"{pytest_q} {here}")
    assert is_made_by_ci(f"{pytest_q} tests/house -k ci_makes")
    assert not is_made_by_ci(f"{pytest_q} tests/none.py")
    assert not is_made_by_ci(f"{pytest_q} {here} -k {'no' * 9}")


def inventory() -> Iterator[str]:
    """A line for each block, and the counts."""
    fates = [(block, fate_of(block, claims())) for block in every_block()]
    for block, fate in fates:
        yield f"{fate.kind or 'NOTHING':9} {block.page}:{block.line} {block.language}: {'; '.join(fate.by)}"
    yield str(dict(Counter(fate.kind or "NOTHING" for _, fate in fates)))


if __name__ == "__main__":
    print("\n".join(inventory()))
