"""What the source must not say and no linter of ours looks for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ledger.core.catalog.protocols import Protocol
from tests.house.source import PRODUCT, pages, parsed

ROOT = Path(__file__).parents[2]
ROOMS = ("bench", "contracts", "gateway", "ledger", "roles", "tests")


def adds_across_an_await(source: str) -> list[int]:
    """Lines with `x += await y`: it reads `x` before it waits, and forgets what others add meanwhile."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AugAssign) and any(isinstance(inner, ast.Await) for inner in ast.walk(node.value))
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_added_across_an_await(room: str) -> None:
    found = [
        f"{page.relative_to(ROOT)}:{line}"
        for page in sorted((ROOT / room).rglob("*.py"))
        if "node_modules" not in page.parts
        for line in adds_across_an_await(page.read_text())
    ]
    assert found == []


def test_an_addition_across_an_await_is_found() -> None:
    assert adds_across_an_await("async def f():\n    x.total += 1 + sum(await y)\n    x.total += 2\n") == [2]


def test_protocols_are_named_once() -> None:
    names = [str(protocol) for protocol in Protocol]
    found = [
        f"{page.relative_to(ROOT)}:{node.lineno}"
        for page in pages(*PRODUCT)
        if page.name != "protocols.py"
        for node in ast.walk(parsed(page))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and any(one in node.value for one in names)
    ]
    assert found == []
