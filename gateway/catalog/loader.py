"""Loads the catalogs of an epoch: documents, bids, offers, stakes, realms. `core.pricing.terms` says who is paid."""

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence

import orjson
from sqlmodel import Session

from gateway import bounds
from gateway.call.health import Health
from gateway.catalog.catalog import Candidate, CapsuleEntry, Catalog, Entry, ModelEntry
from gateway.metering.ask import LIMITS
from gateway.upstream import target
from ledger.core.catalog import models, realms
from ledger.core.catalog.bids import Line, Role
from ledger.core.catalog.capsules import Capsule, capsule
from ledger.core.catalog.models import Model
from ledger.core.catalog.realms import Members
from ledger.core.pricing import commissions, epochs, terms
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.epochs import BidInForce, Book
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.terms import Market, Operator
from ledger.core.values.atoms import Ppm
from ledger.core.values.call_heads import common_secret
from ledger.core.values.documents import Document, parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, address, cid
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows import receipt_log
from ledger.store.chain import bids, parties
from ledger.store.network import documents, measurements, offers
from ledger.store.network import realms as lists
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
        self.credentials = credentials
        self.published = documents.everything(session)
        self.measured = measurements.everything(session)
        standing = offers.unexpired(session, book.epoch)
        self.offers = {(o.subject, o.party): o for o in standing if o.role is Role.compute}
        self.sponsors = {(o.subject, o.party): o for o in standing if o.role is not Role.compute}
        self.realm_of = {key: _realm_of(o) for key, o in self.offers.items()}
        self.offered_in: dict[Digest, set[str]] = {}
        for (subject, _), realm in self.realm_of.items():
            if realms.is_name(realm):
                self.offered_in.setdefault(subject, set()).add(realm)
        named = {realm for offered in self.offered_in.values() for realm in offered}
        self.lists = loader.members(lists.of(session, named)) if named else {}
        self.public: dict[Digest, Entry] = {}
        self.inside: dict[str, dict[Digest, Entry]] = {realm: {} for realm in named}
        parsed = {stored.id: loader.parse(stored) for stored in self.published}
        self.order = {stored.id: place for place, stored in enumerate(self.published)}
        self.holders: dict[str, Address] = {}
        for stored in self.published:
            if not isinstance(parsed[stored.id], Rejected):
                self.holders.setdefault(stored.name, stored.party)
        self.market = Market(
            operator=operator,
            book=book,
            published={key: one for key, one in parsed.items() if not isinstance(one, Rejected)},
            registered=parties.registrations(session),
            owners=parties.model_owners(session, book.epoch),
            stakes={party: stake.active for party, stake in parties.stakes(session).items()},
        )

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
        if outer.candidates or not any(self.is_of_realm(realm, inner) for realm, inner in offered.items()):
            self.public[one.id] = outer

    def is_of_realm(self, realm: str, entry: ModelEntry) -> bool:
        """Whether a model that nobody serves outside is the realm's own: served there now, or its owner belongs to it.

        So nobody hides another's model by an offer that serves nothing.
        """
        return bool(entry.candidates) or self.is_listed(realm, entry.owner)

    def is_listed(self, realm: str, account: Address) -> bool:
        return realms.is_listed(realm, self.lists.get(realm), account)

    def catalog(self) -> Catalog:
        """The catalog for everybody, with those of the realms."""
        epoch, root, inside = self.market.book.epoch, self.market.book.root, dict[str, Catalog]()
        hidden = frozenset(self.market.published.keys() - self.public.keys())
        public = Catalog(epoch, root, self.public, self.names(self.public), hidden=hidden, inside=inside)
        shared: dict[Digest, Entry] = {k: one for k, one in public.by_id.items() if isinstance(one, CapsuleEntry)}
        shared_names: dict[str, Entry] = {k: v for k, v in public.by_name.items() if isinstance(v, CapsuleEntry)}
        for realm, own in self.inside.items():
            by_id: Mapping[Digest, Entry] = ChainMap[Digest, Entry](own, shared)
            by_name: Mapping[str, Entry] = ChainMap[str, Entry](self.names(own), shared_names)
            inside[realm] = Catalog(epoch, root, by_id, by_name, realm, self.lists.get(realm), public)
        return public

    def model(self, model: Model, realm: str = "") -> ModelEntry:
        """A model with the providers that offer it in a realm, or to everybody."""
        capabilities = model.document["capabilities"]
        context = max((one.get("context_tokens", 0) for one in capabilities), default=0) or None
        protocols = frozenset(one["protocol"] for one in model.document["interfaces"])
        try:
            lines = terms.model_lines(self.market, model)
            candidates, owner = self.candidates(model, lines, realm), lines[0].party
        except Rejected as rejected:
            return ModelEntry(model, model.owner, (), context, protocols, rejected.message)
        sponsor = self.sponsorship(model.id, owner)
        return ModelEntry(model, owner, candidates, context, protocols, sponsorship=sponsor)

    def sponsorship(self, subject: Digest, owner: Address, ppm: Ppm = 0, window_calls: int = 0) -> Sponsorship | None:
        stored = self.sponsors.get((subject, owner))
        offer = orjson.loads(stored.body) if stored is not None else None
        return commissions.sponsorship(owner, offer, ppm, window_calls)

    def candidates(self, model: Model, lines: Sequence[Line], realm: str) -> tuple[Candidate, ...]:
        """The providers that can serve a model. Rejected, with the reason of each, when there is none."""
        bidders = self.market.book.bidders(model.id, Role.compute)
        if not bidders:
            raise Rejected(f"nobody bids to serve {model.name} in this epoch")
        found, problems = [], []
        for row in bidders:
            try:
                if self.realm_of.get((model.id, row.party), "") != realm:  # as if that offer were not there
                    raise _no_offer(row.party)
                found.append(self.candidate(model, row, lines))
            except Rejected as rejected:
                problems.append(rejected.message)
        if not found:
            raise Rejected(f"no provider of {model.name} can be called: {'; '.join(problems)}")
        return tuple(found)

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
        if realm:
            self.check_node(realm, row.party, server)
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
            realm=realm,
            secret=self.loader.secret(row.party, document),
            health=health,
        )

    def check_node(self, realm: str, provider: Address, server: target.Target) -> None:
        """Rejected unless a provider is on its realm's list, and the party whose tunnel it names, if it names one."""
        for account in (provider, address(server.host) if server.scheme == target.TUNNEL else provider):
            if not self.is_listed(realm, account):
                raise Rejected(f"0x{account.hex()} is not on the list of {realm}")

    def names(self, entries: Mapping[Digest, Entry]) -> dict[str, Entry]:
        """Entries by CID and by `@org/name`. A name belongs to the party that published it first, whoever may see what
        it published, and means its newest document here.

        A model that cannot be called takes the name only if no older one has it.
        """
        names = {cid(key): entry for key, entry in entries.items()}
        for key in sorted(entries, key=self.order.__getitem__):
            entry, stored = entries[key], self.published[self.order[key]]
            if self.holders[stored.name] == stored.party:
                callable_now = isinstance(entry, CapsuleEntry) or bool(entry.candidates)
                if callable_now or stored.name not in names:
                    names[stored.name] = entry
        return names

    def capsule(self, one: Capsule) -> CapsuleEntry:
        try:
            stated, owner = terms.of_capsule(self.market, one), terms.weaver_of(self.market, one)
        except Rejected as rejected:
            return CapsuleEntry(one, one.weaver, None, None, rejected.message)
        sponsor = self.sponsorship(one.id, owner, one.curation_ppm, one.window_calls)
        return CapsuleEntry(one, owner, compile_terms(stated.root), compile_terms(stated.sub), sponsorship=sponsor)


def _realm_of(offer: offers.Stored) -> str:
    """The realm that an offer names, or ""."""
    return (orjson.loads(offer.body).get("serve") or {}).get("realm", "") if b'"realm"' in offer.body else ""


def _no_offer(provider: Address) -> Rejected:
    return Rejected(f"0x{provider.hex()} has no standing offer")
