"""Loads the catalogs of an epoch: documents, bids, offers, stakes, realms. `core.pricing.terms` says who is paid."""

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import orjson
from sqlmodel import Session

from gateway import bounds
from gateway.call.health import Health
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.metering.ask import LIMITS
from gateway.upstream import target
from gateway.upstream.pool import Pool
from ledger.core.catalog import models, names, realms
from ledger.core.catalog.bids import Line, Role
from ledger.core.catalog.capsules import Capsule, capsule
from ledger.core.catalog.models import Model
from ledger.core.catalog.names import Published
from ledger.core.catalog.protocols import Protocol
from ledger.core.catalog.realms import Members
from ledger.core.pricing import commissions, eligibility, epochs, sponsors, terms
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.epochs import BidInForce, Book
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.sponsors import OWNERS
from ledger.core.pricing.terms import Market, Operator
from ledger.core.values.atoms import Ppm
from ledger.core.values.call_heads import common_secret
from ledger.core.values.documents import Document, parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, address, cid
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows import receipt_log
from ledger.store.chain import bids, parties
from ledger.store.chain import names as organisations
from ledger.store.network import documents, measurements, offers
from ledger.store.network import realms as lists
from ledger.store.network.documents import Stored

Credentials = Mapping[tuple[Address, Digest], bytes]
"""Header lines for the servers of providers, by provider and subject."""

TOLD = 8
"""Providers of a model that are told of when none can be called. Everybody may bid."""


class CatalogLoader:
    """Loads catalogs. Keeps each provider's health and secret, and the documents that are parsed already."""

    def __init__(self, signer: Signer, domain: Domain, upstream: Pool) -> None:
        self._signer, self._domain, self.upstream = signer, domain, upstream
        self._secrets: dict[Address, bytes] = {}
        self._health: dict[tuple[Address, Digest], Health] = {}
        self._parsed: dict[Digest, Model | Capsule | Rejected] = {}
        self._lists: dict[bytes, Members] = {}
        self._stored_terms: set[Digest] = set()

    def load(self, session: Session, epoch: int, operator: Operator, credentials: Credentials) -> Catalog:
        """The catalog of an epoch. Its terms are stored before it is returned, so that receipts may name them."""
        book = bids.book(session, epoch) or epochs.freeze(bids.placed_until(session, epoch), epoch)
        loading = _Loading(self, session, book, operator, credentials)
        for one in loading.market.published.values():
            loading.place(one)
        entries = [entry for offered in (loading.public, *loading.inside.values()) for entry in offered.values()]
        self._store_terms(session, entries)
        self._forget(entries)
        return loading.catalog()

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

    def members(self, stored: Iterable[lists.Stored]) -> dict[str, Members]:
        """Realms' lists as values, by the realms' names. Those that were read before are not read again."""
        self._lists = {
            one.body: self._lists.get(one.body) or realms.members(parse(one.body), self._domain) for one in stored
        }
        return {members.realm: members for members in self._lists.values()}

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

    def _forget(self, entries: Iterable[Entry]) -> None:
        """Forget what no entry needs. A provider's health outlasts its offer, or it could be made new."""
        served = [one for one in entries if isinstance(one, ModelEntry)]
        needed = {(one.provider, one.subject) for entry in served for one in entry.candidates}
        providers = {provider for provider, _ in needed}
        self._secrets = {one: secret for one, secret in self._secrets.items() if one in providers}
        excess = max(0, len(self._health) - bounds.NODES)
        for pair in [one for one in self._health if one not in needed][:excess]:
            del self._health[pair]


