"""Compile the contracts with py-solc-x into `contracts/artifacts/`: `python -m contracts.build`.

The compiler is npm's solc run by Node (`contracts/solc`), so nothing native is downloaded. Sources go in under stable
names and metadata is left out: the same sources give the same bytes on any machine.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import solcx

HERE = Path(__file__).resolve().parent
MODULES = HERE.parent / "node_modules"
ARTIFACTS = HERE / "artifacts"
COMPILER = HERE / "solc"

CONTRACTS = ("AICoin", "Settlement", "Referee", "StakeVault", "BidBook", "Registry", "Inboxes", "LaneInbox")
MAX_RUNTIME_BYTES = 24_576
"""EIP-170: no chain takes a larger contract."""

SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,
    "evmVersion": "shanghai",
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode"]}},
}

_IMPORT = re.compile(r'^import\s[^"]*"([^"]+)";', re.MULTILINE)


def sources() -> dict[str, str]:
    """Every source the contracts need, by its name relative to the repository."""
    found: dict[str, str] = {}
    waiting = [f"contracts/src/{path.relative_to(HERE / 'src')}" for path in sorted((HERE / "src").rglob("*.sol"))]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = MODULES.parent / name if name.startswith("node_modules/") else HERE.parent / name
        found[name] = path.read_text()
        waiting += [_resolve(name, target) for target in _IMPORT.findall(found[name])]
    return dict(sorted(found.items()))


def compile_all() -> dict[str, dict[str, Any]]:
    """Artifacts by contract name. Raises when solc warns: a warning is a bug not yet met."""
    given = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources().items()},
        "settings": SETTINGS,
    }
    output = solcx.compile_standard(given, solc_binary=COMPILER)
    warnings = [error["formattedMessage"] for error in output.get("errors", ()) if error["severity"] != "info"]
    if warnings:
        raise RuntimeError("\n".join(warnings))
    return {name: _artifact(output["contracts"][f"contracts/src/{name}.sol"][name]) for name in CONTRACTS}


def render(artifact: dict[str, Any]) -> str:
    """The one spelling of an artifact file."""
    return json.dumps(artifact, indent=1) + "\n"


def main() -> int:
    """Write what changed, say how large each contract is."""
    ARTIFACTS.mkdir(exist_ok=True)
    for name, artifact in compile_all().items():
        size = len(artifact["deployedBytecode"]) // 2 - 1
        note = "  TOO LARGE" if size > MAX_RUNTIME_BYTES else ""
        print(f"{name:12} {size:6} bytes{note}")
        (ARTIFACTS / f"{name}.json").write_text(render(artifact))
    return 0


def _artifact(output: dict[str, Any]) -> dict[str, Any]:
    code = output["evm"]
    return {
        "abi": output["abi"],
        "bytecode": "0x" + code["bytecode"]["object"],
        "deployedBytecode": "0x" + code["deployedBytecode"]["object"],
        "immutableReferences": sorted(
            (place["start"], place["length"])
            for places in code["deployedBytecode"].get("immutableReferences", {}).values()
            for place in places
        ),
    }


def _resolve(importer: str, target: str) -> str:
    if target.startswith("@openzeppelin/"):
        return f"node_modules/{target}"
    parts: list[str] = importer.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


if __name__ == "__main__":
    sys.exit(main())
