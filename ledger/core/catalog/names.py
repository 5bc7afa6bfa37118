"""Names: `@org/name@version` is one id for ever, `@org/name` the version of it that is called.

    who     an organisation belongs to who registered it first; its owner and its keys publish names under it
    which   of the versions on sale in this epoch the newest whose owner speaks for the organisation; else the newest
            on sale; else, in the same order, of those that are not

Owners, names and the epoch's book stand on chain, so a name means the same id at every gateway. A version that was sold
keeps its name, and is called by the unversioned one as long as the organisation has none of its own on sale.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, to_hex

MAX_LABEL = 32
MAX_NAME = 64
"""Characters of a name with its version, without the organisation: the Registry's bound."""
NO_SPEAKER = "does not speak for"
"""Why a document is refused whose publisher is none of its organisation, as far as the refuser knows."""
_LABEL = re.compile(r"[a-z0-9-]{1,32}")
_PART = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Name:
    """One version of a name under an organisation."""

    organisation: str
    name: str
    version: str

    @property
    def family(self) -> str:
        """The name without its version."""
        return f"@{self.organisation}/{self.name}"

    @property
    def versioned(self) -> str:
        """What the Registry has below the organisation."""
        return f"{self.name}@{self.version}"

    def __str__(self) -> str:
        return f"{self.family}@{self.version}"


@dataclass(frozen=True, slots=True)
class Published:
    """A name, and the id it is for ever."""

    name: Name
    id: Digest


def of_document(document: Document) -> Name:
    """The name and version of a model or capsule. Rejected when the Registry could not hold them."""
    organisation, _, name = str(document["name"]).removeprefix("@").partition("/")
    return _checked(Name(organisation, name, str(document["version"])))


def of_documents(documents: Iterable[tuple[Digest, Document]]) -> list[Published]:
    """The names of documents, where no Registry holds any. Those that could not be names are left out."""
    found = []
    for id, document in documents:
        try:
            found.append(Published(of_document(document), id))
        except Rejected:
            continue
    return found


def parse(text: str) -> Name:
    """`@org/name@version`. Rejected when it is no such name."""
    organisation, slash, rest = text.removeprefix("@").partition("/")
    name, at, version = rest.partition("@")
    if not (text.startswith("@") and slash and at):
        raise Rejected(f"{text!r} is not a name with a version: write @org/name@1.0.0", name=text)
    return _checked(Name(organisation, name, version))


def part_of(text: str) -> str:
    """The part of a name that comes nearest to any text, such as what a server calls a model; "" if none does."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")


def on_chain(organisation: bytes, versioned: str) -> Name | None:
    """A name as the Registry has it. None if it has no version, which nothing is called by."""
    label = organisation.rstrip(b"\0").decode("ascii", "replace")
    try:
        return parse(f"@{label}/{versioned}")
    except Rejected:
        return None


def label(organisation: str) -> Digest:
    """An organisation as the Registry has it: its characters, then zeros."""
    if not _LABEL.fullmatch(organisation):
        why = f"has 1 to {MAX_LABEL} lower-case letters, digits and hyphens"
        raise Rejected(f"{organisation!r} is not an organisation: it {why}", organisation=organisation)
    return Digest(organisation.encode().ljust(32, b"\0"))


def check_publication(new: Published, by: Address, speakers: Collection[Address], known: Digest | None) -> None:
    """Rejected unless a party may publish a document under its name.

    `speakers`: the organisation's owner and keys. `known`: what the name is already, if anything.
    """
    if known == new.id:
        return
    if known is not None:
        raise Rejected(
            f"{new.name} is another document already, for ever: publish yours under another version",
            field="$.version",
            id=to_hex(known),
        )
    if by not in speakers:
        raise Rejected(
            f"{to_hex(by)} {NO_SPEAKER} @{new.name.organisation}: its owner names keys with "
            f"`tollway maker organisation {new.name.organisation} --add-key ADDRESS`",
            field="$.name",
        )


def meanings(
    published: Sequence[Published], on_sale: Callable[[Digest], bool], is_own: Callable[[Published], bool]
) -> dict[str, Digest]:
    """The id of each name, with and without version. `published` is in the order in which it was.

    `is_own`: whether the owner speaks for the organisation. No two ids have one name: the first holds it.
    """
    found: dict[str, Digest] = {}
    families: dict[str, list[Published]] = {}
    for one in published:
        if found.setdefault(str(one.name), one.id) == one.id:
            families.setdefault(one.name.family, []).append(one)
    for family, versions in families.items():
        places = {one.name: place for place, one in enumerate(versions)}
        found[family] = max(versions, key=lambda one: (on_sale(one.id), is_own(one), places[one.name])).id
    return found


def shown(called: Mapping[str, Digest]) -> dict[Digest, str]:
    """The name by which each id is listed: one without version if it has one, else its first. `called`: `meanings`."""
    names: dict[Digest, str] = {}
    for name, id in called.items():
        if id not in names or _is_bare(name) > _is_bare(names[id]):
            names[id] = name
    return names


def _is_bare(name: str) -> bool:
    return "@" not in name[1:]


def _checked(name: Name) -> Name:
    label(name.organisation)
    if not _PART.fullmatch(name.name) or not _PART.fullmatch(name.version) or len(name.versioned) > MAX_NAME:
        raise Rejected(
            f"{name} is not a name: name and version have lower-case letters, digits, dots, underscores and hyphens, "
            f"together at most {MAX_NAME - 1}",
            field="$.version",
        )
    return name
