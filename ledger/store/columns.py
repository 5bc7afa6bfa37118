"""Column types. A plain `int` would be 32 bits on PostgreSQL, so every integer is a BIGINT.

Alone, because every folder's tables import it and it imports none.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Computed, LargeBinary
from sqlmodel import Field


def big(*, key: bool = False, index: bool = False) -> Any:
    """A BIGINT: atoms, counts, milliseconds, sequence numbers. Atoms fit 63 bits (atoms.MAX)."""
    return Field(sa_type=BigInteger, primary_key=key, index=index, sa_column_kwargs={"autoincrement": False})


def octets(*, key: bool = False, index: bool = False) -> Any:
    """A BYTEA: addresses, digests, signatures, bodies."""
    return Field(sa_type=LargeBinary, primary_key=key, index=index)


def maybe_octets() -> Any:
    """A BYTEA that may be absent."""
    return Field(default=None, sa_type=LargeBinary, nullable=True)


def maybe_big() -> Any:
    """A BIGINT that may be absent."""
    return Field(default=None, sa_type=BigInteger, nullable=True)


def cut(start: int, size: int, *, key: bool = False) -> Any:
    """`size` bytes of the row's `record` from `start` (counted from 1), which the database cuts out."""
    piece = Computed(f"substring(record FROM {start} FOR {size})", persisted=True)
    return Field(sa_column=Column(LargeBinary, piece, primary_key=key, nullable=False))
