"""`tollway batch`: list, download, mirror and recompute what was settled, and report who earned it."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import address, to_hex
from roles.audit import batches
from roles.audit import mirror as mirroring
from roles.cli import output
from roles.cli.context import Group, here

app = Group("List, download, mirror and recompute what was settled.")

MAX_BATCH = 2**31 - 1
MAX_EPOCH = 2**63 - 1
Number = Annotated[int, Argument(help="A batch's number; the first is 1.", min=1, max=MAX_BATCH)]


@app.command("list")
def list_() -> None:
    """List the batches of this gateway's lane."""
    shown = ("number", "status", "calls", "total", "cumulative", "epoch", "header_id")
    output.show_table([{name: row[name] for name in shown} for row in batches.every(here())], empty="no batch yet")


@app.command("show")
def show(number: Number) -> None:
    """Show one batch: its header, and its status on chain."""
    shown = here().gateway.get(f"/v1/settlement/batches/{number}")
    output.show({**shown, "on_chain": batches.on_chain(here(), number)})


@app.command("file")
def file(number: Number, to: Annotated[Path, Option("--to", help="File to write.")] = Path("batch.bin")) -> None:
    """Download a batch's public file: everything needed to recompute it."""
    from ledger.core.settlement.batch_file import read as parse

    to.parent.stat()  # says which folder is missing, before anything is downloaded
    body = here().gateway.file(f"/v1/settlement/batches/{number}/file")
    to.write_bytes(body)
    output.show({"file": str(to), "bytes": len(body), "sha256": to_hex(parse(body).digest)})


@app.command("mirror")
def mirror(folder: Annotated[Path, Argument(help="Folder to copy to; made if it is missing.")]) -> None:
    """Copy the lane's batch files to a folder, each checked against its header on chain.

    Run it again at any time: it copies what is missing. With the chain, these files make a lost ledger again.
    """
    copied = mirroring.mirror(here(), folder)
    output.show_table([one.row for one in copied], empty="no batch is on chain yet")
    lost = next((one for one in copied if one.difference), None)
    if lost is not None:
        raise Rejected(f"batch {lost.number} was not mirrored: {lost.difference}", batch=lost.number)


@app.command("report")
def report(
    folder: Annotated[Path, Argument(help="Folder of batch files, as `batch mirror` fills it.")],
    first: Annotated[int, Option("--first-epoch", help="The first epoch that counts.", min=0, max=MAX_EPOCH)] = 0,
    last: Annotated[int, Option("--last-epoch", help="The last one.", min=0, max=MAX_EPOCH)] = MAX_EPOCH,
    payee: Annotated[str, Option("--payee", help="Address of one payee; default: all.")] = "",
) -> None:
    """Who earned what: by payee, role and model, made again from batch files and the chain alone.

    Of each batch it says whether its file hashes to the header on chain. One that does not is left out, and the command
    fails. With `--rpc` and `TOLLWAY_DEPLOYMENT` no gateway is asked.
    """
    from roles.audit import report as reports  # numpy and numba

    made = reports.report(here(), folder, reports.Wanted(first, last, address(payee) if payee else None))
    if output.mode.json:
        output.show({"batches": [one.row for one in made.batches], "earned": made.rows})
    else:
        output.show_table([one.row for one in made.batches])
        output.show_table(made.rows, title="who earned what", empty="nobody earned anything")
    wrong = next((one for one in made.batches if one.difference), None)
    if wrong is not None:
        raise Rejected(f"{wrong.file or to_hex(wrong.header)} is left out: {wrong.difference}", batch=wrong.number)


@app.command("verify")
def verify(
    number: Annotated[int | None, Argument(help="A batch's number; default: all.", min=1, max=MAX_BATCH)] = None,
) -> None:
    """Recompute a batch from its public file and compare it with the chain: receipts, bids, lines, trees, header."""
    checked = batches.check(here(), batches.numbers(here()) if number is None else [number])
    output.show_table([one.row for one in checked], empty="no batch yet")
    wrong = next((one for one in checked if not one.ok), None)
    if wrong is not None:
        raise Rejected(f"batch {wrong.number} does not agree: {wrong.difference}", batch=wrong.number)
