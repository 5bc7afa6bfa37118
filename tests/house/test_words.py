"""One word, one meaning: the glossary's retired words are gone from names.

Identifiers, tables and columns, settings, metrics and the words of the command line are looked at: whole words, split
at underscores and capitals. Strings and prose are not, so JSON keys, HTTP paths and error codes keep theirs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import gateway.settings
import ledger.settings
from gateway.metrics import Metrics
from ledger.store.tables import metadata
from roles.cli import main
from tests.house.source import PRODUCT, ROOT, pages, parsed

GLOSSARY = """
journal journals journaling seal seals sealed sealing unseal door doors purse purses shelf shelves shelving desk
patience passage hot cold watching carve carves carved carving burden burdens bearable accusation accusations
dialogue dialogues recount recounts surroundings teller telling staging steering reckoning brought wishes
knock knocks knocking doorbell beat
"""
RETIRED = frozenset(GLOSSARY.split())
FORWARDED = ("gateway/upstream", "gateway/api/tunnel.py", "roles/node")
"""Where a tunnel is forwarded. Elsewhere to relay is to pay the gas of somebody's transaction."""

CELERY = {"beat", "beat_schedule"}
"""Celery's own name for the process that starts periodic jobs."""


def words(name: str) -> set[str]:
    """`OneName`, `one_name` and `--one-name` are the words one and name."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def retired(name: str, where: str = "") -> set[str]:
    """The retired words in a name."""
    if name in CELERY:
        return set()
    relays = {"relay", "relays", "relayed", "relaying"} if where.startswith(FORWARDED) else set()
    return words(name) & (RETIRED | relays)


def identifiers(tree: ast.Module) -> Iterator[str]:
    """Every name that a module defines or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Attribute(attr=name):
                yield name
            case ast.alias(name=name, asname=given):
                yield given or name
            case ast.keyword(arg=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case _:
                pass


def found(page: Path) -> set[str]:
    """The names of a file that hold a retired word. This file plants some, to see them found."""
    where = str(page.relative_to(ROOT))
    if page == Path(__file__):
        return set()
    return {name for name in identifiers(parsed(page)) if retired(name, where)}


def commands(app: typer.Typer) -> Iterator[str]:
    """Every word one can type: groups, commands and options."""
    waiting = [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        yield command.name or ""
        yield from (option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))
        waiting += getattr(command, "commands", {}).values()


def columns() -> Iterator[str]:
    """Every table and every column."""
    for table in metadata.tables.values():
        yield table.name
        yield from (column.name for column in table.columns)


def test_no_identifier_has_a_retired_word() -> None:
    hits = {str(page.relative_to(ROOT)): found(page) for page in pages(*PRODUCT, "bench", "tests")}
    assert {page: names for page, names in hits.items() if names} == {}


def test_no_table_or_column_has_a_retired_word() -> None:
    assert [name for name in columns() if retired(name)] == []


def test_no_setting_has_a_retired_word() -> None:
    names = [*ledger.settings.Settings.model_fields, *gateway.settings.Settings.model_fields]
    assert [name for name in names if retired(name)] == []


def test_no_metric_has_a_retired_word() -> None:
    names = [metric.name for metric in Metrics().registry.collect()]
    assert len(names) > 5
    assert [name for name in names if retired(name)] == []


def test_no_word_of_the_command_line_is_retired() -> None:
    typed = list(commands(main.build()))
    assert "--wallet" in typed
    assert [word for word in typed if retired(word)] == []


def test_a_batchs_number_on_chain_is_not_called_chain_id() -> None:
    assert {table.name for table in metadata.tables.values() if "chain_id" in table.columns} == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("journal = 1", ["journal"]),
        ("def open_the_door(hot_path): pass", ["open_the_door", "hot_path"]),
        ("class HTTPDoor: sealed: int", ["HTTPDoor", "sealed"]),
        ("x.carvePpm; f(purse=1)", ["carvePpm", "purse"]),
        ("import a as shelf", ["shelf"]),
        ("photo = hotel = indoor = 'a journal'", []),
        ("PATIENCE_SECONDS = 1", ["PATIENCE_SECONDS"]),
    ],
)
def test_a_retired_word_is_found_in_a_name_and_only_as_a_whole_word(source: str, names: list[str]) -> None:
    assert [name for name in identifiers(ast.parse(source)) if retired(name)] == names


def test_relaying_is_for_gas_and_forwarding_for_tunnels() -> None:
    assert retired("relay_key", "gateway/upstream/tunnel.py") == {"relay"}
    assert retired("relay_claims", "ledger/settings.py") == set()
    assert retired("x402_relays", "gateway/payment/x402.py") == set()


def test_a_retired_command_option_and_column_are_found() -> None:
    app = typer.Typer()

    @app.command("knock")
    def knock(through_door: int = 0) -> None: ...

    assert [word for word in commands(app) if retired(word)] == ["knock", "--through-door"]
