"""`tollway maker`: publish a model, set its price, earn on every call of it and of its descendants."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ledger.core.catalog import models, names
from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.lineage import Royalty as Granted
from ledger.core.catalog.models import MB
from ledger.core.catalog.protocols import CALLABLE, Protocol
from ledger.core.values.atoms import ceil_div
from ledger.core.values.documents import Document, schema
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, address, cid, cid_digest, did, to_hex
from ledger.core.values.meters import Meter, quoted, rates
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import cells, publication, readiness, servers
from roles.cli.shared.payees import Ratio, add_collect, add_payee, bid_once, describe, parse_bid, warn
from roles.cli.shared.readiness import Asked
from roles.cli.shared.sponsorship import add_owners_order
from roles.client import model_server
from roles.client.model_server import Served
from roles.node.artifacts.manifest import artifact
from roles.wallet import keystore, transactions

if TYPE_CHECKING:
    from ledger.chain.reads import ModelOffer

app = Group("Publish a model, set its price, earn on every call of it and of its descendants.")

Version = Annotated[str, Option("--version", help="Version of the model.")]
Floor = Annotated[list[str] | None, Option("--floor", help="And at least METER=ATOMS, such as call=1. Repeat it.")]
License = Annotated[str, Option("--license", help="SPDX expression.")]
Model = Annotated[str, Argument(help="@org/name or an id.")]
DONE_BY: dict[str, tuple[str, str, str]] = {
    Protocol.images: ("text-to-image", "text/plain", "image/*"),
    Protocol.speech: ("text-to-speech", "text/plain", "audio/*"),
    Protocol.transcriptions: ("automatic-speech-recognition", "audio/*", "text/plain"),
}
"""The task of a model that is called by an interface of images or sound, and what goes in and comes out."""
SHAPE = re.compile(r"(?:-1|[0-9]{1,9})(?:,(?:-1|[0-9]{1,9}))*")
Agreement = Annotated[
    Path | None, Option("--agreement", exists=True, help="A file on which both agree; the sale names its Keccak-256.")
]
OwnAsk = Annotated[
    list[str] | None, Option("--ask", help="Your price, for each METER at least ATOMS: call=200. Repeat it.")
]


@dataclass(frozen=True, slots=True)
class Description:
    """A model as its options describe it: files (`weights`) or a server (`url`), the memory it needs, what descendants
    owe, and who may deliver it.
    """

    weights: Annotated[
        Path | None, Argument(metavar="MODEL", help="The model: an .onnx file or a folder with one.")
    ] = None
    url: Annotated[
        str | None,
        Option("--url", help="In place of a MODEL: an OpenAI or OIP v2 server; of several models there, URL#MODEL."),
    ] = None
    task: Annotated[
        str | None,
        Option("--task", help="text-generation, image-classification, ...; default: what its tensors speak of."),
    ] = None
    protocol: Annotated[
        str | None, Option("--protocol", help=f"Of a --url: {', '.join(CALLABLE)}; default: what it speaks.")
    ] = None
    tensors: Annotated[
        list[str] | None,
        Option("--tensor", help="Of a --url: in:NAME:BYTES:1 or out:NAME:FP32:-1,6; default: what it says."),
    ] = None
    meters: Annotated[list[str] | None, Option("--meter", help=f"{amounts.METERS}. Repeat it; default: call.")] = None
    royalty: Annotated[str | None, Option("--royalty", help="Descendants owe you this share of their price: 10%.")] = (
        None
    )
    floor: Floor = None
    version: Version = "1.0.0"
    license: License = "Apache-2.0"
    memory_mb: Annotated[
        int | None,
        Option("--memory-mb", help="MB of memory a node needs to serve it. Default: as its files.", min=1, max=2**31),
    ] = None
    deliverers: Annotated[
        list[str] | None,
        Option("--deliverer", help="Who may be paid for delivering it, beside you: a wallet or 0x address. Up to 4."),
    ] = None

    def document(self, name: str, lineage: list[Document], served: Served | None = None) -> Document:
        """The document of a model of this name. Rejected unless it has either a model or a URL, and can be called.

        `served`: what its server said of it already; else the server is asked now.
        """
        body = self._described(name)
        if self.royalty is not None:
            body["derivative_terms"] = derivative_terms(self.royalty, self.floor or [])
        if self.url is not None and not self.tensors:
            served = served or servers.find(self.url, name, self.protocol or "")[1]
            body["interfaces"] = [model_server.sound(served).interface]
        chain_id = transactions.chain_id(here())
        if self.deliverers:
            body["delivery"] = sorted({did(chain_id, keystore.party(one)) for one in self.deliverers})
        return {
            "schema": "tollway/model/1",
            "name": name,
            "version": self.version,
            "owner": did(chain_id, here().account),
            "license": self.license,
            **body,
            "lineage": lineage,
        }

    def _described(self, name: str) -> Document:
        """What the options and files say, before anything is asked of the chain."""
        if (self.weights is None) == (self.url is None):
            raise Rejected(
                f"no model given: tollway maker register {name} MODEL, with an .onnx file or a folder, "
                "or --url URL, or --card FILE"
            )
        protocol = self.protocol or (Protocol.tensors if self.tensors else Protocol.chat)
        meters = self.meters or ["call"]
        for what, said, known in (
            ("protocol", [protocol], CALLABLE),
            ("meter", meters, list(Meter.__members__)),
        ):
            wrong = next((one for one in said if one not in known), None)
            if wrong is not None:
                raise Rejected(f"{wrong!r} is not a {what}: use {', '.join(known)}")
        body: Document = {"meters": meters}
        body |= self._of_files(self.weights) if self.weights else self._of_url(protocol)
        if self.memory_mb is not None:
            body["execution"] = body["execution"] | {"min_memory_mb": self.memory_mb}
        return body

    def _of_url(self, protocol: str) -> Document:
        task, *modes = DONE_BY.get(protocol, ("text-generation", "text/plain", "application/json"))
        return {
            "kind": "endpoint",
            "capabilities": capable(self.task or task, *modes),
            "interfaces": [interface(protocol, self.tensors or [])],
            "execution": {"runtime": "unknown", "determinism": "none"},
            "description": f"served at {model_server.ModelServer.typed(str(self.url)).root}",
        }

    def _of_files(self, path: Path) -> Document:
        """What a graph says of itself, and on top of it what its `model.json` declares. Rejected if that is not so."""
        from roles.node.models import described  # onnxruntime, which only this needs

        if self.protocol is not None or self.tensors:
            raise Rejected("--protocol and --tensor are for --url: what a model takes and gives is read from its graph")
        files = artifact(path)
        size_mb = ceil_div(files["size"], MB)
        if self.memory_mb is not None and self.memory_mb < size_mb:
            raise Rejected(f"its files alone have {size_mb} MB: say --memory-mb {size_mb} or more, or leave it out")
        found = described.describe(path)
        card = {**found.card, **({"capabilities": capable(self.task, found.input_mode)} if self.task else {})}
        described.check(found, card.get("interfaces", []))
        output.note(f"{path} {found}")
        return {
            "kind": "weights",
            "capabilities": capable(found.task, found.input_mode),
            "interfaces": found.interfaces,
            "execution": {"runtime": "onnxruntime", "determinism": "none"},
            **card,
            "artifact": files,
        }


def capable(task: str, input_mode: str, output_mode: str = "application/json") -> list[Document]:
    """The capabilities of a model that does one task."""
    return [{"task": task, "skill": task, "input_modes": [input_mode], "output_modes": [output_mode]}]


@app.command("register")
def register(
    name: Annotated[str, Argument(help="@org/name. A MODEL alone is registered as @WALLET/FILE.")],
    described: Description,
    card: Annotated[Path | None, Option("--card", help="Model document (JSON); replaces the options above.")] = None,
    ask: OwnAsk = None,
    ratio: Ratio = "0ppm",
) -> None:
    """Register a model from an ONNX file, a server or a document. Registering it again changes nothing.

    What an ONNX model takes and gives is read from its graph. With --ask or --ratio it gets its price, as by `bid`.

    A server is asked what it speaks and what its model takes. `tollway provider import` sells all that it has at once.

    Example: tollway maker register @acme/iris iris.onnx --ask call=200
    """
    if described.weights is None and card is None and described.url is None and not name.startswith("@"):
        if not Path(name).exists():
            raise Rejected(f"{name}: no such file. A name is written @org/name: tollway maker register @org/name MODEL")
        name, described = name_for(Path(name)), replace(described, weights=Path(name))
    publication.check_name(name, described.version)
    bid = parse_bid(ask, ratio)
    document = described.document(name, []) if card is None else publication.read_file(card)
    if document.get("name") != name:
        raise Rejected(f"{card} describes {document.get('name')!r}, not {name}", name=name)
    publish(document, Role.maker, bid, f"register {name} {described.version} as {here().wallet}")


def publish(document: Document, role: Role, bid: Bid, question: str) -> None:
    """Register a model and, with a bid, give it its price. Show both, and what the model still needs."""
    warn(role, bid)
    question += publication.with_stake(names.of_document(document).organisation)
    output.confirm(f"{question}{f', and bid {describe(bid)}' if bid != Bid() else ''}?")
    facts = {**publication.publish(document), **needs(document)}
    subject = cid_digest(str(facts["id"]))
    if bid != Bid():
        facts |= {"ratio_ppm": bid.ratio_ppm, "ask": quoted(bid.asks), **bid_once(subject, role, bid)}
    if document.get("lineage"):
        facts["owes"] = document["lineage"]
    show_model(facts, readiness.name_of(here(), subject))


def name_for(path: Path) -> str:
    """A name for a model of this wallet, from its file's or folder's."""
    return f"@{here().wallet}/{names.part_of(path.stem)}"


def show_model(facts: dict[str, Any], name: str) -> None:
    """Show an answer about a model, and what that still needs before it can be called."""
    readiness.show(facts, Asked(here(), cid_digest(str(facts["id"])), name))


def needs(document: Document) -> dict[str, object]:
    """The size of a model's files and the memory it needs, where its document says them."""
    described = models.model(document)
    both = {"size_bytes": described.size_bytes, "memory_mb": described.memory_mb}
    return {name: said for name, said in both.items() if said is not None}


