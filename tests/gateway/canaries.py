"""Canaries: words that stand nowhere else, each with where it was put, and the search for them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine, text

from ledger.core.values.hashes import keccak256

Places = dict[str, bytes]
"""What a place keeps or shows, by the place's name."""


@dataclass
class Canaries:
    """The words put into calls: what is `said` belongs to a call's node, a `secret` to nobody."""

    said: dict[str, str] = field(default_factory=dict)
    secret: dict[str, str] = field(default_factory=dict)

    def say(self, where: str) -> str:
        """A prompt or an answer."""
        return self.said.setdefault(where, _word(where))

    def hide(self, where: str) -> str:
        """A key, a cookie, a credential."""
        return self.secret.setdefault(where, _word(where))

    @property
    def all(self) -> dict[str, str]:
        return self.said | self.secret


def _word(where: str) -> str:
    return f"canary-{keccak256(b'canary', where.encode()).hex()[:20]}"


def spellings(word: str) -> Iterator[bytes]:
    """A word as it may stand somewhere: as it is, as hex in the ways of logs and databases, inside of base64."""
    raw = word.encode()
    yield raw
    for sep in ("", " ", ":", "\\x"):
        yield raw.hex(sep).encode() if sep and len(sep) == 1 else sep.join(f"{byte:02x}" for byte in raw).encode()
    yield raw.hex().upper().encode()
    for before in range(3):
        yield b64encode(bytes(before) + raw)[(0, 2, 3)[before] : 8 * (before + len(raw)) // 6]


def leaks(places: Mapping[str, bytes], words: Mapping[str, str]) -> list[str]:
    """Which words stand in which places."""
    shapes = {where: [*spellings(word)] for where, word in words.items()}
    return [
        f"{place}: {where}"
        for place, content in places.items()
        for where, shape in shapes.items()
        if any(one in content for one in shape)
    ]


def database(engine: Engine) -> Places:
    """Every column of every table."""
    tables = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
    tables += " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    found: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for schema, table in connection.execute(text(tables)).all():
            for row in connection.execute(text(f'SELECT row_to_json(t)::text FROM "{schema}"."{table}" t')).scalars():
                for column, value in json.loads(row).items():
                    found.setdefault(f"database {table}.{column}", []).append(str(value))
    return {place: "\n".join(values).encode() for place, values in found.items()}


def joined(parts: Iterable[bytes]) -> bytes:
    return b"\n".join(parts)
