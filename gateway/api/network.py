"""The network: documents, offers, realms, discovery, quotes, the lane and the book of bids."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlmodel import Session

from gateway import bounds
from gateway.api import quotes
from gateway.api.dependencies import Anybody, Here, Seen, caller_of, seen_by, shows_credentials
from gateway.api.dependencies import party as party_of
from gateway.api.discovery import discover
from gateway.api.representations import domain_fields
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import MAX_INT
from gateway.api.schemas.openapi import Typed, body, fields, of_types, schema
from gateway.asgi import Sender
from gateway.catalog import credentials
from gateway.catalog.catalog import Catalog, ModelEntry
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import require
from gateway.upstream import target
from gateway.upstream.guard import Guard, NotLookedUp
from gateway.workflow.wasm import MAX_MODULE_BYTES
from ledger.core.accounts.accounts import CUSTODY
from ledger.core.accounts.permissions import Act, Subject
from ledger.core.catalog import models, realms
from ledger.core.catalog.bids import Role
from ledger.core.catalog.models import Offer
from ledger.core.pricing import eligibility, epochs, sponsors
from ledger.core.pricing.epochs import Book
from ledger.core.values import documents as canon
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Document
from ledger.core.values.ids import Address, address, cid, cid_digest, digest, parse_did, to_hex
from ledger.core.values.meters import quoted
from ledger.flows import credits, publications
from ledger.flows.publications import Signed
from ledger.store.chain import bids, lanes
from ledger.store.money import postings
from ledger.store.network import documents, offers
from ledger.store.network import realms as lists

router = APIRouter(prefix="/v1", tags=["network"], route_class=Typed)

GLUE = "application/wasm"
TEXT = {"type": "string"}
PUBLISHED = body(fields({"document": {"oneOf": [schema("model"), schema("capsule")]}, "signature": TEXT}), GLUE)
SECRET = fields({"offer": schema("offer"), "credentials": {"type": "object"}, "salt": TEXT})
OFFER = body({"oneOf": [schema("offer"), SECRET]})

MAX_DOCUMENT_BYTES = 256 * 1024
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""


async def _read_document(request: Request) -> Document:
    """The request's body as a document. Rejected when it has floats or duplicate keys, or is too long."""
    return canon.parse(await _read_body(request, MAX_DOCUMENT_BYTES))


async def _read_body(request: Request, most: int) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Refusal(413, "body_too_large", f"a document has at most {most} bytes")
    return body


@router.post(
    "/documents",
    status_code=201,
    openapi_extra=PUBLISHED,
    response_model=answers.Published,
)
async def publish(request: Request, gateway: Here) -> dict[str, Any]:
    """Publish {"document": ..., "signature": ...}: a model document or a capsule that its owner signed. Or publish a
    capsule's glue (application/wasm), as an account. The id is the hash of the content: publishing again changes
    nothing.
    """
    if request.headers.get("content-type", "") == GLUE:
        module = await _read_body(request, MAX_MODULE_BYTES)
        caller = await caller_of(request, gateway, module)
        require(caller, Act.publish, Subject(caller.consumer))
        glue = await gateway.workshop.do(partial(gateway.workshop.load, module))
        gateway.workshop.check(glue)
        made = await gateway.aside(
            lambda session: publications.publish_glue(session, module, caller.consumer, now_ms())
        )
        return {"id": cid(made), "digest": f"sha256:{made.hex()}", "size": len(module), "exports": sorted(glue.shapes)}
    document, signature = _signed_document(await _read_document(request))
    signed = Signed(document, signature)
    made = await gateway.aside(lambda session: publications.publish_document(session, signed, gateway.domain, now_ms()))
    await gateway.read_book()
    return {"id": cid(made), "digest": to_hex(made), "name": document["name"]}


def _signed_document(body: Document) -> tuple[Document, bytes]:
    """A document and its owner's signature."""
    document, signature = body.get("document"), body.get("signature")
    if not isinstance(document, dict) or not isinstance(signature, str) or body.keys() - {"document", "signature"}:
        message = 'send {"document": ..., "signature": "0x..."}, signed by the document\'s owner'
        raise Refusal(400, "rejected", message, param="signature")
    try:
        return document, bytes.fromhex(signature.removeprefix("0x"))
    except ValueError as error:
        raise Refusal(400, "rejected", f"the signature is not hex: {error}", param="signature") from error


