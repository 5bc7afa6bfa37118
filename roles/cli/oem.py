"""`tollway oem`: derive a model from others on their frozen terms, and sell it as your own."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import typer

from ledger.core.catalog.bids import Role
from ledger.core.values.documents import Document, canonical
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid
from roles.cli import maker, output
from roles.cli.context import Group, here
from roles.cli.shared import names, publication
from roles.cli.shared.payees import bidding_commands, payee_commands
from roles.cli.shared.sponsorship import sponsor_command
from roles.wallet import transactions

app = Group("Derive a model from others on their frozen terms, and sell it as your own.")

RELATIONS = ("finetune", "adapter", "quantize", "distill", "merge", "package")


@app.verb("derive")
def derive(
    name: Annotated[str, typer.Argument(help="@org/name of the new model.")],
    parent: Annotated[list[str], typer.Option("--parent", help="@org/name or id of what it descends from (up to 4).")],
    relation: Annotated[str, typer.Option(help=", ".join(RELATIONS))] = "finetune",
    onnx: maker.Onnx = None,
    url: maker.Url = None,
    task: maker.Task = "text-generation",
    protocol: maker.Protocol = "openai.chat/1",
    tensor: maker.Tensors = None,
    meter: maker.Meters = None,
    royalty: maker.Royalty = None,
    floor: maker.Floor = None,
    version: maker.Version = "1.0.0",
    license: Annotated[str, typer.Option(help="SPDX expression.")] = "Apache-2.0",
) -> None:
    """Register a derived model. The parents' open terms are frozen in it: they can never be raised on you."""
    if relation not in RELATIONS:
        raise Rejected(f"{relation!r} is no relation: one of {', '.join(RELATIONS)}", relation=relation)
    parents = {names.resolve(here().gateway, text): text for text in parent}
    document = maker.describe(name, version, license, onnx, url, task, protocol, tensor or [], meter or ["call"])
    document["lineage"] = [frozen(subject, text, relation) for subject, text in parents.items()]
    if royalty is not None:
        document["derivative_terms"] = maker.terms(royalty, floor or [])
    owed = ", ".join(
        f"{row['terms']['royalty_ppm']} ppm to {text}"
        for row, text in zip(document["lineage"], parents.values(), strict=True)
    )
    output.confirm(f"register {name}, owing {owed} on every call?")
    output.tell({**publication.publish(document, tuple(parents)), "owes": document["lineage"]})


def frozen(subject: Digest, name: str, relation: str) -> Document:
    """A lineage row: the parent's terms as they are offered now."""
    parent: dict[str, Any] = here().gateway.get(f"/v1/documents/{cid(subject)}")
    offered = parent.get("derivative_terms")
    if not offered or not offered["open"] or retired(subject):
        raise Rejected(f"{name} offers no terms to descendants now: ask its maker", parent=name)
    return {
        "id": cid(subject),
        "relation": relation,
        "terms": {
            "royalty_ppm": offered["royalty_ppm"],
            "floor": offered["floor"],
            "offer": "sha256:" + hashlib.sha256(canonical(offered)).hexdigest(),
        },
    }


def retired(subject: Digest) -> bool:
    """Whether the model's owner last said on chain that it offers nothing to new descendants."""
    said = transactions.chain().raw_logs("Registry", "TermsUpdated", subject)
    return bool(said) and not any(bytes.fromhex(said[-1]["data"][2:]))


bidding_commands(app, Role.oem)
payee_commands(app)
sponsor_command(app, Role.oem)
