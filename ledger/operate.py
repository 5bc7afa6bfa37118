"""The operator's commands on the ledger's database: `python -m ledger.operate alarms [--clear]`, `... retire`,
`... rebuild --files FOLDER`, `... permits [--forgive ID]`.

alarms  print, as JSON, what is wrong: each active alarm, what is late, near a limit, silent or stopped, and what helps;
        exit code 1 while anything is. With --clear, clear exactly the alarms: batches go on, and the next audit sounds
        what is still wrong.
retire  leave a private grid for a chain: once, after the gateway has stopped and all batches are final. Print, as JSON,
        what the operator owes on the chain: a deposit for each consumer, a payment to each payee.
rebuild make a lost ledger again, in an empty migrated database, from the chain and the files of `tollway batch
        mirror`. Print, as JSON, what came back; exit code 1 when an audit finds something wrong. Receipts that were in
        no batch on chain are lost: read docs/runbook.md before gateways start.
permits print, as JSON, what calls paid by x402's `upto` were charged and what of it is settled, and each debt: a charge
        whose settlement failed; then each channel of `batch-settlement` with its totals, and what of it is lost; exit
        code 1 while there is any. With --forgive, what the payer of a permit or of a channel paid otherwise, or never
        will, counts as settled: it is served again.

Each is one unit of work. Errors are printed without a traceback, with exit code 2.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from ledger.core.accounts.permits import Status
from ledger.core.settlement.troubles import Facts, find, remedy_of
from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from ledger.core.values.ids import Address, digest, to_hex
from ledger.flows import credits, leases
from ledger.settings import Settings
from ledger.store.access import channels, permits
from ledger.store.chain import chain_time
from ledger.store.session import connect, unit_of_work
from ledger.store.settlement import alarms, troubles

if TYPE_CHECKING:
    from ledger.chain.reads import Chain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ledger.operate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("alarms", help="print the active alarms")
    show.add_argument("--clear", action="store_true", help="a person has looked at them: batches go on")
    commands.add_parser("retire", help="take every balance out of a private grid's ledger")
    debts = commands.add_parser(
        "permits", help="print what of x402's `upto` and `batch-settlement` is settled, and what is not"
    )
    forgiven = "the permit or channel of a debt that was paid otherwise, or never will be"
    debts.add_argument("--forgive", metavar="ID", help=forgiven)
    again = commands.add_parser("rebuild", help="make a lost ledger again from the chain and the batch files")
    again.add_argument("--files", type=Path, required=True, metavar="FOLDER", help="what `tollway batch mirror` copied")
    options = parser.parse_args(arguments)
    if options.command == "alarms":
        return show_alarms(clear=options.clear)
    if options.command == "permits":
        return show_permits(options.forgive)
    return rebuild(options.files) if options.command == "rebuild" else retire()


def show_alarms(*, clear: bool) -> int:
    """Print what is wrong and, if asked, clear the active alarms among it."""
    with _ledger() as (settings, session):
        active = alarms.active(session, settings.lane)
        rows: list[dict[str, Any]] = [_shown_alarm(one) for one in active]
        if clear:
            alarms.clear(session, settings.lane, active, _now())
        else:
            rows += [asdict(one) for one in find(_facts(settings, session))]
    print(json.dumps({"alarms": rows, "cleared": clear and bool(active)}, indent=1))
    return int(bool(rows) and not clear)


def _shown_alarm(one: alarms.Alarm) -> dict[str, Any]:
    where = {"account": one.account, "receipt": one.receipt}
    return {"name": one.law, "message": one.message, **where, "remedy": remedy_of(one.law)}


def _facts(settings: Settings, session: Session) -> Facts:
    """What the database says of the lane, and how far the chain is ahead of it."""
    known = troubles.read(session, settings.lane, settings.batch_seconds * 1_000, _now())
    known = replace(known, stake=leases.at_stake(session, settings.lane))
    if settings.private:
        return known
    from ledger.context import Context  # the chain: slow to import

    try:
        tip, indexed = cast("Chain", Context(settings).chain).block(), chain_time.get(session)
    except Unavailable as error:
        return replace(known, chain_error=error.message)
    confirmed = tip.number - settings.confirmations if tip else 0
    return replace(known, behind=max(0, confirmed - (indexed.number if indexed else 0)))


def show_permits(forgiven: str | None) -> int:
    """Print how far permits have come, and the debts among them, after one of those was forgiven if that is asked; and
    every channel. Returns the exit code.
    """
    with _ledger() as (settings, session):
        if forgiven is not None:
            one = permits.get(session, settings.lane, digest(forgiven))
            if one is not None and one.status is Status.failed:
                permits.set_status(session, one, Status.settled, error=None)
            elif not channels.forgive(session, settings.lane, digest(forgiven)):
                raise Rejected(
                    f"{forgiven} is no debt that can be forgiven: of a permit its deadline has to pass first"
                )
        counts = permits.totals(session, settings.lane)
        debts = permits.in_debt(session, settings.lane)
        opened = channels.of_lane(session, settings.lane)
    shown = {one.value: {"permits": count, "atoms": str(atoms)} for one, (count, atoms) in sorted(counts.items())}
    said = {"permits": shown, "debts": [_shown_debt(one) for one in debts]}
    if opened:
        said |= {"channels": [_shown_channel(one) for one in opened]}
    print(json.dumps(said, indent=1))
    return int(bool(debts) or any(one.totals.lost for one in opened))


def _shown_channel(one: channels.StoredChannel) -> dict[str, Any]:
    totals = one.totals
    named = {"id": to_hex(one.id), "payer": to_hex(one.channel.payer), "status": one.status.value}
    atoms = {"balance": totals.balance, "voucher": totals.voucher, "charged": totals.charged, "claimed": totals.claimed}
    return named | {name: str(value) for name, value in (atoms | {"lost": totals.lost}).items()} | {"error": one.error}


def _shown_debt(one: permits.StoredPermit) -> dict[str, Any]:
    named = {"id": to_hex(one.id), "payer": to_hex(one.permit.payer), "call": to_hex(one.call)}
    known = {"status": one.status.value, "deadline": one.permit.deadline, "error": one.error}
    return named | {"atoms": str(one.charged)} | known


def retire() -> int:
    """Take every balance out of a private grid's ledger, and print what the operator owes for it."""
    with _ledger() as (settings, session):
        if not settings.private:
            raise Rejected("this lane is on a chain, where its accounts leave by themselves: tollway operator drain")
        owed = credits.retire(session, settings.lane, _now())
    print(json.dumps({"deposits": _shown(owed.deposits), "payments": _shown(owed.payments)}, indent=1))
    return 0


