"""Publishing: a document goes to the gateway, its id to the Registry contract, by commit and reveal."""

import hashlib

from ledger.core.values.documents import Document, canonical, document_id, validate
from ledger.core.values.documents import digest as digest_of
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, address, cid, to_hex
from ledger.core.values.typed_data import word
from roles.cli import output
from roles.cli.context import here
from roles.wallet import signing, transactions

WAIT_SECONDS = 30
NOT_INDEXED = "is not registered"
"""The gateway's reason while its ledger has not read the registration from the chain."""


def publish(document: Document, parents: tuple[Digest, ...] = ()) -> dict[str, object]:
    """Register a document on chain for this wallet and store it at the gateway. Publishing it twice changes nothing."""
    kind = validate(document)
    subject, account = digest_of(document), here().account
    facts: dict[str, object] = {"id": document_id(document), "name": document["name"], "owner": to_hex(account)}
    owner = address(transactions.chain(here()).view("Registry", "models", subject)[0])
    if owner == ZERO_ADDRESS:
        facts |= _register(document, subject, parents)
    elif owner != account:
        output.warn(f"{document['name']} is registered to {to_hex(owner)}, not to {to_hex(account)}")
    else:
        facts["note"] = "was registered already"
    stored = here().gateway.post("/v1/documents", signing.document(here().signer, here().domain, document))
    assert stored["id"] == cid(subject), "the gateway computes the same id from the document's bytes"
    if not output.wait_until(lambda: _is_listed(stored["id"]), WAIT_SECONDS, 0.1):
        here().gateway.get(f"/v1/models/{stored['id']}")
        output.warn("the gateway has not seen the registration on chain yet: calls are refused until it has")
    return {**facts, "kind": kind}


def _is_listed(id: str) -> bool:
    """Whether the gateway's catalog has the document and its registration, so that the next command can use it."""
    try:
        return NOT_INDEXED not in str(here().gateway.get(f"/v1/models/{id}").get("why", ""))
    except Rejected:
        return False


def _register(document: Document, subject: Digest, parents: tuple[Digest, ...]) -> dict[str, object]:
    """Commit, wait for a later block, reveal. The commitment hides the id, so nobody can register it first."""
    account = here().account
    salt = keccak256(here().signer.sign(keccak256(b"tollway salt", subject)))
    commitment = keccak256(word(subject), word(account), word(salt))
    chain = transactions.chain(here())
    if int(chain.view("Registry", "commitments", commitment)) == 0:
        transactions.send(here(), chain.calls.to("Registry", "commit", commitment))
    committed = int(chain.view("Registry", "commitments", commitment))
    output.wait_until(lambda: transactions.now(here()) > committed, WAIT_SECONDS)
    terms = document.get("derivative_terms")
    offered = Digest(hashlib.sha256(canonical(terms)).digest()) if terms else ZERO_DIGEST
    named = [chain.as_parent(parent) for parent in parents]
    return transactions.send(here(), chain.calls.register_model(subject, named, offered, salt))
