"""The reference of the contracts, from their artifacts and their interfaces: events, errors, functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import contracts
from docs.book.markdown import code, page, table

SOURCES = Path(contracts.__file__).parent / "src"
NAMES = (
    "Settlement", "LaneVault", "Consumers", "Keys", "Questions", "Referee", "PriceJudge", "StakeVault", "BidBook",
    "Registry", "AICoin",
)  # fmt: skip
DECLARED = re.compile(r"((?:^ *///.*\n)+) *(?:event|error|function) (\w+)", re.MULTILINE)
TITLED = re.compile(r"/// @title [^:\n]*:? ?(.*)")
WAYS = {"view": "reads", "pure": "computes", "nonpayable": "", "payable": "takes ether"}


def pages() -> dict[str, str]:
    """The one page."""
    return {
        "reference/contracts.md": page(
            "Contracts: functions, events, errors",
            "One deployment serves every operator of a chain. `deploy/deployments/<chain id>.json` names the addresses,"
            " and `/v1/lane` of a gateway says which deployment it uses. No contract has an owner or can be upgraded.",
            "[The contracts](../rooms/contracts.md) says what they promise; [the dispute game](../how/disputes.md)"
            " tells how a false batch falls. Here are their words. Amounts are atoms of the settlement token.",
            *(_contract(name, contracts.load(name).abi) for name in NAMES),
        )
    }


def _contract(name: str, abi: list[dict[str, Any]]) -> str:
    said = _said(name)

    def rows(kind: str) -> list[tuple[str, str]]:
        declared = [one for one in abi if one["type"] == kind]
        return [
            (code(_signature(one)), said.get(one["name"], "")) for one in sorted(declared, key=lambda one: one["name"])
        ]

    functions = [
        (code(_signature(one)), WAYS[one["stateMutability"]], said.get(one["name"], ""))
        for one in sorted(abi, key=lambda one: one.get("name", ""))
        if one["type"] == "function"
    ]
    parts = [
        f"## {name}",
        _title(name),
        _headed(f"{name}: events", table(("event", "says"), rows("event"))),
        _headed(f"{name}: errors", table(("error", "why"), rows("error"))),
        _headed(f"{name}: functions", table(("function", "", "does"), functions)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part)


def _headed(title: str, rows: str) -> str:
    return f"### {title}\n\n{rows}" if rows else ""


def _signature(one: Mapping[str, Any]) -> str:
    return f"{one['name']}({', '.join(_typed(value) for value in one['inputs'])})"


def _typed(value: Mapping[str, Any]) -> str:
    kind = value["type"]
    if kind.startswith("tuple"):
        kind = value.get("internalType", kind).split(".")[-1].removeprefix("struct ")
    return f"{kind} {value['name']}".strip()


def _title(name: str) -> str:
    for file in (SOURCES / "interfaces" / f"I{name}.sol", SOURCES / f"{name}.sol"):
        if file.is_file() and (found := TITLED.search(file.read_text())) and found[1]:
            return f"{found[1][0].upper()}{found[1][1:].rstrip('.')}."
    return ""


def _said(name: str) -> dict[str, str]:
    """What the sources say of each word of a contract: its own interface first, then any other."""
    own = [SOURCES / "interfaces" / f"I{name}.sol", SOURCES / f"{name}.sol"]
    said: dict[str, str] = {}
    for file in (*own, *sorted((SOURCES / "interfaces").glob("*.sol")), *sorted(SOURCES.glob("*.sol"))):
        for comment, word in DECLARED.findall(file.read_text()) if file.is_file() else ():
            lines = [line.strip().removeprefix("///").strip() for line in comment.strip().split("\n")]
            text = " ".join(" ".join(lines).split(" @")[0].split()).removeprefix("@notice ").removeprefix("@dev ")
            if text and not text.startswith("@"):
                said.setdefault(word, text)
    return said
