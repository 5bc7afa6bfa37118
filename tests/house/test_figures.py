"""`docs/evidence-paper.md` and what quotes it say what `bench/results` says, and how it was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.house.source import ROOT

PATTERNS = {
    "debate": "debate",
    "route by capability": "route-by-capability",
    "serial to parallel": "serial-to-parallel",
    "cascade": "cascade",
    "parallel to serial": "parallel-to-serial",
    "serial": "serial",
    "vote of three": "vote",
}


def measured(name: str) -> dict[str, Any]:
    """What a bench wrote."""
    found: dict[str, Any] = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())
    return found


def cells(*values: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(values)} |"


def table_1() -> dict[str, tuple[str, ...]]:
    """Each pattern's accuracy in %, price in atoms, and time in ms, and both against the best single model."""
    facts = measured("collaboration")
    best = facts["rows"][facts["best_single"]]
    names = {"best single model": facts["best_single"]}
    names |= {label: f"@wanda/{name}" for label, name in PATTERNS.items()}
    return {
        label: (
            f"{100 * row['accuracy']:.1f}",
            f"{row['atoms_a_call']:,.0f}",
            f"{row['atoms_a_call'] / best['atoms_a_call']:.2f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p50_ms'] / best['p50_ms']:.1f}",
        )
        for label, row in ((label, facts["rows"][name]) for label, name in names.items())
    }


def figure_6(value: str) -> dict[str, tuple[str, ...]]:
    """A value of each way in %, at each online rate."""
    facts = measured("churn")
    return {
        label: tuple(f"{100 * row[way][value]:.1f}" for row in facts["rates"]) for way, label in facts["ways"].items()
    }


def rows() -> list[str]:
    """Every row that the page must have."""
    tables = (table_1(), figure_6("accuracy"), figure_6("answered"))
    return [cells(label, *values) for table in tables for label, values in table.items()]


def missing(wanted: list[str], page: str) -> list[str]:
    """The rows that a page does not have."""
    return [row for row in wanted if row not in page.splitlines()]


PAGE = (ROOT / "docs" / "evidence-paper.md").read_text()


def test_the_page_has_every_row_that_was_measured() -> None:
    assert missing(rows(), PAGE) == []


@pytest.mark.parametrize("name", ["collaboration", "churn"])
def test_the_page_says_by_which_command_and_when(name: str) -> None:
    facts = measured(name)
    said = f"`{facts['command']}`, {facts['date']}, {facts['cpus']} cores, Python {facts['python']}"
    assert said in PAGE


def test_the_concepts_quote_the_page() -> None:
    concepts = (ROOT / "docs" / "concepts.md").read_text()
    table = table_1()
    best, routed, debate = (table[label] for label in ("best single model", "route by capability", "debate"))
    falls, stays = (figure_6("accuracy")[label] for label in list(measured("churn")["ways"].values())[:2])
    for said in (
        f"best single {best[0]}, routed {routed[0]}, debate {debate[0]}",
        f"routed {routed[2]}, debate {debate[2]}",
        f"single {best[3]} ms, routed {routed[3]}, debate {debate[3]}",
        f"{stays[0]} % right at 1, {stays[-1]} at 0.5",
        f"{falls[0]} % right at 1, {falls[-1]} at 0.5",
    ):
        assert said in concepts


def test_a_row_that_says_something_else_is_found() -> None:
    first, *others = rows()
    assert missing([first, *others], "\n".join([first.replace("1", "2"), *others])) == [first]