class _Loading:
    """The rows of one epoch, and the entries they make: of what is for everybody, and of what is `inside` of each realm
    that a provider serves in.
    """

    def __init__(
        self, loader: CatalogLoader, session: Session, book: Book, operator: Operator, credentials: Credentials
    ) -> None:
        self.loader = loader
        self.session = session
        self.credentials = credentials
        self.published = documents.everything(session)
        self.measured = measurements.everything(session)
        standing = offers.unexpired(session, book.epoch)
        self.offers = {(o.subject, o.party): o for o in standing if o.role is Role.compute and not o.sponsors}
        self.orders: dict[Digest, list[offers.Stored]] = {}
        for order in standing:
            if order.sponsors:
                self.orders.setdefault(order.subject, []).append(order)
        self.realm_of = {key: o.realm for key, o in self.offers.items()}
        self.offered_in: dict[Digest, set[str]] = {}
        for (subject, _), realm in self.realm_of.items():
            if realms.is_name(realm):
                self.offered_in.setdefault(subject, set()).add(realm)
        named = {realm for offered in self.offered_in.values() for realm in offered}
        self.lists = loader.members(lists.of(session, named)) if named else {}
        self.public: dict[Digest, Entry] = {}
        self.inside: dict[str, dict[Digest, Entry]] = {realm: {} for realm in named}
        parsed = {stored.id: loader.parse(stored) for stored in self.published}
        self.market = Market(
            operator=operator,
            book=book,
            published={key: one for key, one in parsed.items() if not isinstance(one, Rejected)},
            registered=parties.registrations(session),
            owners=parties.model_owners(session, book.epoch),
            stakes={party: stake.active for party, stake in parties.stakes(session).items()},
        )
        documented = [
            (one.id, self.market.published[one.id]) for one in self.published if one.id in self.market.published
        ]
        self.names = (
            names.of_documents((id, one.document) for id, one in documented)
            if operator.private
            else organisations.everything(session)
        )
        self.speakers = organisations.speakers(session)
        held: dict[str, Digest] = {}
        self.places: dict[Digest, list[tuple[int, Published]]] = {}
        """The names that each id holds, with their place in the order of all: a version's is held by its first id."""
        for place, one in enumerate(self.names):
            if held.setdefault(str(one.name), one.id) == one.id:
                self.places.setdefault(one.id, []).append((place, one))
        self.bidders: dict[Digest, dict[str, list[BidInForce]]] = {}

    def place(self, one: Model | Capsule) -> None:
        """Make the entries of a model or workflow, where it is to be seen."""
        if isinstance(one, Capsule):
            entry = self.capsule(one)
            if not one.realm:
                self.public[one.id] = entry
            elif one.realm in self.inside and self.is_listed(one.realm, entry.owner):
                self.inside[one.realm][one.id] = entry
            return
        offered = {realm: self.model(one, realm) for realm in self.offered_in.get(one.id, ())}
        for realm, inner in offered.items():
            self.inside[realm][one.id] = inner
        outer = self.model(one)
        kept = any(self.is_of_realm(realm, inner) for realm, inner in offered.items())
        if not kept or any(self.opens(candidate, outer.owner, offered) for candidate in outer.candidates):
            self.public[one.id] = outer

    def is_of_realm(self, realm: str, entry: ModelEntry) -> bool:
        """Whether a model is the realm's own if nobody serves it outside: it is served there now, or its owner belongs
        to it.

        So nobody hides another's model by an offer that serves nothing.
        """
        return bool(entry.candidates) or self.is_listed(realm, entry.owner)

    def opens(self, candidate: Candidate, owner: Address, offered: Mapping[str, ModelEntry]) -> bool:
        """Whether a provider outside makes a model of realms one for everybody: its owner does, and whoever served it
        before its owner kept it to a realm, by a realm of its own or an offer of its own there. Nobody else may: else
        who learns its id from the chain could show it to all.
        """
        kept = (
            inside.since
            for realm, entry in offered.items()
            for inside in entry.candidates
            if owner in (realms.owner_of(realm), inside.provider)
        )
        first = min(kept, default=None)
        return first is None or candidate.provider == owner or candidate.since < first

    def is_listed(self, realm: str, account: Address) -> bool:
        return realms.is_listed(realm, self.lists.get(realm), account)

    def catalog(self) -> Catalog:
        """The catalog for everybody, with those of the realms."""
        epoch, root, inside = self.market.book.epoch, self.market.book.root, dict[str, Catalog]()
        hidden = self.market.published.keys() - self.public.keys()
        called = self.meanings(id for id in self.places if id not in hidden)
        at = {one.id: one.at for one in self.published}
        by_id, by_name = _named(self.public, called, at)
        public = Catalog(epoch, root, by_id, by_name, inside=inside, market=self.market)
        shared: dict[Digest, Entry] = {key: one for key, one in by_id.items() if isinstance(one, CapsuleEntry)}
        shared_names: dict[str, Entry] = {name: one for name, one in by_name.items() if isinstance(one, CapsuleEntry)}
        for realm, own in self.inside.items():  # of what is its own alone: everybody can make realms
            own_id, own_name = _named(own, self.meanings(own), at)
            ids: Mapping[Digest, Entry] = ChainMap(own_id, shared)
            called_here: Mapping[str, Entry] = ChainMap(own_name, shared_names)
            inside[realm] = Catalog(epoch, root, ids, called_here, realm, self.lists.get(realm), public)
        return public

    def meanings(self, ids: Iterable[Digest]) -> dict[str, Digest]:
        """The id of each name of what is here: by the Registry, or where there is none by the documents, in their
        order.
        """
        published = [one for _, one in sorted(place for id in ids for place in self.places.get(id, ()))]
        market = self.market

        def is_own(one: Published) -> bool:
            owner = market.owners.get(one.id)
            return market.operator.private or owner in self.speakers.get(one.name.organisation, ())

        return names.meanings(published, lambda id: terms.is_on_sale(market, id), is_own)

    def model(self, model: Model, realm: str = "") -> ModelEntry:
        """A model with the providers that offer it in a realm, or to everybody."""
        capabilities = model.document["capabilities"]
        context = max((one.get("context_tokens", 0) for one in capabilities), default=0) or None
        protocols = frozenset(Protocol(one["protocol"]) for one in model.document["interfaces"])
        try:
            lines = terms.model_lines(self.market, model)
            candidates, owner = self.candidates(model, lines, realm), lines[0].party
        except Rejected as rejected:
            owner = self.market.owners.get(model.id, model.owner)
            return ModelEntry(model, cid(model.id), owner, (), context, protocols, rejected.message)
        sponsor, orders = self.sponsors(model.id, owner, serving=frozenset(one.provider for one in candidates))
        entry = ModelEntry(model, cid(model.id), owner, candidates, context, protocols)
        return replace(entry, sponsorship=sponsor, orders=orders)

    def sponsors(
        self,
        subject: Digest,
        owner: Address,
        ppm: Ppm = 0,
        window_calls: int = 0,
        serving: Collection[Address] = (),
    ) -> tuple[Sponsorship | None, tuple[Sponsorship, ...]]:
        """The owner's offer to curators and for slots, and all orders for slots that count: those of who bids to serve
        and is not `serving` do not.
        """
        owners: offers.Stored | None = None
        others: list[Sponsorship | None] = []
        for stored in self.orders.get(subject, ()):
            if stored.role is Role.compute and stored.party not in serving:
                continue
            if stored.role not in OWNERS:
                others.append(commissions.sponsorship(stored.party, orjson.loads(stored.body)))
            elif stored.party == owner and (owners is None or stored.nonce > owners.nonce):
                owners = stored
        own = commissions.sponsorship(owner, orjson.loads(owners.body) if owners else None, ppm, window_calls)
        return own, sponsors.standing(own, [one for one in others if one is not None])

    def candidates(self, model: Model, lines: Sequence[Line], realm: str) -> tuple[Candidate, ...]:
        """The providers that can serve a model. Rejected, with the reason of each, when there is none."""
        bidders = self.bidders_of(model.id)
        if not bidders:
            raise Rejected(f"nobody bids to serve {model.name} in this epoch")
        found, problems = [], list[str]()
        for row in bidders.get(realm, ()):
            try:
                found.append(self.candidate(model, row, lines))
            except Rejected as rejected:
                problems.append(rejected.message)
        if not found:
            others = (row for place, rows in bidders.items() if place != realm for row in rows)
            problems += [_no_offer(row.party).message for row in islice(others, TOLD)]  # as if theirs were not there
            left = sum(map(len, bidders.values())) - len(problems[:TOLD])
            told = "; ".join([*problems[:TOLD], f"and {left} others"] if left else problems)
            raise Rejected(f"no provider of {model.name} can be called: {told}")
        return tuple(found)

    def bidders_of(self, subject: Digest) -> dict[str, list[BidInForce]]:
        """Who bids to serve a model, by the realm that its offer is for."""
        known = self.bidders.get(subject)
        if known is None:
            known = self.bidders[subject] = {}
            for row in self.market.book.bidders(subject, Role.compute):
                known.setdefault(self.realm_of.get((subject, row.party), ""), []).append(row)
        return known

    def candidate(self, model: Model, row: BidInForce, lines: Sequence[Line]) -> Candidate:
        offer = self.offers.get((model.id, row.party))
        if offer is None or not offer.url:
            raise _no_offer(row.party)
        document: Document = orjson.loads(offer.body)
        serving = document.get("serve") or {}
        realm = serving.get("realm", "")
        capacity = terms.capacity(self.market, row.party, offer.capacity)
        server = target.parse(offer.url, self.credentials.get((row.party, model.id), b""))
        realms.check_tier(offer.tier, realm)
        eligibility.check_memory(model, serving.get("memory_mb"))
        if realm:
            self.check_node(realm, row.party, server)
        stated = terms.of_provider(self.market, model, lines, row)
        root = compile_terms(stated.root)
        root.hold(terms.LONGEST_CALL)
        health = self.loader.health(row.party, model.id)
        health.tunnel = self.loader.upstream.tunnel(server)
        measured = self.measured.get((row.party, model.id))
        if measured is not None and not health.calls and not health.probed_at:
            health.quality_ppm, health.latency_ms = measured.quality_ppm, measured.latency_p50_ms
        return Candidate(
            provider=row.party,
            subject=model.id,
            served_as=server.served_as or model.name,
            limit_name=serving.get("output_limit", LIMITS[0]),
            target=server,
            tariff=root,
            inner=compile_terms(stated.sub),
            capacity=capacity,
            slo_ms=serving.get("slo_ms", models.DEFAULT_SLO_MS),
            tier=offer.tier,
            realm=realm,
            since=offer.since,
            secret=self.loader.secret(row.party, document),
            health=health,
        )

    def check_node(self, realm: str, provider: Address, server: target.Target) -> None:
        """Rejected unless a provider is on its realm's list, and the party whose tunnel it names, if it names one."""
        for account in (provider, address(server.host) if server.scheme == target.TUNNEL else provider):
            if not self.is_listed(realm, account):
                raise Rejected(f"0x{account.hex()} is not on the list of {realm}")

    def capsule(self, one: Capsule) -> CapsuleEntry:
        try:
            stated, owner = terms.of_capsule(self.market, one), terms.weaver_of(self.market, one)
        except Rejected as rejected:
            owner = self.market.owners.get(one.id, one.weaver)
            return CapsuleEntry(one, cid(one.id), owner, None, None, rejected.message)
        sponsor, orders = self.sponsors(one.id, owner, one.curation_ppm, one.window_calls)
        root, sub = compile_terms(stated.root), compile_terms(stated.sub)
        return CapsuleEntry(one, cid(one.id), owner, root, sub, sponsorship=sponsor, orders=orders)


def _named(
    entries: Mapping[Digest, Entry], called: Mapping[str, Digest], at: Mapping[Digest, int]
) -> tuple[dict[Digest, Entry], dict[str, Entry]]:
    """Entries by id, each with the name it is listed by and when it was published; and by CID and by what they are
    `called`.
    """
    shown = names.shown(called)
    by_id: dict[Digest, Entry] = {
        key: replace(one, name=shown.get(key, cid(key)), published_at=at[key]) for key, one in entries.items()
    }
    by_cid = {cid(key): one for key, one in by_id.items()}
    return by_id, {**by_cid, **{name: by_id[id] for name, id in called.items() if id in by_id}}


def _no_offer(provider: Address) -> Rejected:
    return Rejected(f"0x{provider.hex()} has no standing offer")
