"""A lane's public batch files, copied to a folder: whoever has them and the chain can make the ledger again.

A file is written whole or not at all, and only when it comes to the header that the chain has.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import to_hex
from roles.audit import batches
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.core.settlement.header import HeaderId
    from roles.wallet.context import Context


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A batch's file in the folder; `difference` says why it is not there, and is empty when it is."""

    number: int
    file: str
    bytes: int
    fresh: bool
    difference: str = ""

    @property
    def row(self) -> dict[str, object]:
        state = "missing" if self.difference else "downloaded" if self.fresh else "already there"
        return {
            "batch": self.number,
            "file": self.file,
            "bytes": self.bytes,
            "state": state,
            "difference": self.difference,
        }


def mirror(context: Context, folder: Path) -> list[Mirrored]:
    """Copy every batch file of the lane that the folder does not have yet. A second run goes on where the first ended.

    Raises Unavailable when the chain has a batch that the gateway does not list: its file is nowhere to be had.
    """
    if folder.exists() and not folder.is_dir():
        raise Rejected(f"{folder} is not a folder: name one, or one that is to be made", folder=str(folder))
    listed = {str(row["header_id"]): int(row["number"]) for row in batches.listed(context)}
    public = set(batches.numbers(context))
    on_chain = _on_chain(context)  # None: a private grid, where the operator's list is all there is
    wanted = on_chain if on_chain is not None else {name for name, number in listed.items() if number in public}
    for name in wanted - listed.keys():
        raise Unavailable(f"the chain has a batch with header {name} that {context.url} does not list", header=name)
    ordered = sorted(wanted, key=listed.__getitem__)
    folder.mkdir(exist_ok=True)
    last = listed[ordered[-1]] if ordered else 0
    return [_copy(context, folder, listed[name], name, last) for name in ordered]


def _on_chain(context: Context) -> set[str] | None:
    """The ids of the headers of the batches that the chain has; None on a private grid."""
    if int(context.lane["chain_id"]) == 0:
        return None
    return {to_hex(one.header.id) for one in batches.active(context, transactions.chain(context), context.lane_id)}


def _copy(context: Context, folder: Path, number: int, name: str, last: int) -> Mirrored:
    from ledger.core.settlement.batch_file import file_name

    header = bytes.fromhex(name[2:])
    path = folder / file_name(number, header)
    with context.working(f"mirroring batch {number} of {last}"):
        if path.exists() and _header_id(path.read_bytes()) == header:
            return Mirrored(number, path.name, path.stat().st_size, fresh=False)
        try:
            body = context.gateway.file(f"/v1/settlement/batches/{number}/file")
        except Rejected as refused:
            return Mirrored(number, path.name, 0, fresh=False, difference=refused.message)
        if _header_id(body) != header:
            return Mirrored(number, path.name, 0, fresh=False, difference=f"it is not the file of header {name}")
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        return Mirrored(number, path.name, len(body), fresh=True)


def _header_id(body: bytes) -> HeaderId:
    """The id of the header that follows from a file's bytes; none when they are not a batch file."""
    from ledger.core.settlement.batch_file import read  # numba, which only reading needs

    try:
        return read(body).header.id
    except Rejected:
        return b""
