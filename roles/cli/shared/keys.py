"""The limits of API keys, as options and as rows."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.values.errors import Rejected
from roles.cli import amounts, output
from roles.cli.cells import utc
from roles.client.gateway import Json

MAX_RATE = 1_000_000
YEAR_MINUTES = 366 * 24 * 60
LIMITS = {"budget": "budget", "rate": "rate", "models": "models", "expiry": "expires_at"}
"""The limits that can be lifted, and their names in the gateway's API."""

KeyId = Annotated[str, Argument(help="A key's id, from `consumer keys`.")]
OnlyModel = Annotated[
    list[str] | None, Option("--model", help="A model it may call; repeat it. Default: those its maker may.")
]
Rate = Annotated[int | None, Option(help="Calls a minute, at most.", min=1, max=MAX_RATE)]
Minutes = Annotated[int | None, Option(help="How long it is good, at most.", min=1, max=10 * YEAR_MINUTES)]


def limits(budget: str | None, models: list[str] | None, rate: int | None, minutes: int | None) -> dict[str, Any]:
    """The limits that were named, as the gateway takes them. Rejected when a budget allows nothing."""
    atoms = amounts.parse(budget) if budget is not None else None
    if atoms == 0:
        raise Rejected("a budget of 0 allows no call: to stop a key, tollway consumer revoke ID")
    named = {
        "budget": str(atoms) if atoms is not None else None,
        "models": models or None,
        "rate": rate,
        "expires_at": int(time.time() * 1000) + 60_000 * minutes if minutes is not None else None,
    }
    return {name: value for name, value in named.items() if value is not None}


def show(key: Json) -> None:
    """Show one key and all its limits."""
    output.show(key if output.mode.json else _facts(key))


def show_all(keys: Sequence[Json], current: str | None) -> None:
    """List keys, newest first, with the one that calls are sent with marked."""
    rows = [{**key, "current": key["id"] == current} for key in keys]
    shown = rows if output.mode.json else [{**_row(row), "": "< in use" if row["current"] else ""} for row in rows]
    output.show_table(shown, empty="no keys yet: tollway consumer key")


def _row(key: Json) -> dict[str, Any]:
    facts = _facts(key)
    return {"id": key["id"], **{name: facts[name] for name in ("label", "budget", "spent", "left", "limits")}}


def _facts(key: Json) -> dict[str, Any]:
    budget, spent = key["budget"], key["spent"]
    left = amounts.format(max(0, int(budget) - int(spent))) if budget is not None else "-"
    said = [f"{key['rate']} calls a minute"] if key["rate"] else []
    said += [f"only {', '.join(key['models'])}"] if key["models"] is not None else []
    said += [", ".join(key["rights"])] if key["rights"] else []
    if key["revoked_at"]:
        said = [f"revoked {utc(key['revoked_at'])}"]
    elif key["expires_at"]:
        ended = key["expires_at"] <= time.time() * 1000
        said.insert(0, f"{'expired' if ended else 'expires'} {utc(key['expires_at'])}")
    return {
        "id": key["id"],
        "label": key["label"],
        "made": utc(key["created_at"]),
        "budget": amounts.format(int(budget)) if budget is not None else "the deposit",
        "spent": amounts.format(int(spent)) if spent is not None else "-",
        "left": left,
        "limits": "; ".join(said) or "none",
    }