def rebuild(folder: Path) -> int:
    """Make a lost ledger again, and print what came back."""
    from ledger import rebuild as rebuilding  # the kernels, the chain and the flows: slow to import
    from ledger.context import Context

    with _ledger() as (settings, session):
        made = rebuilding.rebuild(session, Context(settings), folder, _now(), _say)
    print(json.dumps({**asdict(made), "renew": [to_hex(gateway) for gateway in made.renew]}, indent=1))
    return int(bool(made.alarms))


def _now() -> int:
    return time.time_ns() // 1_000_000


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


@contextmanager
def _ledger() -> Iterator[tuple[Settings, Session]]:
    """The settings, and a session on the database that `LEDGER_DATABASE_URL` names."""
    try:
        settings = Settings()  # type: ignore[call-arg]
        with unit_of_work(connect(settings.sqlalchemy_url)) as session:
            yield settings, session
    except ValidationError as error:
        wrong = (f"LEDGER_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        _end("; ".join(wrong))
    except DBAPIError as error:
        _end(f"the database of LEDGER_DATABASE_URL: {str(error.orig).strip().splitlines()[0]}")
    except TollwayError as error:
        _end(error.message)


def _end(why: str) -> None:
    print(f"error: {why}", file=sys.stderr)
    raise SystemExit(2)


def _shown(amounts: Mapping[Address, int]) -> dict[str, str]:
    return {to_hex(account): str(amount) for account, amount in amounts.items()}


if __name__ == "__main__":
    sys.exit(main())
