"""The catalog: what can be called this epoch, which providers serve it, and on which terms. Frozen; replaced whole.

If a bid, an offer or a stake is missing, the model cannot be called, and its entry says why. No price has a default.

There is one catalog of what is offered to everybody, and one for each realm. What is offered in a realm is in its own
catalog alone, so that whoever does not belong to the realm cannot be told of it.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway import bounds
from gateway.call.health import Health
from gateway.errors import Refusal
from gateway.upstream.target import Target
from ledger.core.catalog.capsules import Capsule, Step
from ledger.core.catalog.models import Model
from ledger.core.catalog.protocols import Protocol
from ledger.core.catalog.realms import Members
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.price import Tariff
from ledger.core.pricing.terms import Market
from ledger.core.values.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class Candidate:
    """One provider of one model. `tariff` prices its calls, `inner` its calls as a workflow's sub-calls."""

    provider: Address
    subject: Digest
    served_as: str
    limit_name: str
    """The field by which its node is told how long an answer may be."""
    target: Target
    tariff: Tariff
    inner: Tariff
    capacity: int
    slo_ms: int
    tier: str
    realm: str
    since: int
    """Since when it is offered without a break (ms)."""
    secret: bytes = field(repr=False)
    """What our key and the provider's have in common: heads of calls are proven with it."""
    health: Health = field(compare=False)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model, the name it is listed by (its CID without one), its owner in this epoch, and its providers. Without
    candidates, `why` says what is missing. `sponsorship` is its owner's; `orders` are for slots, of who earns a line.
    """

    model: Model
    name: str
    owner: Address
    candidates: tuple[Candidate, ...]
    context_tokens: int | None
    protocols: frozenset[Protocol]
    why: str = ""
    sponsorship: Sponsorship | None = None
    published_at: int = 0
    """When the lane's ledger took its document, in ms."""
    orders: tuple[Sponsorship, ...] = ()

    @property
    def id(self) -> Digest:
        return self.model.id

    @property
    def version(self) -> str:
        return str(self.model.document["version"])

    @property
    def features(self) -> frozenset[str] | None:
        """What it can do, as its document declares it; None when that says nothing of it."""
        rows = [row["features"] for row in self.model.document["capabilities"] if "features" in row]
        return frozenset(name for row in rows for name in row) if rows else None


@dataclass(frozen=True, slots=True)
class CapsuleEntry:
    """A workflow, its name as a model's, and its owner in this epoch. `tariff` prices its calls, `inner` its calls
    inside another workflow; `why` if it has none.
    """

    capsule: Capsule
    name: str
    owner: Address
    tariff: Tariff | None
    inner: Tariff | None
    why: str = ""
    sponsorship: Sponsorship | None = None
    published_at: int = 0
    """When the lane's ledger took its document, in ms."""
    orders: tuple[Sponsorship, ...] = ()

    @property
    def id(self) -> Digest:
        return self.capsule.id

    @property
    def version(self) -> str:
        return str(self.capsule.document["version"])


Entry = ModelEntry | CapsuleEntry


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models and workflows in one epoch, also those that cannot be called: outside of every realm, or in one.

    A realm's catalog has the models that are offered in it, the workflows for everybody, and those for its members.
    """

    epoch: int
    book_root: Digest
    by_id: Mapping[Digest, Entry]
    by_name: Mapping[str, Entry]
    realm: str = ""
    members: Members | None = None
    """The realm's list, if it has one."""
    outside: "Catalog | None" = field(default=None, compare=False, repr=False)
    """A realm's: the catalog for everybody."""
    inside: Mapping[str, "Catalog"] = field(default_factory=dict, compare=False, repr=False)
    """The catalogs of the realms by name. A realm's has none."""
    market: Market | None = field(default=None, compare=False, repr=False)
    """What the terms of this epoch are made of. A realm's has none."""
    able: dict[tuple[Digest, str], tuple[ModelEntry, ...]] = field(default_factory=dict, compare=False, repr=False)
    """The models that can do what a workflow's step asks for, by workflow and step, of the steps looked at so far."""

    def find(self, name: str) -> Entry:
        """A model or capsule by `@org/name`, `@org/name@version` or CID. Refused when there is none."""
        entry = self.by_name.get(name)
        if entry is not None:
            return entry
        bounds.check_model_name(name)
        raise UnknownModel(self, name)

    def versioned(self, text: str) -> str:
        """The name of a model that a path names `NAME/versions/VERSION`, or by its name alone."""
        name, named, version = text.rpartition("/versions/")
        if not named:
            return text
        return name if self.find(name).version == version else f"{name}@{version}"

    def nearest(self, name: str) -> list[str]:
        """Up to three names like this one. It takes long: not on the event loop."""
        named = [known for known in self.by_name if known.startswith("@") and "@" not in known[1:]]
        whole = difflib.get_close_matches(name, named, n=3, cutoff=0.4)
        last = {known: known.rpartition("/")[2] for known in named}
        short = difflib.get_close_matches(name.rpartition("/")[2], list(last.values()), n=3, cutoff=0.5)
        return (whole + [known for known in named if last[known] in short and known not in whole])[:3]

    def nothing_in(self, realm: str) -> "Catalog":
        """A realm's catalog for who does not belong to it, whether there is such a realm or not."""
        return Catalog(self.epoch, self.book_root, {}, {}, realm)

    def of_step(self, capsule: Capsule, step: Step) -> "Catalog":
        """Where a workflow's step runs: here; but outside, if its capsule names a realm and the step does not."""
        return self.outside if capsule.realm and not step.realm and self.outside is not None else self

    def may_know_of(self, realm: str) -> bool:
        """Whether who sees this catalog may know of an offer in a realm, or in none: a realm's is its members'."""
        return realm == self.realm and (not realm or self.outside is not None)

    def may_show(self, document: Digest, public: "Catalog") -> bool:
        """Whether who sees this catalog may see a model or workflow: it is in it, or for everybody. What was published
        since the catalog was loaded is neither: it may be a realm's.
        """
        return document in self.by_id or document in public.by_id

    def everywhere(self, subject: Digest) -> Iterator[ModelEntry]:
        """A model for everybody, and in each realm that it is offered in: for what no caller is shown."""
        for catalog in (self, *self.inside.values()):
            entry = catalog.by_id.get(subject)
            if isinstance(entry, ModelEntry):
                yield entry

    def models(self) -> list[ModelEntry]:
        return [entry for entry in self.by_id.values() if isinstance(entry, ModelEntry)]


class UnknownModel(Refusal):
    """There is no such model."""

    def __init__(self, catalog: Catalog, name: str, near: Sequence[str] = ()) -> None:
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        if catalog.realm:
            hint = (
                f" for you in the realm {catalog.realm}{hint}. If you should belong to it, its owner admits you: "
                "tollway realm admit, or tollway realm token"
            )
        facts = {"nearest": list(near)}
        super().__init__(404, "model_not_found", f"there is no model {name!r}{hint}", param="model", facts=facts)
        self._catalog, self._name = catalog, name

    def with_nearest(self) -> "UnknownModel":
        """The same, with the nearest names."""
        return UnknownModel(self._catalog, self._name, self._catalog.nearest(self._name))


EMPTY = Catalog(0, Digest(bytes(32)), {}, {})
