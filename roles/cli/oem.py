"""`tollway oem`: derive a model from others on their frozen terms, and sell it as your own."""

import hashlib
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.catalog.models import granted
from ledger.core.values.documents import Document, canonical
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid
from roles.cli import maker
from roles.cli.context import Group, here
from roles.cli.shared import documents
from roles.cli.shared.payees import Ratio, add_payee, parse_bid
from roles.wallet import transactions

app = Group("Derive a model from others on their frozen terms, and sell it as your own.")

RELATIONS = ("finetune", "adapter", "quantize", "distill", "merge", "package")


@app.command("derive")
def derive(  # noqa: PLR0913
    name: Annotated[str, Argument(help="@org/name of the new model.")],
    parent: Annotated[list[str], Option("--parent", help="A model it descends from. Repeat it, up to 4.")],
    weights: maker.Weights = None,
    relation: Annotated[str, Option(help=", ".join(RELATIONS))] = "finetune",
    url: maker.Url = None,
    ask: maker.OwnAsk = None,
    ratio: Ratio = "0ppm",
    task: maker.Task = None,
    protocol: maker.Protocol = None,
    tensor: maker.Tensors = None,
    meter: maker.Meters = None,
    royalty: maker.Royalty = None,
    floor: maker.Floor = None,
    version: maker.Version = "1.0.0",
    license: maker.License = "Apache-2.0",
) -> None:
    """Register a derived model. It freezes the parents' terms: what you owe them can never be raised.

    Example: tollway oem derive @south/emotion ./emotion --parent @north/emotion-base
    """
    documents.check_name(name, version)
    bid = parse_bid(ask, ratio)
    if relation not in RELATIONS:
        raise Rejected(f"{relation!r} is not a valid relation: use one of {', '.join(RELATIONS)}", relation=relation)
    parents = {here().resolve(text): text for text in parent}
    lineage = [frozen_terms(subject, text, relation) for subject, text in parents.items()]
    document = maker.Description(
        name, version, license, weights, url, task, protocol, tensor or [], meter or ["call"], royalty, floor or []
    ).document(lineage)
    owed = ", ".join(
        f"{row['terms']['royalty_ppm']} ppm to {text}" for row, text in zip(lineage, parents.values(), strict=True)
    )
    maker.publish(document, Role.oem, bid, f"register {name}, owing {owed} on every call")


def frozen_terms(subject: Digest, name: str, relation: str) -> Document:
    """A lineage row with the terms the parent offers now. Rejected when it offers none."""
    parent: dict[str, Any] = here().gateway.get(f"/v1/documents/{cid(subject)}")
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
