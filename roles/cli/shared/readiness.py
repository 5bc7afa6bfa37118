"""What a model still needs before it can be called: the end of each command that brings it nearer.

done      what is there already
missing   what has yet to be done
next      the command that does the first of it
when      from when on it can be called
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.core.catalog.protocols import OPENAI, Protocol
from ledger.core.pricing.readiness import Need
from ledger.core.values.errors import Rejected, TollwayError
from ledger.core.values.ids import Address, Digest, cid
from roles.audit import readiness
from roles.audit.readiness import Readiness
from roles.cli import output
from roles.cli.shared import inputs
from roles.wallet import api_keys, home, keystore
from roles.wallet.context import Context

ADVANCE = "tollway local advance"
SETTLE_SECONDS = 10
"""How long a gateway may take to read what the chain and an offer say already."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, as a command named it. With a `provider`, only what that one does counts."""

    context: Context
    subject: Digest
    name: str
    provider: Address | None = None
    realm: str = ""


def show(facts: dict[str, Any], asked: Asked) -> None:
    """Show a command's answer, and at its end what its model still needs."""
    output.show({**facts, **of(asked)})


def of(asked: Asked) -> dict[str, Any]:
    """What a model still needs, as facts of an answer; why that is not known, where gateway or chain do not answer:
    what the command has done is done.
    """
    try:
        return said(asked, _settled(asked))
    except TollwayError as error:
        return {"when": f"not known now: {error.message}"}


def said(asked: Asked, found: Readiness) -> dict[str, Any]:
    """A model's needs in words, and as commands."""
    facts: dict[str, Any] = {"callable": found.callable and not found.missing}
    if found.steps:
        facts["done"] = [str(step.need) for step in found.steps if step.since is not None]
        facts["missing"] = [str(need) for need in found.missing]
    return {**facts, "next": _next(asked, found), "when": when(asked.context, found)}


def why(facts: dict[str, Any]) -> str:
    """Why a model cannot be called, in a line: what is missing, and from when on it can. "" where nothing is known."""
    missing = ", ".join(facts.get("missing", ()))
    return "; ".join(filter(None, (missing and f"missing: {missing}", facts.get("when", ""))))


def when(context: Context, found: Readiness) -> str:
    """From when on it can be called."""
    if found.callable and not found.missing:
        return "now"
    if found.opens_at > found.now:
        opens, now = (datetime.fromtimestamp(at, UTC) for at in (found.opens_at, found.now))
        day = "" if opens.date() == now.date() else f"{opens:%Y-%m-%d} "
        minutes = -(-(found.opens_at - found.now) // 60)
        if found.missing:
            return f"from {day}{opens:%H:%M} UTC, in {minutes} min, if the rest is done by then"
        local = f"; local: {ADVANCE}" if _is_local(context) else ""
        return f"in force from {day}{opens:%H:%M} UTC, in {minutes} min{local}"
    if found.missing:
        return "as soon as the rest is done"
    return found.why or "the gateway has not read it yet"


def _settled(asked: Asked) -> Readiness:
    """What is known, once the gateway has read what is there already, or when it has had the time.

    A private grid has no chain that says what is missing: there a provider's offer is waited for, a document is not.
    """
    found: list[Readiness] = []

    def is_settled() -> bool:
        found[:] = [readiness.read(asked.context, asked.subject, asked.provider, asked.realm)]
        now = found[0]
        return now.callable or bool(now.missing) or now.opens_at > now.now or not (now.steps or asked.provider)

    output.wait_until(is_settled, SETTLE_SECONDS, 0.5)
    return found[0]


def _next(asked: Asked, found: Readiness) -> str:
    """The command that does the first of what is missing, if its wallet is in this home; then the call itself."""
    if found.missing:
        return next(filter(None, (_command(need, asked, found) for need in found.missing)), "")
    if not found.callable and found.opens_at > found.now and _is_local(asked.context):
        return ADVANCE
    return _call(asked, found)


def _command(need: Need, asked: Asked, found: Readiness) -> str:
    """The command for a need, as its wallet types it; "" if that one is not in this home."""
    mine = asked.provider or _mine(asked.context) or found.owner
    wallet = _wallet(found.owner if need is Need.owner_bid else mine)
    if not wallet:
        return ""
    register, name = f"tollway maker register {asked.name} PATH", asked.name
    serve = f"tollway provider serve PATH={name}"
    return {
        Need.document: register,
        Need.registration: register,
        Need.owner_bid: f"tollway maker bid {name} --ask call=200",
        Need.provider_bid: f"tollway provider bid {name} --ask call=1000",
        Need.stake: "tollway provider stake 1",
        Need.offer: f"tollway provider offer {name} --url URL" if found.kind == "endpoint" else serve,
    }[need] + wallet


def _mine(context: Context) -> Address | None:
    """The wallet that acts; None where a command named none."""
    with suppress(Rejected):
        return context.account
    return None


def _call(asked: Asked, found: Readiness) -> str:
    consumer = next((f" -w {name}" for name in keystore.names() if _has_key(name)), "")
    consumer = (f" --realm {asked.realm}" if asked.realm else "") + consumer
    if found.protocols and Protocol.tensors not in found.protocols:
        if not OPENAI & frozenset(found.protocols):
            return ""
        return f'tollway consumer call {asked.name} "Hello!"{consumer}'
    with suppress(TollwayError):
        wanted = inputs.described(asked.context.gateway_in(asked.realm).get(f"/v2/models/{cid(asked.subject)}"))
        return f"tollway consumer infer {asked.name} {inputs.example(wanted)}{consumer}"
    return f"tollway consumer infer {asked.name} NAME=VALUE{consumer}"


def _has_key(wallet: str) -> bool:
    with suppress(Rejected):
        return api_keys.current(wallet) is not None
    return False


def _wallet(party: Address | None) -> str:
    """The option that names a party's wallet; "" if it has none here."""
    for name in keystore.names():
        with suppress(Rejected):
            if keystore.address_of(name) == party:
                return f" -w {name}"
    return ""


def _is_local(context: Context) -> bool:
    known = home.network()
    return known is not None and known.gateway == context.url and keystore.TREASURY in keystore.names()


def name_of(context: Context, subject: Digest) -> str:
    """The name by which the gateway lists a model; its CID, if it does not."""
    with suppress(TollwayError):
        return str(context.gateway.get(f"/v1/models/{cid(subject)}")["id"])
    return cid(subject)
