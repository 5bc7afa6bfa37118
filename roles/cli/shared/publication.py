"""Publishing: a document to the gateway, its id to the Registry, by commit and reveal."""

from __future__ import annotations

import hashlib
import time

from ledger.core.values.documents import Document, canonical, document_id, validate
from ledger.core.values.documents import digest as digest_of
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Digest, address, cid, to_hex
from ledger.core.values.typed_data import word
from roles.cli import output
from roles.cli.context import here
from roles.wallet import transactions

PATIENCE_SECONDS = 30
UNSEEN = "is not registered"
"""What the gateway says of a document whose registration its ledger has not read from the chain."""
ZERO = Digest(bytes(32))


def publish(document: Document, parents: tuple[Digest, ...] = ()) -> dict[str, object]:
    """Register a document on chain as one's own, and give it to the gateway. Publishing it twice changes nothing.

    The commitment hides the id until it is registered, so nobody can take a document out of a pending transaction.
    """
    kind = validate(document)
    subject, account = digest_of(document), here().account
    facts: dict[str, object] = {"id": document_id(document), "name": document["name"], "owner": to_hex(account)}
    owner = address(transactions.chain().registry("models", subject)[0])
    if owner == ZERO_ADDRESS:
        facts |= _register(document, subject, parents)
    elif owner != account:
        output.warn(f"{document['name']} is registered to {to_hex(owner)}, not to {to_hex(account)}")
    else:
        facts["note"] = "was registered already"
    said = here().gateway.post("/v1/documents", document)
    assert said["id"] == cid(subject), "the gateway must name a document by its bytes"
    _await_listing(said["id"])
    return {**facts, "kind": kind}


def _await_listing(id: str) -> None:
    """Until the gateway's catalog has it, and has seen its registration, so that the next command can use it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if UNSEEN not in str(here().gateway.get(f"/v1/models/{id}").get("why", "")):
                return
        except Rejected:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            output.warn("the gateway has not seen the registration on chain yet: it cannot be called until it has")
            return
        time.sleep(0.1)


def _register(document: Document, subject: Digest, parents: tuple[Digest, ...]) -> dict[str, object]:
    account = here().account
    salt = keccak256(here().signer.sign(keccak256(b"tollway salt", subject)))
    commitment = keccak256(word(subject), word(account), word(salt))
    chain = transactions.chain()
    if int(chain.registry("commitments", commitment)) == 0:
        transactions.send(chain.calls.commit_model(commitment))
    committed = int(chain.registry("commitments", commitment))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while transactions.now() <= committed and time.monotonic() < deadline:
        time.sleep(0.2)
    terms = document.get("derivative_terms")
    offered = Digest(hashlib.sha256(canonical(terms)).digest()) if terms else ZERO
    sent = transactions.send(chain.calls.register_model(subject, parents, offered, salt))
    return sent.facts