@app.command("versions")
def versions(name: Annotated[str, Argument(help="@org/name, or the start of one.")]) -> None:
    """List every published version of a model: which one its name calls, and why the others cannot be called."""
    rows = [row for row in here().gateway.get("/v1/models", all="1")["data"] if str(row["id"]).startswith(name)]
    output.show_table([version_row(row) for row in rows], empty="no model has that name")


def version_row(row: dict[str, Any]) -> dict[str, Any]:
    """A version as a row of `versions`. The gateway lists the one that a name calls by that name alone."""
    family, _, _ = str(row["id"])[1:].partition("@")
    needed = readiness.of(Asked(here(), cid_digest(str(row["cid"])), str(row["id"]))) if not row["ready"] else {}
    return {
        "model": "@" + family,
        "version": row["version"],
        "called": "@" not in str(row["id"])[1:],
        "callable": row["ready"],
        "why": readiness.why(needed) if "missing" in needed else row.get("why", ""),
        "next": needed.get("next", ""),
        "by": row["owned_by"],
        "id": row["cid"],
    }


@app.command("name")
def name(
    model: Model,
    to: Annotated[str, Argument(help="@org/name@version, of an organisation that you speak for.")],
) -> None:
    """Publish a model that you own under one more name, for ever: one that you bought under your own organisation."""
    chosen, subject = names.parse(to), here().resolve(model)
    output.confirm(f"make {chosen} mean {cid(subject)}, for ever{publication.with_stake(chosen.organisation)}?")
    show_model({"name": str(chosen), "id": cid(subject), **publication.take_name(chosen, subject)}, str(chosen))


