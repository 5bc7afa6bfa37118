"""A party's statement, recomputed from the public batch files.

Each row is a line of a receipt: what it pays, to whom, and why. The table sums them by role and subject; the other
formats have every line.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ledger.core.accounts import beancount, statements
from ledger.core.accounts.statements import Item, Row, Stage
from ledger.core.catalog.bids import Terms, decode
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, cid, cid_digest, to_hex
from roles.cli import batch, output
from roles.cli.context import Context

if TYPE_CHECKING:
    from ledger.core.settlement.batch_file import BatchFile

FORMS = ("table", "json", "csv", "beancount")


def show(context: Context, form: str) -> None:
    """Print the wallet's statement in one of `FORMS`."""
    if form not in FORMS:
        raise Rejected(f"{form!r} is not a valid format: use one of {', '.join(FORMS)}", form=form)
    rows = list(read_rows(context.account))
    names = read_names(context)
    if form == "beancount":
        sys.stdout.write(beancount.header(context.account) + beancount.calls(rows, names))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, list(_fields(rows[0], names)) if rows else ["batch"])
        writer.writeheader()
        writer.writerows(_fields(row, names) for row in rows)
    elif form == "json" or output.mode.json:
        output.mode.json = True
        output.show_table([_fields(row, names) for row in rows])
    else:
        output.show_table(_sums(rows, names), f"statement of {context.wallet}", "no batch has a payment of yours yet")


def read_rows(party: Address) -> Iterator[Row]:
    """Every line that pays or charges a party, batch by batch."""
    for number in batch.numbers():
        stage = Stage.final if batch.on_chain(number) == "final" else Stage.on_chain
        for item in items(batch.read(number)):
            for one, side in statements.of_party([item], party, frozenset()):
                yield Row(one, side, stage, number)


def items(file: BatchFile) -> Iterator[Item]:
    terms: dict[Digest, Terms] = {id: decode(body) for id, body in file.terms.items()}
    for receipt in file.receipts:
        yield from statements.items(receipt, terms[receipt.terms])


def read_names(context: Context) -> dict[Digest, str]:
    rows = context.gateway.get("/v1/models")["data"]
    return {cid_digest(str(row["cid"])): str(row["id"]) for row in rows if row.get("cid")}


def _sums(rows: list[Row], names: dict[Digest, str]) -> list[dict[str, Any]]:
    return [
        {
            "side": side.value,
            "role": role.name,
            "for": names.get(subject) or cid(subject),
            "lines": lines,
            "atoms": str(atoms),
        }
        for (side, role, subject), (lines, atoms) in statements.totals(rows).items()
    ]


def _fields(row: Row, names: dict[Digest, str]) -> dict[str, Any]:
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
