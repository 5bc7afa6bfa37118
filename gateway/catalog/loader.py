"""Loads the catalog of an epoch: documents, bids, offers, stakes. `core.pricing.terms` says who is paid."""

from collections.abc import Iterable, Mapping, Sequence

import orjson
from sqlmodel import Session

from gateway import bounds
from gateway.call.health import Health
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.metering.ask import LIMITS
from gateway.upstream import target
from ledger.core.catalog import models, names
from ledger.core.catalog.bids import Line, Role
from ledger.core.catalog.capsules import Capsule, capsule
from ledger.core.catalog.models import Model
from ledger.core.catalog.names import Published
from ledger.core.pricing import commissions, epochs, terms
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.epochs import BidInForce, Book
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.terms import Market, Operator
from ledger.core.values.atoms import Ppm
from ledger.core.values.call_heads import common_secret
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, cid
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows import receipt_log
from ledger.store.chain import bids, parties
from ledger.store.chain import names as organisations
from ledger.store.network import documents, measurements, offers
from ledger.store.network.documents import Stored

Credentials = Mapping[tuple[Address, Digest], bytes]
"""Header lines for the servers of providers, by provider and subject."""


class CatalogLoader:
    """Loads catalogs. Keeps each provider's health and secret, and the documents that are parsed already."""

    def __init__(self, signer: Signer, domain: Domain) -> None:
        self._signer, self._domain = signer, domain
        self._secrets: dict[Address, bytes] = {}
        self._health: dict[tuple[Address, Digest], Health] = {}
        self._parsed: dict[Digest, Model | Capsule | Rejected] = {}
        self._stored_terms: set[Digest] = set()

    def load(self, session: Session, epoch: int, operator: Operator, credentials: Credentials) -> Catalog:
        """The catalog of an epoch. Its terms are stored before it is returned, so that receipts may name them."""
        book = bids.book(session, epoch) or epochs.freeze(bids.placed_until(session, epoch), epoch)
        loading = _Loading(self, session, book, operator, credentials)
        called = loading.meanings()
        shown = names.shown(called)
        entries: dict[Digest, Entry] = {}
        for key, one in loading.market.published.items():
            name = shown.get(key, cid(key))
            entries[key] = loading.model(one, name) if isinstance(one, Model) else loading.capsule(one, name)
        self._store_terms(session, entries.values())
        self._forget(entries)
        by_cid = {cid(key): entry for key, entry in entries.items()}
        by_name = {name: entries[id] for name, id in called.items() if id in entries}
        return Catalog(epoch, book.root, entries, {**by_cid, **by_name})

    def health(self, provider: Address, subject: Digest) -> Health:
        return self._health.setdefault((provider, subject), Health())

    def secret(self, provider: Address, offer: Document) -> bytes:
        """What a provider that signed an offer and this gateway have in common."""
        secret = self._secrets.get(provider)
        if secret is None:
            secret = common_secret(self._signer, models.signing_key(offer, self._domain))
            self._secrets[provider] = secret
        return secret

    def records(self) -> dict[tuple[Address, Digest], Health]:
        return dict(self._health)

    def parse(self, stored: Stored) -> Model | Capsule | Rejected:
        """A document as a value, or why it is not valid."""
        parsed = self._parsed.get(stored.id)
        if parsed is None:
            try:
                body = orjson.loads(stored.body)
                parsed = models.model(body) if stored.kind == "model" else capsule(body)
            except Rejected as rejected:
                parsed = rejected
            self._parsed[stored.id] = parsed
        return parsed

    def _store_terms(self, session: Session, entries: Iterable[Entry]) -> None:
        tariffs: list[Tariff] = []
        for entry in entries:
            for one in entry.candidates if isinstance(entry, ModelEntry) else (entry,):
                tariffs += [tariff for tariff in (one.tariff, one.inner) if tariff is not None]
        new = [one for one in tariffs if one.id not in self._stored_terms]
        receipt_log.store_terms(session, [one.body for one in new])
        self._stored_terms = {one.id for one in tariffs}

    def _forget(self, entries: Mapping[Digest, Entry]) -> None:
        """Forget what no entry needs. A provider's health outlasts its offer, or it could be made new."""
        served = [one for one in entries.values() if isinstance(one, ModelEntry)]
        needed = {(one.provider, one.subject) for entry in served for one in entry.candidates}
        providers = {provider for provider, _ in needed}
        self._secrets = {one: secret for one, secret in self._secrets.items() if one in providers}
        excess = max(0, len(self._health) - bounds.NODES)
        for pair in [one for one in self._health if one not in needed][:excess]:
            del self._health[pair]