@app.command("organisation")
def organisation(
    name: Annotated[str, Argument(help="Its name, without the @.")],
    add_key: Annotated[str | None, Option("--add-key", help="Let this wallet or address publish under it.")] = None,
    remove_key: Annotated[str | None, Option("--remove-key", help="Let it no longer.")] = None,
    release: Annotated[bool, Option("--release", help="Give the name up; its stake is owed to you.")] = False,
) -> None:
    """Show who speaks for an organisation, or change it. It is registered with the first name that is published."""
    chain, label = transactions.chain(here()), names.label(name)
    owner = address(chain.view("Registry", "organisationOwner", label))
    if owner == ZERO_ADDRESS:
        raise Rejected(f"nobody has registered @{name}: it is registered with its first model (tollway maker register)")
    sent: dict[str, object] = {}
    for key, valid in ((add_key, True), (remove_key, False)):
        if key is not None:
            output.confirm(f"{'let' if valid else 'no longer let'} {key} publish under @{name}?")
            call = chain.calls.to("Registry", "setOrganisationKey", label, keystore.party(key), valid)
            sent = transactions.send(here(), call)
    if release:
        output.confirm(f"give up @{name}? What was published under it stays.")
        sent = transactions.send(here(), chain.calls.to("Registry", "releaseOrganisation", label))
        owner = ZERO_ADDRESS
    keys = [to_hex(key) for key in chain.organisation_keys(label)]
    output.show({"organisation": name, "owner": to_hex(owner) if owner != ZERO_ADDRESS else "", "keys": keys, **sent})


@app.command("transfer")
def transfer(model: Model, to: Annotated[str, Argument(help="A wallet or 0x address.")]) -> None:
    """Give a model to a new owner. From a later epoch its calls pay the new owner, if that one has a bid in force."""
    party = keystore.party(to)
    subject = here().resolve(model)
    output.confirm(f"give {model} to {to_hex(party)}, for good?")
    call = transactions.chain(here()).calls.to("Registry", "transfer", subject, party)
    sent = transactions.send(here(), call)
    show_model({"model": model, "id": cid(subject), "owner": to_hex(party), **sent}, model)


