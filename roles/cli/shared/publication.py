"""Publishing: a document's id goes to the Registry contract, by commit and reveal, then its name, which is its id for
ever; the document itself goes to the gateway.
"""

from pathlib import Path

from ledger.core.catalog import names
from ledger.core.catalog.models import granted, parents
from ledger.core.catalog.names import Name
from ledger.core.values.documents import Document, document_id, parse, validate
from ledger.core.values.documents import digest as digest_of
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, address, cid, to_hex
from ledger.core.values.typed_data import word
from roles.cli import amounts, output
from roles.cli.context import here
from roles.wallet import signing, transactions

WAIT_SECONDS = 30
NOT_INDEXED = "is not registered"
"""The gateway's reason while its ledger has not read the registration from the chain."""


def read_file(path: Path) -> Document:
    """The JSON object in a file. Rejected, naming the file, when it is none."""
    try:
        return parse(path.read_bytes())
    except Rejected as error:
        raise Rejected(f"{path} is {error.message}", path=str(path)) from error


def check_name(name: str, version: str) -> None:
    """Rejected unless a document can have this name and version."""
    if not name.startswith("@") or "/" not in name:
        raise Rejected(f"{name!r} is not a model's name: write @org/name, in lower case", name=name)
    names.of_document({"name": name, "version": version})


def publish(document: Document) -> dict[str, object]:
    """Register a document and its name on chain for this wallet, and store it at the gateway.

    Publishing it twice changes nothing. Rejected when the name is another's, or this version is another document.
    """
    kind = validate(document)
    subject, account, name = digest_of(document), here().account, names.of_document(document)
    facts: dict[str, object] = {"id": document_id(document), "name": name.family, "version": name.version}
    facts["owner"] = to_hex(account)
    is_free = _check_name(name, subject)
    chain = transactions.chain(here())
    owner = address(chain.view("Registry", "models", subject)[0])
    if owner == ZERO_ADDRESS:
        facts |= _register(document, subject)
    elif owner != account:
        output.warn(f"{name} is registered to {to_hex(owner)}, not to {to_hex(account)}")
    else:
        facts["note"] = "was registered already"
    if is_free:
        take_name(name, subject)
    stored = _store(document)
    assert stored["id"] == cid(subject), "the gateway computes the same id from the document's bytes"
    if not output.wait_until(lambda: _is_listed(name, stored["id"]), WAIT_SECONDS, 0.1):
        here().gateway.get(f"/v1/models/{name}")
        output.warn("the gateway has not seen the registration on chain yet: calls are refused until it has")
    return {**facts, "kind": kind}


def take_name(name: Name, subject: Digest) -> dict[str, object]:
    """Publish a model or capsule of this wallet under a name, for ever. Registers its organisation if nobody has."""
    chain, organisation = transactions.chain(here()), names.label(name.organisation)
    if address(chain.view("Registry", "organisationOwner", organisation)) == ZERO_ADDRESS:
        register_organisation(name.organisation)
    return transactions.send(here(), chain.calls.to("Registry", "publishName", organisation, name.versioned, subject))


def name_stake(organisation: str) -> int:
    """The stake that is taken for an organisation's name; 0 if it is registered."""
    chain = transactions.chain(here())
    owner = address(chain.view("Registry", "organisationOwner", names.label(organisation)))
    return int(chain.view("Registry", "nameStake")) if owner == ZERO_ADDRESS else 0


def with_stake(organisation: str) -> str:
    """The part of a question that says the stake for an organisation's name; "" if that is registered."""
    stake = name_stake(organisation)
    return f" with a stake of {amounts.format(stake)} for the name @{organisation}" if stake else ""


def register_organisation(label: str) -> dict[str, object]:
    """Register an organisation for this wallet. Its stake is taken, and owed back when it is released."""
    chain, name = transactions.chain(here()), names.label(label)
    stake, owned = int(chain.view("Registry", "nameStake")), chain.balance(here().account)
    if owned < stake:
        short = f"{here().wallet} has {amounts.format(owned)}"
        raise Rejected(f"the name @{label} costs a stake of {amounts.format(stake)} while it is held, and {short}")
    output.note(f"registering @{label}: a stake of {amounts.format(stake)} lies in the Registry while it is held")
    salt = commit(name)
    transactions.allow(here(), address(chain.deployment.registry), stake)
    return transactions.send(here(), chain.calls.to("Registry", "registerOrganisation", name, salt))


def commit(what: Digest) -> Digest:
    """Commit to an id or an organisation, and wait for a later block. The salt, which reveals it.

    The commitment hides what it is, so nobody can register it first. One that is there already is used, unless it has
    expired.
    """
    salt = keccak256(here().signer.sign(keccak256(b"tollway salt", what)))
    commitment = keccak256(word(what), word(here().account), word(salt))
    chain = transactions.chain(here())
    life = int(chain.view("Registry", "COMMITMENT_LIFE"))
    if int(chain.view("Registry", "commitments", commitment)) + life <= transactions.now(here()):
        transactions.send(here(), chain.calls.to("Registry", "commit", commitment))
    committed = int(chain.view("Registry", "commitments", commitment))
    output.wait_until(lambda: transactions.now(here()) > committed, WAIT_SECONDS)
    return salt


def _check_name(name: Name, subject: Digest) -> bool:
    """Whether the name is still to be published. Rejected when it is another document, or somebody else's."""
    chain, organisation = transactions.chain(here()), names.label(name.organisation)
    known = Digest(chain.view("Registry", "named", organisation, name.versioned))
    holder = address(chain.view("Registry", "organisationOwner", organisation))
    speaks = holder == ZERO_ADDRESS or chain.view("Registry", "speaksFor", organisation, here().account)
    published = names.Published(name, subject)
    speakers = {here().account} if speaks else {holder}
    names.check_publication(published, here().account, speakers, None if known == ZERO_DIGEST else known)
    return known == ZERO_DIGEST


def _store(document: Document) -> dict[str, str]:
    """Send the document to the gateway, as soon as that has read its name from the chain."""
    signed = signing.document(here().signer, here().domain, document)
    refusals: list[Rejected] = []

    def stored() -> dict[str, str] | None:
        try:
            return dict(here().gateway.post("/v1/documents", signed))
        except Rejected as refusal:
            if names.NO_SPEAKER not in refusal.message:
                raise
            refusals.append(refusal)
            return None

    answer = output.wait_until(stored, WAIT_SECONDS, 0.2)
    if answer is None:
        raise refusals[-1]
    return answer


def _is_listed(name: Name, id: str) -> bool:
    """Whether the gateway's catalog has the document, its name and its registration: the next command can use them."""
    try:
        shown = here().gateway.get(f"/v1/models/{name}")
    except Rejected:
        return False
    return shown["cid"] == id and NOT_INDEXED not in str(shown.get("why", ""))


def _register(document: Document, subject: Digest) -> dict[str, object]:
    """Commit, wait for a later block, reveal."""
    salt, chain = commit(subject), transactions.chain(here())
    royalty = granted(document)
    offered = royalty.digest if royalty else ZERO_DIGEST
    named = [chain.as_parent(one.model)._replace(terms=one.royalty.digest) for one in parents(document)]
    return transactions.send(here(), chain.calls.register_model(subject, named, offered, salt))
