"""The limits of API keys, as options and as rows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.accounts import budgets as budgets_page
from ledger.core.accounts.budgets import Budget, Period
from ledger.core.values.errors import Rejected
from roles.cli import amounts, output
from roles.cli.shared.cells import utc
from roles.client.gateway import Json

MAX_RATE = 1_000_000
YEAR_MINUTES = 366 * 24 * 60
LIMITS = {"budget": "budget", "budgets": "budgets", "rate": "rate", "models": "models", "expiry": "expires_at"}
"""The limits that can be lifted, and their names in the gateway's API."""

PERIODS = tuple(Period)
Budgets = Annotated[
    list[str] | None,
    Option("--budget", help="The most it may spend: 5 (ever), 1/day, 5/week or 9/month. Repeat it. UTC."),
]
ModelBudgets = Annotated[
    list[str] | None, Option("--model-budget", help="The same for one model: @org/name=1/day. Repeat it.")
]
KeyId = Annotated[str, Argument(help="A key's id, from `consumer keys`.")]
OnlyModel = Annotated[
    list[str] | None, Option("--model", help="A model it may call; repeat it. Default: those its maker may.")
]
Rate = Annotated[int | None, Option(help="Calls a minute, at most.", min=1, max=MAX_RATE)]
Minutes = Annotated[int | None, Option(help="How long it is good, at most.", min=1, max=10 * YEAR_MINUTES)]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a key as they are typed."""

    budget: list[str] | None = None
    model_budget: list[str] | None = None
    model: list[str] | None = None
    rate: int | None = None
    minutes: int | None = None


def limits(typed: Limits) -> dict[str, Any]:
    """The limits that were named, as the gateway takes them. Rejected when a budget allows nothing."""
    budgets = [_budget(text) for text in typed.budget or []]
    for text in typed.model_budget or []:
        model, equals, rest = text.partition("=")
        if not equals or not budgets_page.MODEL.fullmatch(model):
            raise Rejected(f"{text!r} is not a model's budget: write @org/name=5 or @org/name=5/day", budget=text)
        budgets.append(replace(_budget(rest), model=model))
    whole = next((one.amount for one in budgets if one.kind == (None, None)), None)
    others = [one for one in budgets if one.kind != (None, None)]
    budgets_page.check(others)
    rows = [{"amount": str(one.amount), "period": one.period, "model": one.model} for one in others]
    rate, minutes = typed.rate, typed.minutes
    named = {
        "budget": str(whole) if whole is not None else None,
        "budgets": rows or None,
        "models": typed.model or None,
        "rate": rate,
        "expires_at": int(time.time() * 1000) + 60_000 * minutes if minutes is not None else None,
    }
    return {name: value for name, value in named.items() if value is not None}


def lifted(names: Sequence[str]) -> dict[str, Any]:
    """Limits that are taken away, as the gateway takes them. Rejected when one is none."""
    unknown = next((name for name in names if name not in LIMITS), None)
    if unknown is not None:
        raise Rejected(f"{unknown!r} is no limit: --lift {', '.join(LIMITS)}", lift=unknown)
    return {LIMITS[name]: [] if name == "budgets" else None for name in names}


def _budget(text: str) -> Budget:
    """A budget from `5` (ever) or `5/day`."""
    amount, slash, period = text.partition("/")
    if slash and period not in PERIODS:
        raise Rejected(f"{period!r} is no period: write {amount}/{f', {amount}/'.join(PERIODS)}", budget=text)
    atoms = amounts.parse(amount)
    if not atoms:
        raise Rejected("a budget of 0 allows no call: to stop a key, tollway consumer revoke ID")
    return Budget(atoms, Period(period) if period else None)


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
    return {
        "id": key["id"],
        **{name: facts[name] for name in ("label", "budget", "spent", "left", "limits", "last_used")},
    }


def _facts(key: Json) -> dict[str, Any]:
    budget = key["budget"]
    said = [f"{key['rate']} calls a minute"] if key["rate"] else []
    said += [_said(one) for one in key["budgets"]]
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
        "spent": amounts.format(int(key["spent"])) if budget is not None else "-",
        "left": amounts.format(int(key["left"])) if budget is not None else "-",
        "limits": "; ".join(said) or "none",
        "last_used": utc(key["last_used_at"]) if key["last_used_at"] else "never",
    }


def _said(budget: Json) -> str:
    """A budget of a period or a model, with what is left of it and until when."""
    left, most = (amounts.format(int(budget[name])) for name in ("left", "amount"))
    every = f" a {budget['period']}" if budget["period"] else ""
    model = f" for {budget['model']}" if budget["model"] else ""
    until = f" until {utc(budget['resets_at'])}" if budget["resets_at"] else ""
    return f"{left} left of {most}{every}{model}{until}"