@app.command("sell")
def sell(
    model: Model,
    price: Annotated[str, Option("--price", help="12.5 or 1500atoms.")],
    to: Annotated[str | None, Option("--to", help="The only buyer: a wallet or 0x address. Default: anybody.")] = None,
    days: Annotated[int, Option("--days", min=1, max=365, help="Days in which it can be bought.")] = 7,
    agreement: Agreement = None,
) -> None:
    """Offer a model for sale: it passes and is paid in one transaction. Your price is then yours to `collect`.

    The offer ends with a change of its owner or its terms. You earn on its calls until the epoch that the sale names.
    """
    atoms, buyer = amounts.parse_some(price), keystore.party(to) if to is not None else ZERO_ADDRESS
    subject, now = here().resolve(model), transactions.now(here())
    final_at, until = becomes_final_at(subject), now + days * 86_400
    if now < final_at:
        output.warn(not_before(model, final_at))
    output.confirm(f"offer {model} to {to or 'anybody'} for {amounts.format(atoms)}?")
    call = transactions.chain(here()).calls.to(
        "Registry", "offerModel", subject, buyer, atoms, until, digest_of_file(agreement)
    )
    facts = {"model": model, "id": cid(subject), "price": amounts.format(atoms), "atoms": str(atoms)}
    sent = transactions.send(here(), call)
    begins = {"from": cells.utc(final_at * 1_000)} if now < final_at else {}
    show_model({**facts, "to": to or "anybody", **begins, "until": cells.utc(until * 1_000), **sent}, model)


@app.command("withdraw-offer")
def withdraw_offer(model: Model) -> None:
    """Take back your offer to sell a model."""
    subject = here().resolve(model)
    output.confirm(f"take back the offer to sell {model}?")
    call = transactions.chain(here()).calls.to("Registry", "withdrawOffer", subject)
    facts = {"model": model, "id": cid(subject), "offer": "withdrawn", **transactions.send(here(), call)}
    show_model(facts, model)


@app.command("buy")
def buy(
    model: Model,
    at_most: Annotated[str, Option("--at-most", help="The most you pay: 12.5 or 1500atoms.")],
    agreement: Agreement = None,
) -> None:
    """Buy a model that its owner offers. It is yours in the transaction that pays for it, or nothing is paid.

    Then bid for it: from the epoch that is shown its calls and its descendants' royalties pay you.
    """
    chain, subject, most = transactions.chain(here()), here().resolve(model), amounts.parse_some(at_most)
    offer = chain.model_offer(subject)
    if offer is None:
        raise Rejected(f"{model} is not for sale: its owner offers it with `tollway maker sell`", model=model)
    check_offer(offer, most, digest_of_file(agreement))
    check_final(subject, model)
    owned = chain.balance(here().account)
    if owned < offer.price:
        raise Rejected(f"{here().wallet} is short by {amounts.format(offer.price - owned)}", price=offer.price)
    output.confirm(f"buy {model} from {to_hex(offer.seller)} for {amounts.format(offer.price)}?")
    transactions.allow(here(), address(chain.deployment.registry), offer.price)
    sent = transactions.send(here(), chain.calls.buy_model(subject, offer))
    facts = {"model": model, "id": cid(subject), "paid": amounts.format(offer.price), "atoms": str(offer.price)}
    earns = {"pays_you_from_epoch": chain.view("Registry", "models", subject)[2]}
    show_model({**facts, "seller": to_hex(offer.seller), **earns, **sent}, model)


def check_offer(offer: "ModelOffer", most: int, agreement: Digest) -> None:
    """Rejected, with the reason, unless this wallet may buy as offered, for at most so many atoms."""
    if offer.price > most:
        raise Rejected(f"its price is {amounts.format(offer.price)}, above --at-most {amounts.format(most)}")
    if offer.buyer not in (ZERO_ADDRESS, here().account):
        raise Rejected(f"it is offered to {to_hex(offer.buyer)} alone")
    if offer.until <= transactions.now(here()):
        raise Rejected(f"its offer expired at {cells.utc(offer.until * 1_000)} UTC: ask its owner for a new one")
    if offer.agreement != agreement:
        named = to_hex(offer.agreement) if offer.agreement != ZERO_DIGEST else "no agreement"
        raise Rejected(f"the offer names {named}: give the file with that Keccak-256 as --agreement, or none")


