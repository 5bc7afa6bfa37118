"""`tollway oem`: derive a model from others on their frozen terms, and sell it as your own."""

import hashlib
from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.catalog.models import Model, model
from ledger.core.values.documents import Document, canonical
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_DIGEST, Digest, cid
from roles.cli import maker
from roles.cli.context import Group, here
from roles.cli.shared import publication
from roles.cli.shared.payees import Ratio, add_payee, parse_bid
from roles.cli.shared.sponsorship import add_owners_order
from roles.wallet import transactions

app = Group("Derive a model from others on their frozen terms, and sell it as your own.")

SMALLER = ("quantize", "distill")
"""Relations of a child that needs less than its parents."""
RELATIONS = ("finetune", "adapter", *SMALLER, "merge", "package")


@app.command("derive")
def derive(
    name: Annotated[str, Argument(help="@org/name of the new model.")],
    parent: Annotated[
        list[str],
        Option(
            "--parent", help="A model it descends from; @org/name=10%,call=1: on these terms of its maker. Up to 4."
        ),
    ],
    described: maker.Description,
    relation: Annotated[str, Option(help=", ".join(RELATIONS))] = "finetune",
    ask: maker.OwnAsk = None,
    ratio: Ratio = "0ppm",
) -> None:
    """Register a derived model. It freezes the parents' terms: what you owe them can never be raised.

    One that is quantised or distilled carries its size and memory, and needs less than its parents.

    Example: tollway oem derive @south/emotion ./emotion --parent @north/emotion-base
    """
    publication.check_name(name, described.version)
    bid = parse_bid(ask, ratio)
    if relation not in RELATIONS:
        raise Rejected(f"{relation!r} is not a valid relation: use one of {', '.join(RELATIONS)}", relation=relation)
    named = [text.partition("=") for text in parent]
    parents = {here().resolve(text): (text, terms) for text, _, terms in named}
    documents_of = {subject: here().gateway.get(f"/v1/documents/{cid(subject)}") for subject in parents}
    lineage = [frozen_terms(subject, documents_of[subject], *said, relation) for subject, said in parents.items()]
    document = described.document(name, lineage)
    if relation in SMALLER:
        check_smaller(model(document), [model(one) for one in documents_of.values()], relation)
    owed = ", ".join(
        f"{row['terms']['royalty_ppm']} ppm to {text}" for row, (text, _) in zip(lineage, parents.values(), strict=True)
    )
    maker.publish(document, Role.oem, bid, f"register {name}, owing {owed} on every call")


def check_smaller(child: Model, parents: list[Model], relation: str) -> None:
    """Rejected unless a quantised or distilled model says what it needs, and needs less than each parent that says so.

    Files are compared by their bytes; where one has none, memory.
    """
    if child.memory_mb is None:
        raise Rejected(f"{child.name} does not say what memory it needs: add --memory-mb, or give its files")
    for parent in parents:
        ours, theirs, unit = child.size_bytes, parent.size_bytes, "bytes"
        if ours is None or theirs is None:
            ours, theirs, unit = child.memory_mb, parent.memory_mb, "MB of memory"
        if theirs is not None and ours >= theirs:
            message = (
                f"{child.name} needs {ours:,} {unit} and its parent {parent.name} {theirs:,}: "
                f"--relation {relation} makes a model smaller; say --relation finetune for what does not"
            )
            raise Rejected(message, parent=parent.name)


def frozen_terms(subject: Digest, parent: Document, name: str, said: str, relation: str) -> Document:
    """A lineage row with the terms the parent offers now: those of its document, or those that its maker `said`, which
    the Registry has the hash of. Rejected when it offers none, or others.
    """
    on_chain = transactions.chain(here()).as_parent(subject).terms  # other ones if its maker changed them
    if on_chain == ZERO_DIGEST:
        raise Rejected(f"{name} offers no terms to descendants now: its maker may (tollway maker grant)", parent=name)
    if said:
        royalty, *floor = said.split(",")
        offered = maker.derivative_terms(royalty, floor)
    else:
        offered = parent.get("derivative_terms", {})
    if not offered or maker.granted_royalty(offered).digest != on_chain:
        raise Rejected(
            f"{name} offers other terms{f' than {said}' * bool(said)}: its maker says them, and you type them so: "
            f"--parent {name}=10%,call=1",
            parent=name,
        )
    return {
        "id": cid(subject),
        "relation": relation,
        "terms": {
            "royalty_ppm": offered["royalty_ppm"],
            "floor": offered["floor"],
            "offer": "sha256:" + hashlib.sha256(canonical(offered)).hexdigest(),
        },
    }


add_payee(app, Role.oem)
add_owners_order(app, Role.oem)
