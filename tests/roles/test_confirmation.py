"""Whoever sends a transaction asks first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import roles

ROOM = Path(roles.__file__).parent
ASKED_FOR = {
    "auditor.look",  # `watch` says that it sends proofs by itself
    "deposits.ask",  # `consumer withdraw` asks
    "deposits.deposit_directly",  # `consumer deposit` asks
    "deposits._receive",  # `consumer withdraw` and `escape` ask
    "payees.add_stake",  # `stake`, `serve` and `import` ask
    "payees.send_bid",  # `bid`, `register`, `derive`, `serve` and `import` ask
    "publication._register",  # `register`, `derive` and `publish` ask
    "publication.commit",  # who registers a model or an organisation asks
    "publication.register_organisation",  # `register`, `derive`, `publish` and `name` ask
    "publication.take_name",  # the same
}
"""What is only reached after a question."""


def called(function: ast.AST) -> set[str]:
    """Names of what is called as `module.name` in a function."""
    return {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }


def unasked(source: str) -> Iterator[str]:
    """Functions that send and do not ask; of nested ones, the innermost."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef):
            continue
        if any(isinstance(inner, ast.FunctionDef) for inner in ast.walk(node) if inner is not node):
            continue
        if called(node) & {"transactions.send", "transactions.transact"} and "output.confirm" not in called(node):
            yield node.name


def test_every_transaction_is_asked_for() -> None:
    found = {f"{page.stem}.{name}" for page in ROOM.rglob("*.py") for name in unasked(page.read_text())}
    assert found == ASKED_FOR


def test_one_that_is_not_is_found() -> None:
    sends = "def stop():\n    transactions.send('settlement', 'setActive', 1, False)\n"
    assert list(unasked(sends)) == ["stop"]
    assert list(unasked(sends.replace("stop():\n", "stop():\n    output.confirm('stop?')\n"))) == []