@router.get("/documents/{document_id}", response_class=Response, responses=of_types("application/json", GLUE))
async def show_document(document_id: str, gateway: Here, catalog: Seen) -> Response:
    """A document's canonical bytes: their sha256 is the id. `Tollway-Signature` is its owner's.

    That of a model or workflow that is there in a realm only is shown to its members.
    """
    found = await gateway.aside(lambda session: documents.get(session, cid_digest(document_id)))
    if found is None or (found.kind != "glue" and not catalog.may_show(found.id, gateway.catalog)):
        raise Refusal(404, "no_such_document", f"there is no document {document_id}")
    kind = GLUE if found.kind == "glue" else "application/json"
    headers = {"cache-control": "public, immutable"}
    if found.signature is not None:
        headers["tollway-signature"] = to_hex(found.signature)
    return Response(found.body, media_type=kind, headers=headers)


@router.post("/offers", status_code=201, openapi_extra=OFFER, response_model=answers.Offered)
async def offer(request: Request, gateway: Here) -> dict[str, Any]:
    """Publish a party's signed offer, or withdraw it by one that says `withdrawn`: `ended` says whether one was in
    force. It replaces the party's offer with a lower nonce; the same one again changes nothing. If its server wants
    credentials: {"offer": ..., "credentials": {header: value}, "salt": "0x..."}, of which the offer's
    `serve.credentials` is the hash: keccak256(salt | canonical JSON).
    """
    document, headers = _read_offer(await _read_document(request))
    canon.validate(document, "offer")
    said = models.offer(document, gateway.domain)  # is it signed? A name is looked up for its party only
    if not _may_promote(gateway.catalog, said):
        raise publications.unknown(said.subject)
    if "serve" in document:
        server = target.parse(document["serve"]["url"])
        if server.scheme != target.TUNNEL:
            await check_reachable(gateway, gateway.upstream.guard, server, request)
    credential = None
    if headers:
        provider, subject = parse_did(document["party"])[1], cid_digest(document["subject"])
        credential = credentials.encrypt(gateway.settings.secret, provider, subject, credentials.lines(headers))
    epoch = gateway.catalog.epoch

    def take(session: Session) -> tuple[Offer, bool, str]:
        offered, changed = publications.publish_offer(session, document, gateway.domain, epoch, credential, now_ms())
        _check_memory(gateway, offered)  # after its party is known to belong to the realm it names
        if gateway.private and changed and not offered.withdrawn and not sponsors.is_order(offered):
            credits.place_bid(session, offered, epoch, now_ms())
        if not sponsors.is_order(offered) or offered.withdrawn:
            return offered, changed, ""
        name = publications.promoted(session, offered.subject, gateway.domain, epoch).name
        said = sponsors.said(publications.ordered(offered), name, ends_at(gateway, offered.until))
        return offered, changed, said

    made, changed, order = await gateway.aside(take)
    await gateway.read_book()
    shown = {"subject": cid(made.subject), "party": to_hex(made.party)}
    if made.withdrawn:
        return {**shown, "withdrawn": True, "ended": changed}
    return {**shown, "expires_epoch": made.until} | ({"order": order} if order else {})


@router.get("/offers/{subject}/{party}", response_model=answers.Offered)
async def show_offer(subject: str, party: str, gateway: Here, catalog: Seen) -> dict[str, Any]:
    """Whether a provider's offer to serve a model stands: for everybody, or in the realm that the request names."""
    model, provider = cid_digest(subject), party_of(party)
    found = await gateway.aside(lambda session: offers.get(session, model, provider, Role.compute))
    if found is None or found.expires_at <= catalog.epoch or not catalog.may_know_of(found.realm):
        raise Refusal(404, "no_such_offer", f"{party} has no standing offer to serve {subject}")
    return {"subject": cid(model), "party": to_hex(provider), "expires_epoch": found.expires_at}


def _check_memory(gateway: Gateway, offered: Offer) -> None:
    """Rejected when a model needs more memory than an offer's node has. One that is not in the catalog yet is checked
    when it comes there; one that is there for members only, for members only.
    """
    at = offered.serving if not offered.withdrawn else None
    if at is None or at.memory_mb is None:
        return
    for catalog in (gateway.catalog, gateway.catalog.inside.get(at.realm)):
        entry = catalog.by_id.get(offered.subject) if catalog is not None else None
        if isinstance(entry, ModelEntry):
            eligibility.check_memory(entry.model, at.memory_mb)


