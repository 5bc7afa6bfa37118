"""A party's statement, recomputed from the public batch files.

Each row is a line of a receipt: what it pays, to whom, and why. The table sums them by role and subject; the other
formats have every line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ledger.core.accounts import statements
from ledger.core.accounts.statements import Item, Row, Stage
from ledger.core.catalog.bids import Terms, decode
from ledger.core.values.ids import Digest, cid, cid_digest, to_hex
from roles.audit import batches
from roles.wallet.context import Context

if TYPE_CHECKING:
    from ledger.core.settlement.batch_file import BatchFile


def read_rows(context: Context) -> Iterator[Row]:
    """Every line that pays or charges the wallet, batch by batch."""
    party = context.account
    for number in batches.numbers(context):
        stage = Stage.final if batches.on_chain(context, number) == "final" else Stage.on_chain
        for item in items(batches.read(context, number)):
            for one, side in statements.of_party([item], party, frozenset()):
                yield Row(one, side, stage, number)


def items(file: BatchFile) -> Iterator[Item]:
    terms: dict[Digest, Terms] = {id: decode(body) for id, body in file.terms.items()}
    barred = set(file.opening.barred)
    for receipt in (one for place, one in enumerate(file.receipts) if place not in barred):
        yield from statements.items(receipt, terms[receipt.terms])


def read_names(context: Context) -> dict[Digest, str]:
    rows = context.gateway.get("/v1/models")["data"]
    return {cid_digest(str(row["cid"])): str(row["id"]) for row in rows if row.get("cid")}


def sums(rows: list[Row], names: dict[Digest, str]) -> list[dict[str, Any]]:
    """The rows of the table."""
    return [
        {
            "side": side.value,
            "role": role.name,
            "for": names.get(subject) or cid(subject),
            "lines": lines,
            "amount": str(atoms),
        }
        for (side, role, subject), (lines, atoms) in statements.totals(rows).items()
    ]


def fields(row: Row, names: dict[Digest, str]) -> dict[str, Any]:
    """A row in JSON or CSV."""
    item = row.item
    return {
        "batch": row.batch,
        "stage": row.stage.value,
        "ended_at_ms": item.receipt.ended_at,
        "side": row.side.value,
        "role": item.role.name,
        "for": names.get(item.subject) or cid(item.subject),
        "payee": to_hex(item.payee),
        "consumer": to_hex(item.receipt.consumer),
        "atoms": str(item.amount),
        "why": item.why,
        "receipt": f"{to_hex(item.receipt.gateway)}-{item.receipt.seq}",
    }
