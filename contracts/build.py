"""Compile the contracts with py-solc-x into `contracts/artifacts/`: `python -m contracts.build [NAME ...]`.

Without a name it compiles what has changed; with names, such as `BidBook`, these alone, changed or not.

The compiler is npm's solc run by Node (`contracts/solc`), so nothing native is downloaded. Sources go in under stable
names and metadata is left out: the same sources give the same bytes on any machine.
"""

import hashlib
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import solcx

HERE = Path(__file__).resolve().parent
MODULES = HERE.parent / "node_modules"
ARTIFACTS = HERE / "artifacts"
COMPILER = HERE / "solc"

UNITS = (
    ("AICoin",),
    ("Settlement", "Consumers", "Keys", "LaneVault", "StakeVault"),
    ("Questions",),
    ("Referee",),
    ("PriceJudge",),
    ("Maker",),
    ("BidBook",),
    ("Registry",),
    ("test/LibrariesHarness",),
    ("test/LocalUsdc",),
)
"""Contracts compiled together: one, and the one it makes, which the compiler has to compile for it anyway.

A name is a path below `contracts/src` without its ending, or below `contracts` for what is under `test/`.
"""
CONTRACTS = tuple(name for unit in UNITS for name in unit)
MAX_RUNTIME_BYTES = 24_576
"""EIP-170: no chain takes a larger contract."""

SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 1_000_000},
    "viaIR": True,
    "evmVersion": "shanghai",
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
}
RUNS = dict.fromkeys((name for unit in UNITS[1:5] for name in unit), 200)
"""A contract made by another is compiled as that one is."""
OUTPUT = ("abi", "evm.bytecode.object", "evm.deployedBytecode")

_IMPORT = re.compile(r'^import\s[^"]*"([^"]+)";', re.MULTILINE)


def source(contract: str) -> str:
    """The file a contract is in, relative to the repository."""
    return f"contracts/{contract}.sol" if contract.startswith("test/") else f"contracts/src/{contract}.sol"


def sources(contract: str) -> dict[str, str]:
    """A contract's source and all it imports, by names relative to the repository."""
    found: dict[str, str] = {}
    waiting = [source(contract)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = MODULES.parent / name if name.startswith("node_modules/") else HERE.parent / name
        found[name] = path.read_text()
        waiting += [_resolve(name, target) for target in _IMPORT.findall(found[name])]
    return dict(sorted(found.items()))


def settings(contract: str) -> dict[str, Any]:
    """Compiler settings: optimised for use, or as far as EIP-170 lets a large contract grow."""
    return SETTINGS | {"optimizer": {"enabled": True, "runs": RUNS.get(contract, 1_000_000)}}


def compile_unit(unit: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """A unit's artifacts by name. Raises when solc warns: a warning is a bug not yet met."""
    maker, files = unit[0], {name: (source(name), Path(name).name) for name in unit}
    wanted = {file: {contract: list(OUTPUT)} for file, contract in files.values()}
    given = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources(maker).items()},
        "settings": settings(maker) | {"outputSelection": wanted},
    }
    output = solcx.compile_standard(given, solc_binary=COMPILER)
    warnings = [error["formattedMessage"] for error in output.get("errors", ()) if error["severity"] != "info"]
    if warnings:
        raise RuntimeError("\n".join(warnings))
    return {name: _artifact(output["contracts"][file][contract]) for name, (file, contract) in files.items()}


def fingerprint(contract: str) -> str:
    """The inputs of an artifact: sources, settings and compiler. Equal fingerprints, equal artifacts."""
    compiler = json.loads((MODULES / "solc" / "package.json").read_text())["version"]
    given = json.dumps([compiler, settings(contract), sources(contract)], sort_keys=True)
    return hashlib.sha256(given.encode()).hexdigest()


def render(artifact: dict[str, Any]) -> str:
    """The one spelling of an artifact file."""
    return json.dumps(artifact, indent=1) + "\n"


def main() -> int:
    """Compile what changed or was named, write it, say how large each contract is."""
    named = set(sys.argv[1:])
    if unknown := named.difference(CONTRACTS):
        sys.exit(f"no contract is named {', '.join(sorted(unknown))}; there are {', '.join(CONTRACTS)}")
    chosen = [unit for unit in UNITS if (named.intersection(unit) if named else not all(map(is_current, unit)))]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for artifacts in pool.map(compile_unit, chosen):
            for name, artifact in artifacts.items():
                artifact["fingerprint"] = fingerprint(name)
                file = ARTIFACTS / f"{name}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(render(artifact))
                print(f"{name:24} compiled")
    for name in CONTRACTS:
        if not (ARTIFACTS / f"{name}.json").exists():
            continue
        size = len(json.loads((ARTIFACTS / f"{name}.json").read_text())["deployedBytecode"]) // 2 - 1
        print(f"{name:24} {size:6} bytes{'  TOO LARGE' if size > MAX_RUNTIME_BYTES else ''}")
    return 0


def is_current(contract: str) -> bool:
    """True when the committed artifact is of these very sources."""
    file = ARTIFACTS / f"{contract}.json"
    return file.exists() and json.loads(file.read_text()).get("fingerprint") == fingerprint(contract)


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