def _may_promote(public: Catalog, offer: Offer) -> bool:
    """Whether an offer is none to sponsor, or its party may know of what it sponsors: a realm is its members' alone."""
    if not sponsors.is_order(offer) or offer.subject in public.by_id:
        return True
    inside = [(realm, inner) for realm, inner in public.inside.items() if offer.subject in inner.by_id]
    return any(realms.is_listed(realm, inner.members, offer.party) for realm, inner in inside)


def ends_at(gateway: Gateway, epoch: int) -> str:
    """When an epoch begins, and what was in force before it ends."""
    at = epoch * gateway.calendar.epoch_seconds
    return datetime.fromtimestamp(min(at, LAST_SECOND), UTC).strftime("%Y-%m-%d %H:%M UTC")


async def check_reachable(
    gateway: Gateway, guard: Guard, server: target.Target, request: Request, param: str = "serve"
) -> None:
    """Refused unless a guard lets the gateway call a server at all, as its name says now. When names of others wait for
    silent servers the offer is taken unseen: whoever is called is looked up, and checked, before each connection.
    """
    sender: Sender = request.scope["state"]["sender"]
    headers = {name.lower(): value for name, value in request.headers.raw}
    address = gateway.connections.addresses.of_request(sender.address, headers)
    try:
        async with asyncio.timeout(bounds.FETCH_SECONDS):
            await guard.resolve(server.host, server.port, address)
    except NotLookedUp:
        return
    except TimeoutError:
        message = f"the host {server.host!r} was not resolved within {bounds.FETCH_SECONDS:g} s"
        raise Refusal(400, "rejected", message, param=param) from None


def _read_offer(body: Document) -> tuple[Document, dict[str, str]]:
    """An offer, and the credentials that come with it. Refused unless they are those that the offer's party signed."""
    offer = body.get("offer", body)
    if not isinstance(offer, dict):
        raise Refusal(400, "rejected", "`offer` is an offer", param="offer")
    for unknown in sorted(body.keys() - {"offer", "credentials", "salt"} if offer is not body else ()):
        raise Refusal(400, "rejected", f"unknown field {unknown!r}", param=unknown)
    serve = offer.get("serve")
    signed = serve.get("credentials") if isinstance(serve, dict) else None
    given, salt = (body.get("credentials"), body.get("salt")) if offer is not body else (None, None)
    if given is None and signed is None:
        return offer, {}
    if not isinstance(given, dict) or not isinstance(salt, str) or not all(isinstance(v, str) for v in given.values()):
        raise Refusal(
            400, "invalid_credentials", "credentials are an object of texts, with their salt of 32 bytes in hex"
        )
    if signed != to_hex(models.credentials_hash(digest(salt), given)):
        message = "the offer's party did not sign these credentials: `serve.credentials` is their hash with the salt"
        raise Refusal(400, "invalid_credentials", message, param="credentials")
    return offer, given


@router.post(
    "/realms",
    status_code=201,
    openapi_extra=body(schema("realm")),
    response_model=answers.RealmMembers,
)
async def publish_realm(request: Request, gateway: Here) -> dict[str, Any]:
    """Publish the list of a realm's members, signed by its owner, in place of the one with a lower nonce. Who is not on
    it any more is refused here at once, at the lane's other gateways within GATEWAY_BOOK_SECONDS.
    """
    document = await _read_document(request)
    members = await gateway.aside(
        lambda session: publications.publish_realm(session, document, gateway.domain, now_ms())
    )
    await gateway.read_book()
    return {"realm": members.realm, "members": len(members.accounts), "expelled": len(members.expelled)}


@router.get("/realms/{owner}/{name}", response_class=Response, responses=of_types("application/json"))
async def show_realm(owner: str, name: str, gateway: Here, caller: Anybody) -> Response:
    """A realm's list, for its owner: by its signature, or a key of it with `manage`."""
    realm = f"{owner}/{name}"
    missing = Refusal(404, "no_such_realm", f"there is no realm {realm!r} of yours: tollway realm make NAME")
    if not realms.is_name(realm):
        raise missing
    require(caller, Act.read_account, Subject(realms.owner_of(realm)), hidden=missing)
    found = await gateway.aside(lambda session: lists.get(session, realm))
    if found is None:
        raise missing
    return Response(found.body, media_type="application/json")


