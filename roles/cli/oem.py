"""`tollway oem`: derive a model from others on their frozen terms, and sell it as your own."""

import hashlib
from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.catalog.models import Model, granted, model
from ledger.core.values.documents import Document, canonical
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid
from roles.cli import maker, output
from roles.cli.context import Group, here
from roles.cli.shared import documents, publication
from roles.cli.shared.payees import add_payee
from roles.cli.shared.sponsorship import add_owners_order
from roles.wallet import transactions

app = Group("Derive a model from others on their frozen terms, and sell it as your own.")

SMALLER = ("quantize", "distill")
"""Relations of a child that needs less than its parents."""
RELATIONS = ("finetune", "adapter", *SMALLER, "merge", "package")


@app.command("derive")
def derive(  # noqa: PLR0913
    name: Annotated[str, Argument(help="@org/name of the new model.")],
    parent: Annotated[list[str], Option("--parent", help="A model it descends from. Repeat it, up to 4.")],
    relation: Annotated[str, Option(help=", ".join(RELATIONS))] = "finetune",
    onnx: maker.Onnx = None,
    url: maker.Url = None,
    task: maker.Task = "text-generation",
    protocol: maker.Protocol = None,
    tensor: maker.Tensors = None,
    meter: maker.Meters = None,
    royalty: maker.Royalty = None,
    floor: maker.Floor = None,
    version: maker.Version = "1.0.0",
    license: maker.License = "Apache-2.0",
    memory: maker.Memory = None,
) -> None:
    """Register a derived model. It freezes the parents' terms: what you owe them can never be raised.

    One that is quantised or distilled carries its size and memory, and needs less than its parents.

    Example: tollway oem derive @south/emotion --parent @north/emotion-base --onnx ./emotion
    """
    documents.check_name(name, version)
    if relation not in RELATIONS:
        raise Rejected(f"{relation!r} is not a valid relation: use one of {', '.join(RELATIONS)}", relation=relation)
    parents = {here().resolve(text): text for text in parent}
    documents_of = {subject: here().gateway.get(f"/v1/documents/{cid(subject)}") for subject in parents}
    lineage = [frozen_terms(subject, documents_of[subject], text, relation) for subject, text in parents.items()]
    document = maker.Description(
        name,
        version,
        license,
        onnx,
        url,
        task,
        protocol,
        tensor or [],
        meter or ["call"],
        royalty,
        floor or [],
        memory,
    ).document(lineage)
    if relation in SMALLER:
        check_smaller(model(document), [model(one) for one in documents_of.values()], relation)
    owed = ", ".join(
        f"{row['terms']['royalty_ppm']} ppm to {text}" for row, text in zip(lineage, parents.values(), strict=True)
    )
    output.confirm(f"register {name}, owing {owed} on every call?")
    output.show({**publication.publish(document), **maker.needs(document), "owes": document["lineage"]})


def check_smaller(child: Model, parents: list[Model], relation: str) -> None:
    """Rejected unless a quantised or distilled model says what it needs, and needs less than each parent that says so.

    Files are compared by their bytes; where one has none, memory.
    """
    if child.memory_mb is None:
        raise Rejected(f"{child.name} does not say what memory it needs: add --memory-mb, or give its files (--onnx)")
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


def frozen_terms(subject: Digest, parent: Document, name: str, relation: str) -> Document:
    """A lineage row with the terms the parent offers now. Rejected when it offers none."""
    royalty, on_chain = granted(parent), transactions.chain(here()).as_parent(subject).terms  # other ones if retired
    if royalty is None or royalty.digest != on_chain:
        raise Rejected(f"{name} offers no terms to descendants now: ask its maker", parent=name)
    offered = parent["derivative_terms"]
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
