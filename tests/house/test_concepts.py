"""`docs/concepts.md` maps the layers of the paper to rooms that are there, and every room is on its map."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.source import ROOT, pages

LAYERS = ("Resource layer", "Service layer", "Interaction layer", "Application layer")
BESIDE = "Beside the layers"
"""The heading of what the paper has no layer for."""
TOP = ("bench", "contracts/src", "deploy", "docs", "tests")
"""The house's rooms that hold no package of the product."""


def map_of(page: str) -> dict[str, set[str]]:
    """The rooms and files in backticks under each third heading of the section on layers."""
    section = page.partition("\n## Layers and rooms\n")[2].partition("\n## ")[0]
    headed = re.split(r"^### (.+)$", section, flags=re.MULTILINE)[1:]
    texts = zip(headed[::2], headed[1::2], strict=True)
    return {heading: set(re.findall(r"`([\w-]+(?:/[\w.-]+)*)/?`", text)) for heading, text in texts}


def rooms(files: list[Path], root: Path) -> set[str]:
    """The folders of these files, two deep: `gateway/call`. In the ledger's core three deep: `ledger/core/pricing`."""
    found = set()
    for page in files:
        parts = page.relative_to(root).parent.parts
        found.add("/".join(parts[: 3 if parts[:2] == ("ledger", "core") else 2]))
    return {room for room in found if "/" in room} - {"ledger/core"}


def forgotten(mapped: dict[str, set[str]], known: set[str]) -> set[str]:
    return known - set().union(*mapped.values())


def missing(mapped: dict[str, set[str]], root: Path) -> set[str]:
    """What is on the map and not there."""
    return {name for names in mapped.values() for name in names if not (root / name).exists()}


PAGE = (ROOT / "docs" / "concepts.md").read_text()


def test_each_layer_of_the_paper_has_rooms_that_are_there() -> None:
    mapped = map_of(PAGE)
    assert [*mapped] == [*LAYERS, BESIDE]
    assert {layer for layer in LAYERS if not mapped[layer]} == set()
    assert missing(mapped, ROOT) == set()


def test_every_room_is_on_the_map() -> None:
    assert forgotten(map_of(PAGE), rooms(pages("gateway", "ledger", "roles"), ROOT) | set(TOP)) == set()


def test_a_room_that_is_forgotten_and_one_that_is_gone_are_found(tmp_path: Path) -> None:
    page = "`not/mapped`\n\n## Layers and rooms\n\n### Service layer\n\n`gateway/call` and `ledger/core/values/`\n"
    mapped = map_of(page + "\n### Other\n\n`docs`\n\n## Next\n\n`gateway/api`\n")
    assert mapped == {"Service layer": {"gateway/call", "ledger/core/values"}, "Other": {"docs"}}
    names = ("gateway/app.py", "gateway/call/call.py", "roles/node/models/model.py", "ledger/core/values/ids.py")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    known = rooms([tmp_path / name for name in names], tmp_path)
    assert known == {"gateway/call", "roles/node", "ledger/core/values"}
    assert forgotten(mapped, known) == {"roles/node"}
    assert missing(mapped, tmp_path) == {"docs"}