@router.post(
    "/discover",
    openapi_extra=body(schema("discover", "request")),
    response_model=answers.Discovered,
)
async def find(request: Request, gateway: Here) -> dict[str, Any]:
    """Models that can do a task, priced for the expected meters; what is missing when there are none."""
    body = await _read_body(request, MAX_DOCUMENT_BYTES)
    wanted = canon.parse(body)
    canon.check(wanted, "discover", "request")
    caller = await caller_of(request, gateway, body) if shows_credentials(request) else None
    catalog = await seen_by(request, gateway, caller)
    surface = request.headers.get("tollway-surface")
    shown_by = address(surface) if surface else gateway.operator
    return await discover(gateway, catalog, wanted, caller, shown_by, now_ms())


@router.post("/quote", openapi_extra=body(quotes.SCHEMA), response_model=answers.Quote)
async def quote(request: Request, gateway: Here, catalog: Seen) -> dict[str, Any]:
    """A signed quote: what a call of a model with these meters costs now, line by line."""
    return await quotes.quote(gateway, catalog, await _read_document(request), now_ms())


@router.get("/lane", response_model=answers.Lane)
async def lane(gateway: Here) -> dict[str, Any]:
    """This gateway's lane: its chain and contracts, operator, signer, epoch, window and bond."""
    state, rules = gateway.lane_state, gateway.deployment
    found = state.terms

    def ask(session: Session) -> tuple[Atoms, list[Address]]:
        custody = postings.balances(session, gateway.lane, [CUSTODY])[CUSTODY]
        return custody, sorted(lanes.signing_gateways(session, gateway.lane))

    held, keys = await gateway.aside(ask)
    return {
        "chain_id": gateway.domain.chain_id,
        "lane": to_hex(gateway.lane),
        "deployment": asdict(rules) if rules is not None else {},
        "operator": to_hex(gateway.operator),
        "signer": to_hex(gateway.signer.address),
        "treasury": to_hex(gateway.treasury),
        "domain": domain_fields(gateway),
        "epoch": gateway.catalog.epoch,
        "epoch_seconds": gateway.calendar.epoch_seconds,
        "window": found.window if found else None,
        "answer_time": found.answer_time if found else None,
        "leverage": found.leverage if found else None,
        "min_deposit": str(found.min_deposit) if found else "0",
        "stake_per_call": str(gateway.settings.kappa_atoms),
        "bond": str(found.bond) if found else None,
        "active": found.active if found else True,
        "era": found.era if found else None,
        "exit_notice": rules.exit_notice_seconds if rules else 0,
        "gateway_number": state.number,
        "gateways": [to_hex(key) for key in keys],
        "at_stake": {
            "charged": str(state.at_stake.charged),
            "leased": str(state.at_stake.leased),
            "limit": str(state.at_stake.limit),
        },
        "serves": gateway.refusal() is None,
        "custody": str(held),
        "rpc": gateway.settings.rpc_hint or None,
        "url": gateway.settings.public_url or None,
        "time": datetime.fromtimestamp(gateway.now_ms() / 1_000, UTC).isoformat(),
    }


@router.get("/book", response_model=answers.BidBook)
async def book(
    gateway: Here,
    epoch: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None,
    offset: Annotated[int, Query(ge=0, le=MAX_INT, description="bids to leave out at the beginning")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="the most bids of an answer")] = 1000,
) -> dict[str, Any]:
    """A page of the bids in force in this epoch, or in an earlier one, and the root of all of them."""
    wanted = gateway.catalog.epoch if epoch is None else epoch

    def read(session: Session) -> Book:
        return bids.book(session, wanted) or epochs.freeze(bids.placed_until(session, wanted), wanted)

    found = await gateway.aside(read)
    rows = [
        {
            "subject": to_hex(row.subject),
            "role": row.role.name,
            "party": to_hex(row.party),
            "ratio_ppm": row.bid.ratio_ppm,
            "ask": quoted(row.bid.asks),
            "from_epoch": row.first,
            "until_epoch": row.until if row.until != epochs.NEVER else None,
        }
        for row in found.rows[offset : offset + limit]
    ]
    more = offset + limit < len(found.rows)
    following = f"/v1/book?epoch={wanted}&offset={offset + limit}&limit={limit}" if more else None
    shown = {"epoch": found.epoch, "root": to_hex(found.root), "bids": rows}
    return {**shown, "total_count": len(found.rows), "links": {"next": following}}
