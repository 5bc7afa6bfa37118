"""What a model still needs before it can be called, from what the chain and the gateway say now."""

from contextlib import suppress
from dataclasses import dataclass

from ledger.core.catalog.bids import Role
from ledger.core.pricing.epochs import BidInForce, epoch_at
from ledger.core.pricing.readiness import Known, Need, Step, opens, steps
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, address, cid, to_hex
from roles.client.gateway import Json
from roles.wallet import transactions
from roles.wallet.context import Context

BIDDERS = 8
"""How many of a model's providers are looked at: anybody may bid."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """A model's needs in order, and what the gateway says of it: whether it can be called now, and `why` not.

    `owner` is None without a registration. Times are the chain's, in seconds; it can be called from `opens_at` on, if
    what is missing is done now.
    """

    steps: tuple[Step, ...]
    owner: Address | None
    callable: bool
    why: str
    now: int
    opens_at: int
    protocols: tuple[str, ...]
    kind: str = ""
    """`weights` or `endpoint`, if its document is known."""

    @property
    def missing(self) -> list[Need]:
        return [step.need for step in self.steps if step.since is None]


def read(context: Context, subject: Digest, provider: Address | None = None, realm: str = "") -> Readiness:
    """What this model needs with this provider, or without one with that which is nearest to serving it."""
    row = _row(context, subject, realm)
    callable, why = bool(row.get("ready")), str(row.get("why", ""))
    protocols, kind = tuple(row.get("protocols", ())), str(row.get("kind", ""))
    if not context.lane["chain_id"]:
        return Readiness((), None, callable, why, 0, 0, protocols, kind)
    seconds, now = int(context.lane["epoch_seconds"]), transactions.now(context)
    known = _known(context, subject, provider, realm, epoch_at(now, seconds), bool(row))
    needed = steps(known, provider)
    opens_at = opens(known, needed) * seconds
    return Readiness(tuple(needed), known.owner, callable, why, now, opens_at, protocols, kind)


def _known(
    context: Context, subject: Digest, provider: Address | None, realm: str, epoch: int, published: bool
) -> Known:
    chain = transactions.chain(context)
    holder, _, since, _ = chain.view("Registry", "models", subject)
    owner = address(holder) if address(holder) != ZERO_ADDRESS else None
    placed = tuple(
        BidInForce(one.subject, one.role, one.party, one.bid, one.first, one.until) for one in chain.bids(subject)
    )
    bidders = dict.fromkeys(row.party for row in reversed(placed) if row.role is Role.compute)
    parties = [provider] if provider is not None else list(bidders)[:BIDDERS]
    return Known(
        subject=subject,
        epoch=epoch,
        published=published,
        owner=owner,
        owner_since=int(since),
        placed=tuple(row for row in placed if row.role is not Role.compute or row.party in parties),
        stakes={party: chain.stake(party)[0] for party in parties},
        stake_per_call=int(context.lane["stake_per_call"]),
        offered_by=frozenset(party for party in parties if _offers(context, subject, party, realm)),
    )


def _row(context: Context, subject: Digest, realm: str) -> Json:
    with suppress(Rejected):
        return context.gateway_in(realm).get(f"/v1/models/{cid(subject)}")
    return {}


def _offers(context: Context, subject: Digest, party: Address, realm: str) -> bool:
    with suppress(Rejected):
        return bool(context.gateway_in(realm).get(f"/v1/offers/{cid(subject)}/{to_hex(party)}"))
    return False
