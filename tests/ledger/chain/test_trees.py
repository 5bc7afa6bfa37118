"""Each contract's `.tree` says what is tried, and its tests are what it says: leaf by leaf, in both directions.

A leaf is a sentence and a test's name is that sentence: `when totals differ: it reverts  (C1)` is
`test_C1_RevertWhen_TotalsDiffer`; `, for any input` makes it a fuzz test; `withdraw: of an account ...` names the
function. A leaf may leave out what its branch says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "contracts" / "test"
TREES = sorted(TESTS.rglob("*.tree"))
_TEST = re.compile(r"\bfunction ((?:test|testFuzz|invariant|check)_\w+)\(")
_NAME = re.compile(
    r"(?P<how>testFuzz|test|invariant|check)_(?:(?P<law>[CFS]\d+b?|Poc\d)_(?=[A-Z]))?(?P<reverts>RevertWhen_)?(?P<what>\w+)"
)
_LEAF = re.compile(
    r"(?P<when>when )?(?P<what>.*?)(?P<reverts>: it reverts)?(?P<fuzz>, for any input)?(?:  \((?P<law>\w+)\))?"
)


@dataclass(frozen=True)
class Tried:
    """What a leaf or a test's name says: its letters, the law, whether it reverts, whether any input is tried."""

    what: str
    law: str | None = None
    reverts: bool = False
    fuzz: bool = False


def leaves(text: str) -> Iterator[list[str]]:
    """Each leaf of a tree, below the branches it hangs from."""
    lines = [re.fullmatch(r"((?:│   |    )*)(?:├── |└── )(.+)", line) for line in text.splitlines()[1:]]
    path: list[str] = []
    for at, found in enumerate(lines):
        assert found, f"line {at + 2} is no branch and no leaf"
        depth = len(found[1]) // 4
        assert depth <= len(path), f"line {at + 2} hangs from nothing"
        path[depth:] = [found[2]]
        follows = lines[at + 1] if at + 1 < len(lines) else None
        if follows is None or len(follows[1]) // 4 <= depth:
            yield list(path)


def said(leaf: str) -> Tried:
    """What a leaf says."""
    found = _LEAF.fullmatch(leaf)
    assert found, leaf
    assert bool(found["when"]) == bool(found["reverts"]), f"{leaf}: `when` and `it reverts` belong together"
    return Tried(_letters(found["what"]), found["law"], bool(found["reverts"]), bool(found["fuzz"]))


def named(test: str) -> Tried:
    """What a test's name says."""
    found = _NAME.fullmatch(test)
    assert found, test
    return Tried(_letters(found["what"]), found["law"], bool(found["reverts"]), found["how"] == "testFuzz")


def differences(tree: str, tests: list[str]) -> list[str]:
    """Leaves without a test and tests without a leaf."""
    waiting = {named(test): test for test in tests}
    assert len(waiting) == len(tests), "two tests say the same"
    missing = []
    for path in leaves(tree):
        leaf = said(path[-1])
        branches = (_letters(branch) for branch in path[-2::-1])
        spelled = [leaf, *(Tried(branch + leaf.what, leaf.law, leaf.reverts, leaf.fuzz) for branch in branches)]
        found = next((one for one in spelled if one in waiting), None)
        if found is None:
            missing.append(f"no test: {path[-1]}")
        else:
            del waiting[found]
    return missing + [f"no leaf: {test}" for test in waiting.values()]


def spoken_for(tree: Path) -> list[Path]:
    """The tests a tree speaks for: those beside it of its name, and those in the folder of its name."""
    return sorted([*tree.parent.glob(f"{tree.stem}.t.sol"), *(tree.parent / tree.stem.lower()).glob("*.t.sol")])


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.stem)
def test_a_contracts_tests_are_the_leaves_of_its_tree(tree: Path) -> None:
    text = tree.read_text()
    assert text.splitlines()[0] == tree.stem
    tests = list(dict.fromkeys(name for file in spoken_for(tree) for name in _TEST.findall(file.read_text())))
    assert differences(text, tests) == []


def test_every_test_has_a_tree() -> None:
    assert sorted(file for tree in TREES for file in spoken_for(tree)) == sorted(TESTS.rglob("*.t.sol"))


def test_the_evidence_names_tests_that_there_are() -> None:
    """docs/evidence-contracts.md names tests as `file::name`, or `::name` of the file before; `*` ends a name early."""
    files = [file for folder in (TESTS, ROOT / "tests") for file in folder.rglob("*") if file.suffix in (".sol", ".py")]
    missing = []
    where = ""
    for found in re.finditer(r"`([\w/.]*)(?:::(\w+\*?))?`", (ROOT / "docs" / "evidence-contracts.md").read_text()):
        where, name = found[1] or where, found[2] or ""
        if not where.endswith((".t.sol", ".py")):
            continue
        texts = [file.read_text() for file in files if file.as_posix().endswith(f"/{where}")]
        wanted = rf"(?:function|def) {name[:-1]}" if name.endswith("*") else rf"(?:function|def) {name}\("
        if not any(re.search(wanted, text) if name else text for text in texts):
            missing.append(f"{where}::{name}")
    assert missing == []


def test_what_differs_is_told() -> None:
    tree = "Lane\n├── exits\n│   └── when it is early: it reverts  (C4)\n└── withdraw: pays, for any input"
    assert differences(tree, ["test_C4_RevertWhen_ItIsEarly", "testFuzz_Withdraw_Pays"]) == []
    assert differences(tree, ["test_RevertWhen_ItIsEarly", "testFuzz_Withdraw_Pays", "test_Else"]) == [
        "no test: when it is early: it reverts  (C4)",
        "no leaf: test_RevertWhen_ItIsEarly",
        "no leaf: test_Else",
    ]
    assert differences(tree, ["test_C4_RevertWhen_ItIsEarly", "test_Withdraw_Pays"]) == [
        "no test: withdraw: pays, for any input",
        "no leaf: test_Withdraw_Pays",
    ]


def _letters(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.lower())
