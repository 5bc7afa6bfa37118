"""Making the catalog: documents, bids, offers and stakes of one epoch become entries with terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlmodel import Session

from gateway.call.health import Health
from gateway.catalog.catalog import VALUE_ROLES, Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.payment.tariff import Tariff, tariff
from gateway.upstream import target
from ledger.core.catalog import lineage, models
from ledger.core.catalog.bids import Bid, Line, Role, Terms, ordered
from ledger.core.catalog.capsules import Capsule, capsule
from ledger.core.catalog.lineage import Parent
from ledger.core.catalog.models import Model
from ledger.core.pricing import caps, epochs
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.epochs import Standing
from ledger.core.pricing.price import fixed
from ledger.core.values.atoms import Ppm, parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, cid
from ledger.core.values.meters import Units
from ledger.flows import receipt_log
from ledger.store.chain import bids, parties
from ledger.store.chain import models as registry
from ledger.store.network import documents, measurements, offers
from ledger.store.network.documents import Stored

PROTOCOL_PPM = 20_000
TYPICAL = Units(1, 1_000, 1_000, 1_000, 1_000_000, 0)
"""A call by which offers of delivery are compared when the catalog is made."""


@dataclass(frozen=True, slots=True)
class CatalogSources:
    """What the catalog depends on beside the database."""

    lane: int
    private: bool
    operator: Address
    treasury: Address
    kappa: int
    credentials: Mapping[tuple[Address, Digest], bytes]


class CatalogLoader:
    """Keeps what outlives a catalog: how providers have behaved, and documents already parsed."""

    def __init__(self) -> None:
        self._health: dict[tuple[Address, Digest], Health] = {}
        self._parsed: dict[Digest, Model | Capsule | Rejected] = {}
        self._stored_terms: set[Digest] = set()

    def load(self, session: Session, epoch: int, around: CatalogSources) -> Catalog:
        """The catalog of an epoch. Terms it names are stored before it is returned, so receipts may name them."""
        book = bids.book(session, epoch) or epochs.freeze(bids.placed_until(session, epoch), epoch)
        loaded = _Loading(self, session, book, around)
        entries = loaded.entries()
        self._store_terms(session, entries.values())
        names = _names(loaded.published, entries)
        ids = {cid(key): entry for key, entry in entries.items()}
        gateway = loaded.gateway_bid
        return Catalog(epoch, book.root, entries, {**ids, **names}, gateway.ratio_ppm if gateway else 0)

    def health(self, provider: Address, subject: Digest) -> Health:
        """The record of a provider on a subject."""
        return self._health.setdefault((provider, subject), Health())

    def records(self) -> dict[tuple[Address, Digest], Health]:
        """All of them."""
        return dict(self._health)

    def parse(self, stored: Stored) -> Model | Capsule | Rejected:
        """A document as a value, or why it is none."""
        found = self._parsed.get(stored.id)
        if found is None:
            try:
                body = orjson.loads(stored.body)
                found = models.model(body) if stored.kind == "model" else capsule(body)
            except Rejected as rejected:
                found = rejected
            self._parsed[stored.id] = found
        return found

    def _store_terms(self, session: Session, entries: Iterable[Entry]) -> None:
        made: list[Tariff] = []
        for entry in entries:
            if isinstance(entry, ModelEntry):
                made += [t for c in entry.candidates for t in (c.tariff, c.inner)]
            else:
                made += [t for t in (entry.tariff, entry.inner) if t is not None]
        new = [one for one in made if one.id not in self._stored_terms]
        receipt_log.store_terms(session, [one.body for one in new])
        self._stored_terms.update(one.id for one in new)


class _Loading:
    """One pass over the database."""

    def __init__(self, loader: CatalogLoader, session: Session, book: epochs.Book, around: CatalogSources) -> None:
        self.loader = loader
        self.around = around
        self.published = documents.everything(session)
        self.owners = registry.owners(session)
        self.stakes = parties.stakes(session)
        self.measured = measurements.everything(session)
        self.offers = {(o.subject, o.party): o for o in offers.unexpired(session, book.epoch)}
        self.bids: dict[tuple[Digest, Role], list[Standing]] = {}
        for row in book.rows:
            self.bids.setdefault((row.subject, row.role), []).append(row)
        lane = Digest(around.lane.to_bytes(32, "big"))
        self.gateway_bid = self.bid(lane, Role.gateway, around.operator)
        self.host_bid = self.bid(lane, Role.compute, around.operator)
        self.models: dict[Digest, Model] = {}
        self.parents: dict[Digest, Sequence[Parent]] = {}

    def entries(self) -> dict[Digest, Entry]:
        parsed = {stored.id: self.loader.parse(stored) for stored in self.published}
        self.models = {key: one for key, one in parsed.items() if isinstance(one, Model)}
        self.parents = {key: one.parents for key, one in parsed.items() if isinstance(one, Model | Capsule)}
        found: dict[Digest, Entry] = {}
        for key, one in parsed.items():
            if isinstance(one, Model):
                found[key] = self.model(one)
            elif isinstance(one, Capsule):
                found[key] = self.capsule(one)
        return found

    def bid(self, subject: Digest, role: Role, party: Address) -> Bid | None:
        return next((row.bid for row in self.bids.get((subject, role), ()) if row.party == party), None)

    def model(self, model: Model) -> ModelEntry:
        capabilities = model.document["capabilities"]
        context = max((one.get("context_tokens", 0) for one in capabilities), default=0) or None
        protocols = frozenset(one["protocol"] for one in model.document["interfaces"])
        try:
            lines = self.value_lines(model)
            candidates = self.candidates(model, lines)
        except Rejected as rejected:
            return ModelEntry(model, (), context, protocols, rejected.message)
        return ModelEntry(model, candidates, context, protocols, sponsorship=self.sponsorship(model.id, model.owner))

    def sponsorship(self, subject: Digest, owner: Address, offered: Ppm = 0, window: int = 0) -> Sponsorship | None:
        """What a subject's owner offers curators and for slots: its signed offer, else what its capsule says."""
        stored = self.offers.get((subject, owner))
        body = orjson.loads(stored.body) if stored is not None else {}
        role = Role[body["role"]] if stored is not None else Role.weaver
        curation, slot = body.get("curation"), body.get("promotion", {})
        if curation is not None:
            offered, window = curation["offer_ppm"], curation.get("window_calls", models.DEFAULT_WINDOW_CALLS)
        if not offered and not slot:
            return None
        bid, cap = (parse(slot[name], name) for name in ("bid", "daily_cap")) if slot else (0, 0)
        return Sponsorship(owner, role, offered, window, bid, cap, frozenset(slot.get("tasks", ())))

    def value_lines(self, model: Model) -> list[Line]:
        """The owner's line and its ancestors'. Rejected when the model may not be sold as it is."""
        if not self.around.private and self.owners.get(model.id) != model.owner:
            raise Rejected(f"{model.name} is not registered by its owner on the chain")
        roles = (model.owner_role, *(role for role in VALUE_ROLES if role is not model.owner_role))
        own = next(((role, b) for role in roles if (b := self.bid(model.id, role, model.owner))), None)
        if own is None:
            raise Rejected(f"the owner of {model.name} has no bid in this epoch")
        role, bid = own
        owner, ancestors = Line(model.owner, role, bid.ratio_ppm, bid.asks), self.ancestors(model.id)
        caps.route(owner, ancestors, [])
        return [owner, *ancestors]

    def ancestors(self, subject: Digest) -> list[Line]:
        lines = []
        for key, royalty in lineage.ancestors(subject, self.parents).items():
            ancestor = self.models.get(key)
            if ancestor is None:
                raise Rejected(f"the ancestor {cid(key)} is not published")
            lines.append(Line(ancestor.owner, ancestor.owner_role, royalty.ratio_ppm, royalty.floor))
        return lines

    def candidates(self, model: Model, lines: list[Line]) -> tuple[Candidate, ...]:
        asking = self.bids.get((model.id, Role.compute), [])
        if not asking:
            raise Rejected(f"nobody bids to serve {model.name} in this epoch")
        delivery = self.delivery(model.id)
        found, problems = [], []
        for row in asking:
            try:
                found.append(self.candidate(model, row, lines + delivery))
            except Rejected as rejected:
                problems.append(rejected.message)
        if not found:
            raise Rejected(f"no provider of {model.name} can be called: {'; '.join(problems)}")
        return tuple(found)

    def candidate(self, model: Model, row: Standing, lines: list[Line]) -> Candidate:
        offer = self.offers.get((model.id, row.party))
        if offer is None or not offer.url:
            raise Rejected(f"0x{row.party.hex()} has no standing offer")
        serving = orjson.loads(offer.body).get("serve") or {}
        capacity = offer.capacity
        if not self.around.private:
            stake = self.stakes.get(row.party)
            capacity = min(capacity, (stake.active if stake else 0) // self.around.kappa)
        if capacity < 1:
            raise Rejected(f"0x{row.party.hex()} has no stake to cover a call")
        place = target.parse(offer.url, self.around.credentials.get((row.party, model.id), b""))
        caps.bid(Role.compute, row.bid)
        lines = [*lines, Line(row.party, Role.compute, row.bid.ratio_ppm, row.bid.asks)]
        health = self.loader.health(row.party, model.id)
        measured = self.measured.get((row.party, model.id))
        if measured is not None and health.calls == 0:
            health.quality_ppm, health.latency_ms = measured.quality_ppm, measured.latency_p50_ms
        return Candidate(
            provider=row.party,
            subject=model.id,
            served_as=place.served_as or model.name,
            target=place,
            tariff=tariff(Terms(model.id, ordered(lines + self.closing_lines()))),
            inner=tariff(Terms(model.id, ordered(lines))),
            capacity=capacity,
            slo_ms=serving.get("slo_ms", models.DEFAULT_SLO_MS),
            tier=offer.tier,
            realm=serving.get("realm", ""),
            health=health,
        )

    def delivery(self, subject: Digest) -> list[Line]:
        """The cheapest deliverer's line, if anybody bids to deliver."""
        rows = self.bids.get((subject, Role.delivery), [])
        best = min(rows, key=lambda row: (fixed(row.bid.asks, TYPICAL), row.bid.ratio_ppm, row.party), default=None)
        return [Line(best.party, Role.delivery, best.bid.ratio_ppm, best.bid.asks)] if best else []

    def closing_lines(self) -> list[Line]:
        """What stands in the terms of a root call only: the gateway's line and the protocol's."""
        lines = [Line(self.around.treasury, Role.protocol, PROTOCOL_PPM)]
        if self.gateway_bid is not None:
            bid = self.gateway_bid
            caps.bid(Role.gateway, bid)
            lines.append(Line(self.around.operator, Role.gateway, bid.ratio_ppm, bid.asks))
        return lines

    def capsule(self, one: Capsule) -> CapsuleEntry:
        try:
            bid = self.bid(one.id, Role.weaver, one.weaver)
            if not self.around.private and self.owners.get(one.id) != one.weaver and bid is None:
                raise Rejected(f"{one.name} is not registered by its weaver on the chain")
            bid = bid or one.bid
            lines = [Line(one.weaver, Role.weaver, bid.ratio_ppm, bid.asks)]
            lines += [Line(party, Role.weaver, ratio) for party, ratio in one.co_weavers]
            caps.workflow(lines)
            lines += self.ancestors(one.id)
            if self.host_bid is not None:
                host = self.host_bid
                lines.append(Line(self.around.operator, Role.compute, host.ratio_ppm, host.asks))
            seller = next(place for place, line in enumerate(ordered(lines + self.closing_lines())) if line == lines[0])
            listed = (one.list_price, seller) if one.list_price is not None else (None, 0)
            whole = tariff(Terms(one.id, ordered(lines + self.closing_lines()), *listed))
            sponsor = self.sponsorship(one.id, one.weaver, one.curation_ppm, one.window_calls)
            return CapsuleEntry(one, whole, tariff(Terms(one.id, ordered(lines))), sponsorship=sponsor)
        except Rejected as rejected:
            return CapsuleEntry(one, None, None, rejected.message)


def _names(published: Sequence[Stored], entries: Mapping[Digest, Entry]) -> dict[str, Entry]:
    """`@org/name` to entry. A name belongs to the party that published it first; its newest document has it."""
    holders: dict[str, Address] = {}
    names: dict[str, Entry] = {}
    for stored in published:
        entry = entries.get(stored.id)
        if entry is not None and holders.setdefault(stored.name, stored.party) == stored.party:
            callable_now = isinstance(entry, CapsuleEntry) or bool(entry.candidates)
            if callable_now or stored.name not in names:
                names[stored.name] = entry
    return names