def check_final(subject: Digest, model: str) -> None:
    """Rejected while an earlier commitment may still take the model over."""
    final_at = becomes_final_at(subject)
    if transactions.now(here()) < final_at:
        raise Rejected(not_before(model, final_at), final_at=final_at)


def becomes_final_at(subject: Digest) -> int:
    """The time from which on no earlier commitment takes a model over, in seconds."""
    chain = transactions.chain(here())
    return int(chain.view("Registry", "models", subject)[1]) + int(chain.view("Registry", "COMMITMENT_LIFE"))


def not_before(model: str, final_at: int) -> str:
    """From when on a model can be bought, and why not before."""
    why = "until then an earlier commitment may take it over"
    return f"{model} can be bought from {cells.utc(final_at * 1_000)} UTC on ({why})"


def digest_of_file(path: Path | None) -> Digest:
    """The Keccak-256 of an agreement; zeros without one."""
    return keccak256(path.read_bytes()) if path is not None else ZERO_DIGEST


@app.command("grant")
def grant(
    model: Model,
    royalty: Annotated[str, Option("--royalty", help="New descendants owe you this share of their price: 10%.")],
    floor: Floor = None,
) -> None:
    """Offer terms to new descendants: later than at its registration, or others than before. Existing ones keep theirs.

    The chain has their hash: give the terms that are shown to whoever wants to derive from your model.

    Example: tollway maker grant @acme/chat --royalty 10% --floor call=1
    """
    offered, subject = granted_royalty(derivative_terms(royalty, floor or [])), here().resolve(model)
    output.confirm(f"let anybody derive from {model} who pays you {words(offered)}?")
    chain = transactions.chain(here())
    sent = transactions.send(
        here(), chain.calls.to("Registry", "changeTerms", *chain.as_parent(subject), offered.digest)
    )
    derive = f"tollway oem derive @ORG/NAME MODEL --parent {model}={words(offered)}"
    facts = {"model": model, "id": cid(subject), "terms": words(offered), "descendants_type": derive, **sent}
    show_model(facts, model)


@app.command("retire")
def retire(model: Model) -> None:
    """Stop offering terms to new descendants. Existing ones keep theirs. Your bid stands until you replace it."""
    subject = here().resolve(model)
    output.confirm(f"retire {model}?")
    chain = transactions.chain(here())
    sent = transactions.send(here(), chain.calls.to("Registry", "changeTerms", *chain.as_parent(subject), bytes(32)))
    show_model({"model": model, "id": cid(subject), "terms": "none for new descendants", **sent}, model)


def interface(protocol: str, tensors: list[str]) -> Document:
    """The interface of a protocol, with its tensors if it is OIP v2."""
    if protocol != Protocol.tensors:
        return {"protocol": protocol}
    sides: dict[str, list[Document]] = {"in": [], "out": []}
    for text in tensors:
        side, name, datatype, shape = (*text.split(":"), "", "", "")[:4]
        if side not in sides or not SHAPE.fullmatch(shape):
            raise Rejected(f"{text!r} is not a tensor: write in:NAME:BYTES:1 or out:NAME:FP32:-1,6")
        sides[side].append({"name": name, "datatype": datatype, "shape": [int(size) for size in shape.split(",")]})
    return {"protocol": Protocol.tensors, "inputs": sides["in"], "outputs": sides["out"]}


def derivative_terms(royalty: str, floor: list[str]) -> Document:
    """The terms offered to descendants. Warns when a floor of 0 lets a descendant pay nothing."""
    rates = amounts.parse_asks(floor)
    if not any(rates):
        output.warn("with a floor of 0 a descendant's own workflow may owe you nothing: add --floor call=1")
    return {"open": True, "royalty_ppm": amounts.parse_ratio(royalty), "floor": quoted(rates)}


def granted_royalty(terms: Document) -> Granted:
    """What these terms grant. Rejected when it is more than any model may ask of its descendants."""
    most = schema("model")["properties"]["derivative_terms"]["properties"]["royalty_ppm"]["maximum"]
    if terms["royalty_ppm"] > most:
        raise Rejected(f"descendants owe at most {amounts.format_ratio(most)}", royalty_ppm=terms["royalty_ppm"])
    return Granted(terms["royalty_ppm"], rates(terms["floor"]))


def words(royalty: Granted) -> str:
    """Terms as they are typed: `10%,call=1`."""
    floors = [f"{meter}={atoms}" for meter, atoms in quoted(royalty.floor).items()]
    return ",".join([amounts.format_ratio(royalty.ratio_ppm), *floors])


add_payee(app, Role.maker)
add_owners_order(app, Role.maker)
add_collect(app)
