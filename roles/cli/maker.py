"""`tollway maker`: publish a model, set what it takes, earn on every call and on every descendant."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.core.catalog.bids import Role
from ledger.core.values.documents import Document
from ledger.core.values.documents import parse as parse_document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import did, to_hex
from ledger.core.values.meters import quoted
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import calls, names, publication
from roles.cli.shared.payees import bidding_commands, payee_commands
from roles.cli.shared.sponsorship import sponsor_command
from roles.wallet import keystore, transactions

app = Group("Publish a model, set what it takes, earn on every call and on every descendant.")

Card = Annotated[Path | None, typer.Option("--card", help="A model document, or a model folder's model.json.")]
Onnx = Annotated[Path | None, typer.Option("--onnx", help="A model folder or an .onnx file.")]
Url = Annotated[str | None, typer.Option("--url", help="An existing OpenAI or OIP v2 server.")]
Task = Annotated[str, typer.Option("--task", help="text-generation, text-classification, retrieval, ...")]
Protocol = Annotated[str, typer.Option("--protocol", help="openai.chat/1 or oip/2.")]
Tensors = Annotated[list[str] | None, typer.Option("--tensor", help="in:NAME:BYTES:1 or out:NAME:FP32:-1,6 (oip/2).")]
Meters = Annotated[list[str] | None, typer.Option("--meter", help="What is metered: call, output_token, ...")]
Royalty = Annotated[
    str | None, typer.Option("--royalty", help="What descendants owe you: a ratio of their price, say 10%.")
]
Floor = Annotated[list[str] | None, typer.Option("--floor", help="And at least METER=ATOMS.")]
Version = Annotated[str, typer.Option("--version", help="Of the model.")]


@app.verb("register")
def register(
    name: Annotated[str, typer.Argument(help="@org/name")],
    card: Card = None,
    onnx: Onnx = None,
    url: Url = None,
    task: Task = "text-generation",
    protocol: Protocol = "openai.chat/1",
    tensor: Tensors = None,
    meter: Meters = None,
    royalty: Royalty = None,
    floor: Floor = None,
    version: Version = "1.0.0",
    license: Annotated[str, typer.Option(help="SPDX expression.")] = "Apache-2.0",
) -> None:
    """Register a model, from an ONNX file, an existing server, or a document. Registering it again changes nothing."""
    if card is not None:
        document = parse_document(card.read_bytes())
    else:
        document = describe(name, version, license, onnx, url, task, protocol, tensor or [], meter or ["call"])
        document["lineage"] = []
        if royalty is not None:
            document["derivative_terms"] = terms(royalty, floor or [])
    output.confirm(f"register {name} {version} as {here().wallet}?")
    output.tell(publication.publish(document))


@app.verb("versions")
def versions(name: Annotated[str, typer.Argument(help="@org/name, or the start of one.")]) -> None:
    """Every version of a model that is published here."""
    rows = [row for row in here().gateway.get("/v1/models", all="1")["data"] if str(row["id"]).startswith(name)]
    output.tabulate([{**calls.model_row(row), "callable": row["ready"]} for row in rows], empty="nothing of that name")


@app.verb("transfer")
def transfer(
    model: Annotated[str, typer.Argument(help="@org/name or an id.")],
    to: Annotated[str, typer.Argument(help="A wallet or 0x address.")],
) -> None:
    """Give a model away: its next calls are paid to the new owner once that one bids."""
    party = keystore.party(to)
    output.confirm(f"give {model} to {to_hex(party)}, for good?")
    sent = transactions.send(
        transactions.chain().calls.to_registry("transfer", names.resolve(here().gateway, model), party)
    )
    output.tell({"model": model, "owner": to_hex(party), **sent.facts})


@app.verb("retire")
def retire(model: Annotated[str, typer.Argument(help="@org/name or an id.")]) -> None:
    """Stop offering terms to new descendants. Those there are keep what they froze; silence ends your bid."""
    output.confirm(f"retire {model}?")
    sent = transactions.send(
        transactions.chain().calls.to_registry("update", names.resolve(here().gateway, model), bytes(32))
    )
    output.tell({"model": model, "terms": "none for new descendants", **sent.facts})


def describe(
    name: str,
    version: str,
    license: str,
    onnx: Path | None,
    url: str | None,
    task: str,
    protocol: str,
    tensors: list[str],
    meters: list[str],
) -> Document:
    """A model document from what was said about it."""
    if (onnx is None) == (url is None):
        raise Rejected("say what the model is: --onnx FOLDER, --url URL, or --card FILE")
    body: dict[str, Any] = {
        "schema": "tollway/model/1",
        "kind": "weights" if onnx else "endpoint",
        "name": name,
        "version": version,
        "owner": did(transactions.chain_id(), here().account),
        "license": license,
        "capabilities": [
            {"task": task, "skill": task, "input_modes": ["text/plain"], "output_modes": ["application/json"]}
        ],
        "interfaces": [interface(protocol, tensors)],
        "execution": {"runtime": "onnxruntime" if onnx else "unknown", "determinism": "none"},
        "meters": meters,
    }
    if onnx is not None:
        body |= card_of(onnx)
        body["artifact"] = artifact(onnx)
    elif url is not None:
        body["description"] = f"served at {url}"
    return body


def card_of(path: Path) -> Document:
    """What a model folder's own model.json declares: capabilities, interfaces, execution, meters."""
    described = path / "model.json"
    return dict(parse_document(described.read_bytes()).get("card", {})) if described.exists() else {}


def interface(protocol: str, tensors: list[str]) -> Document:
    """How it is spoken to."""
    if protocol != "oip/2":
        return {"protocol": protocol}
    sides: dict[str, list[Document]] = {"in": [], "out": []}
    for text in tensors:
        side, name, datatype, shape = (*text.split(":"), "", "", "")[:4]
        if side not in sides or not shape:
            raise Rejected(f"{text!r} is no tensor: write in:NAME:BYTES:1 or out:NAME:FP32:-1,6")
        sides[side].append({"name": name, "datatype": datatype, "shape": [int(size) for size in shape.split(",")]})
    return {"protocol": "oip/2", "inputs": sides["in"], "outputs": sides["out"]}


def artifact(path: Path) -> Document:
    """What the weights are: an OCI manifest's digest over every file, so a byte changed is another model."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    blobs = [file for file in files if file.is_file() and not file.name.startswith(".")]
    if not any(file.suffix == ".onnx" for file in blobs):
        raise Rejected(f"there is no .onnx file in {path}", path=str(path))
    layers = [
        {
            "mediaType": "application/vnd.cncf.model.weight.v1.raw",
            "digest": "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest(),
            "size": file.stat().st_size,
            "annotations": {"org.opencontainers.image.title": file.name},
        }
        for file in blobs
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "layers": layers,
    }
    packed = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    return {
        "mediaType": manifest["mediaType"],
        "artifactType": manifest["artifactType"],
        "digest": "sha256:" + hashlib.sha256(packed).hexdigest(),
        "size": sum(file.stat().st_size for file in blobs),
    }


def terms(royalty: str, floor: list[str]) -> Document:
    """Lineage terms offered to descendants, with a warning where they can be starved."""
    rates = amounts.asks(floor)
    if not any(rates):
        output.warn("a royalty with a floor of 0 can be starved inside a descendant's own workflow: add --floor call=1")
    return {"open": True, "royalty_ppm": amounts.ratio(royalty), "floor": quoted(rates)}


bidding_commands(app, Role.maker)
payee_commands(app)
sponsor_command(app, Role.maker)