class _Loading:
    """The rows of one epoch, and the entries they make."""

    def __init__(
        self, loader: CatalogLoader, session: Session, book: Book, operator: Operator, credentials: Credentials
    ) -> None:
        self.loader = loader
        self.session = session
        self.credentials = credentials
        self.published = documents.everything(session)
        self.measured = measurements.everything(session)
        standing = offers.unexpired(session, book.epoch)
        self.offers = {(o.subject, o.party): o for o in standing if o.role is Role.compute}
        self.sponsors = {(o.subject, o.party): o for o in standing if o.role is not Role.compute}
        parsed = {stored.id: loader.parse(stored) for stored in self.published}
        self.market = Market(
            operator=operator,
            book=book,
            published={key: one for key, one in parsed.items() if not isinstance(one, Rejected)},
            registered=parties.registrations(session),
            owners=parties.model_owners(session, book.epoch),
            stakes={party: stake.active for party, stake in parties.stakes(session).items()},
        )

    def meanings(self) -> dict[str, Digest]:
        """The id of each name: by the Registry, or where there is none by the documents, in their order."""
        market = self.market
        if market.operator.private:
            documented = [stored for stored in self.published if stored.id in market.published]
            published = names.of_documents((one.id, market.published[one.id].document) for one in documented)
        else:
            published = organisations.everything(self.session)
        speakers = organisations.speakers(self.session)

        def is_own(one: Published) -> bool:
            owner = market.owners.get(one.id)
            return market.operator.private or owner in speakers.get(one.name.organisation, ())

        return names.meanings(published, lambda id: terms.is_on_sale(market, id), is_own)

    def model(self, model: Model, name: str) -> ModelEntry:
        capabilities = model.document["capabilities"]
        context = max((one.get("context_tokens", 0) for one in capabilities), default=0) or None
        protocols = frozenset(one["protocol"] for one in model.document["interfaces"])
        try:
            lines = terms.model_lines(self.market, model)
            candidates, owner = self.candidates(model, lines), lines[0].party
        except Rejected as rejected:
            owner = self.market.owners.get(model.id, model.owner)
            return ModelEntry(model, name, owner, (), context, protocols, rejected.message)
        sponsor = self.sponsorship(model.id, owner)
        return ModelEntry(model, name, owner, candidates, context, protocols, sponsorship=sponsor)

    def sponsorship(self, subject: Digest, owner: Address, ppm: Ppm = 0, window_calls: int = 0) -> Sponsorship | None:
        stored = self.sponsors.get((subject, owner))
        offer = orjson.loads(stored.body) if stored is not None else None
        return commissions.sponsorship(owner, offer, ppm, window_calls)

    def candidates(self, model: Model, lines: Sequence[Line]) -> tuple[Candidate, ...]:
        """The providers that can serve a model. Rejected, with the reason of each, when there is none."""
        bidders = self.market.book.bidders(model.id, Role.compute)
        if not bidders:
            raise Rejected(f"nobody bids to serve {model.name} in this epoch")
        found, problems = [], []
        for row in bidders:
            try:
                found.append(self.candidate(model, row, lines))
            except Rejected as rejected:
                problems.append(rejected.message)
        if not found:
            raise Rejected(f"no provider of {model.name} can be called: {'; '.join(problems)}")
        return tuple(found)

    def candidate(self, model: Model, row: BidInForce, lines: Sequence[Line]) -> Candidate:
        offer = self.offers.get((model.id, row.party))
        if offer is None or not offer.url:
            raise Rejected(f"0x{row.party.hex()} has no standing offer")
        document: Document = orjson.loads(offer.body)
        serving = document.get("serve") or {}
        capacity = terms.capacity(self.market, row.party, offer.capacity)
        server = target.parse(offer.url, self.credentials.get((row.party, model.id), b""))
        stated = terms.of_provider(self.market, model, lines, row)
        health = self.loader.health(row.party, model.id)
        measured = self.measured.get((row.party, model.id))
        if measured is not None and not health.calls and not health.probed_at:
            health.quality_ppm, health.latency_ms = measured.quality_ppm, measured.latency_p50_ms
        return Candidate(
            provider=row.party,
            subject=model.id,
            served_as=server.served_as or model.name,
            limit_name=serving.get("output_limit", LIMITS[0]),
            target=server,
            tariff=compile_terms(stated.root),
            inner=compile_terms(stated.sub),
            capacity=capacity,
            slo_ms=serving.get("slo_ms", models.DEFAULT_SLO_MS),
            tier=offer.tier,
            realm=serving.get("realm", ""),
            secret=self.loader.secret(row.party, document),
            health=health,
        )

    def capsule(self, one: Capsule, name: str) -> CapsuleEntry:
        try:
            stated, owner = terms.of_capsule(self.market, one), terms.weaver_of(self.market, one)
        except Rejected as rejected:
            return CapsuleEntry(one, name, self.market.owners.get(one.id, one.weaver), None, None, rejected.message)
        sponsor = self.sponsorship(one.id, owner, one.curation_ppm, one.window_calls)
        root, sub = compile_terms(stated.root), compile_terms(stated.sub)
        return CapsuleEntry(one, name, owner, root, sub, sponsorship=sponsor)
