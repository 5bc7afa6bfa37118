"""Compiled contracts by name, and their deployment. Running Tollway needs no compiler: artifacts are committed."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ARTIFACTS = Path(__file__).resolve().parent / "artifacts"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    """Creation code, before constructor arguments."""
    deployed_bytecode: bytes
    """Runtime code with zeros where immutables go."""
    immutables: tuple[tuple[int, int], ...]
    """(start, length) of every immutable in the runtime code."""

    def matches(self, code: bytes) -> bool:
        """True when `code` is this contract's runtime code, whatever its immutables."""
        return len(code) == len(self.deployed_bytecode) and self._blank(code) == self._blank(self.deployed_bytecode)

    def _blank(self, code: bytes) -> bytes:
        blank = bytearray(code)
        for start, length in self.immutables:
            blank[start : start + length] = bytes(length)
        return bytes(blank)


@lru_cache
def load(name: str) -> Artifact:
    """The artifact of a contract, say `load("Settlement")`."""
    raw = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return Artifact(
        name,
        raw["abi"],
        bytes.fromhex(raw["bytecode"][2:]),
        bytes.fromhex(raw["deployedBytecode"][2:]),
        tuple((start, length) for start, length in raw["immutableReferences"]),
    )
