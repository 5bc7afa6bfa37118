"""A private grid with makers, providers and consumers, and gateways over it: what the gateway's tests live in."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy import Engine
from sqlmodel import Session

from gateway.app import App, create_app
from gateway.context import Gateway
from gateway.server import OPTIONS
from gateway.settings import Settings
from ledger.core.accounts import accounts, movements
from ledger.core.catalog import models, names, realms
from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.lineage import Parent, parents_hash
from ledger.core.pricing.epochs import BidInForce
from ledger.core.settlement.events import Block, Log, ModelRegistered, NamePublished, OrganisationChanged
from ledger.core.values.documents import canonical, digest
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, Address, Digest, Lane, cid, did, parse_did, to_hex
from ledger.core.values.meters import NO_RATES, Rates, rates
from ledger.core.values.typed_data import (
    Domain,
    Signer,
    Voucher,
    document_hash,
    offer_hash,
    signing_digest,
    voucher_hash,
)
from ledger.deployments import Deployment
from ledger.flows import publications
from ledger.flows.publications import Signed
from ledger.settings import Settings as LedgerSettings
from ledger.store.chain import bids, chain_time, lanes, mirror, parties
from ledger.store.chain.parties import Stake
from ledger.store.money import postings
from ledger.store.receipts import receipts
from ledger.store.receipts.receipts import Signed as SignedReceipt
from ledger.store.session import unit_of_work
from roles.client import credentials
from roles.client.gateway import Sign
from tests.gateway import conformity

DOMAIN = Domain()
EPOCH_SECONDS = 3600
CHAIN, SETTLEMENT, TOKEN = 31337, Address(b"\x51" * 20), Address(b"\x70" * 20)


SIGNERS: dict[Address, Signer] = {}
"""Every party made so far: what it owns is published under its signature."""


def a_signer(name: str) -> Signer:
    """A party by name."""
    made = Signer(keccak256(b"test", name.encode()))
    return SIGNERS.setdefault(made.address, made)


MAKER, PROVIDER, OPERATOR, WEAVER = (a_signer(name) for name in ("maker", "provider", "operator", "weaver"))


def a_deployment(**chosen: int | str) -> Deployment:
    """The contracts of a chain, as far as a gateway can tell."""
    known = {"settlement": SETTLEMENT, "token": TOKEN, "treasury": Address(b"\x33" * 20)}
    names = ("consumers", "keys", "questions", "referee", "price_judge", "stake_vault", "bid_book", "registry")
    others = dict.fromkeys(names, to_hex(Address(b"\x44" * 20)))
    addresses = {name: to_hex(one) for name, one in known.items()} | others
    numbers = {"epoch_seconds": EPOCH_SECONDS, "freeze_seconds": 0, "exit_notice_seconds": 0, "day_seconds": 86_400}
    numbers |= {"min_bond_atoms": 1, "max_leverage": 4, "min_window_seconds": 1, "min_answer_seconds": 1}
    numbers |= {"question_floor_wei": 1, "data_fee_wei": 0, "name_stake_atoms": 1, "block": 0}
    names_of_token = {"token_name": "AI Coin", "token_version": "1", "token_symbol": "AIC", "token_decimals": 9}
    values: dict[str, Any] = {"chain_id": CHAIN, **addresses, **numbers, **names_of_token, **chosen}
    return Deployment(**values)


def epoch_now() -> int:
    """The private grid's epoch."""
    return int(time.time()) // EPOCH_SECONDS


def a_model(name: str = "@acme/chat", protocol: str = "openai.chat/1", **more: Any) -> dict[str, Any]:
    """A model document of the maker. It may speak several protocols, with spaces between them."""
    interfaces: list[dict[str, Any]] = [{"protocol": one} for one in protocol.split()]
    for interface in interfaces:
        if interface["protocol"] == "oip/2":
            interface |= {
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}],
                "outputs": [{"name": "label", "datatype": "BYTES", "shape": [1]}],
            }
    task = "text-generation" if "openai.chat/1" in protocol else "text-classification"
    modes = {"input_modes": ["text/plain"], "output_modes": ["text/plain"]}
    return {
        "schema": "tollway/model/1",
        "kind": "endpoint",
        "name": name,
        "version": "1.0.0",
        "owner": did(0, MAKER.address),
        "lineage": [],
        "capabilities": [{"task": task, "skill": task, "languages": ["en"], **modes}],
        "interfaces": interfaces,
        "execution": {"runtime": "test", "determinism": "none"},
        "meters": ["call", "input_token", "output_token"],
        **more,
    }


@dataclass
class World:
    """The shared database, and helpers that put things into it the way their owners would."""

    engine: Engine
    url: str
    placed: int = 0
    running: list[Running] = field(default_factory=list)
    parents: dict[Digest, Sequence[Parent]] = field(default_factory=dict)
    deployment: Path | None = None
    """Set: the world is a lane of a chain, as far as a gateway can tell."""

    @property
    def chain_id(self) -> int:
        """0 for a private grid."""
        return CHAIN if self.deployment else 0

    @property
    def lane(self) -> Lane:
        """The lane's id."""
        return PRIVATE_LANE

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return Domain(CHAIN, SETTLEMENT) if self.deployment else DOMAIN

    def publish(self, document: dict[str, Any]) -> Digest:
        """A document, published by its owner."""
        owner = SIGNERS[parse_did(document.get("owner") or document["weaver"])[1]]
        signed = Signed(document, owner.sign(signing_digest(self.domain, document_hash(digest(document)))))
        with unit_of_work(self.engine) as session:
            if self.deployment:
                self._register(session, document, owner.address)
            return publications.publish_document(session, signed, self.domain, int(time.time() * 1000))

    def _register(self, session: Session, document: dict[str, Any], owner: Address) -> None:
        """What the Registry says of a document that its owner published under its name."""
        self.placed += 1
        name, made = names.of_document(document), digest(document)
        self.parents[made] = models.parents(document)
        lineage = parents_hash(made, self.parents)
        parties.put_model(session, ModelRegistered(made, owner, (), made, lineage=lineage), 1)
        label = names.label(name.organisation)
        for event in (OrganisationChanged(label, owner), NamePublished(label, name.versioned, made)):
            mirror.copy(session, Log(event, 1, made, self.placed, 0))

    def bid(self, subject: Digest, role: Role, party: Address, ratio: int = 0, asks: Rates = NO_RATES) -> None:
        """A bid in force."""
        epoch = epoch_now()
        self.placed += 1
        placed = BidInForce(subject, role, party, Bid(ratio, asks), epoch - 1, epoch + 20)
        with unit_of_work(self.engine) as session:
            bids.place(session, placed, 0, self.placed)

    def offer(self, subject: Digest, url: str, provider: Signer = PROVIDER, **serve: Any) -> dict[str, Any]:
        """A signed offer document."""
        epoch = epoch_now()
        body = {
            "schema": "tollway/offer/1",
            "subject": cid(subject),
            "party": did(self.chain_id, provider.address),
            "role": "compute",
            "bid": {"ratio_ppm": 0, "ask": {}},
            "serve": {"url": url, "tier": "center", "capacity": 8, **serve},
            "valid_from_epoch": epoch,
            "expires_epoch": epoch + 20,
            "nonce": int(time.time() * 1000),
            "chain_id": self.chain_id,
        }
        signature = provider.sign(signing_digest(self.domain, offer_hash(digest(body))))
        return {**body, "signature": to_hex(signature)}

    def serve(
        self,
        subject: Digest,
        url: str,
        ask: dict[str, str] | None = None,
        provider: Signer = PROVIDER,
        maker_ppm: int = 100_000,
        **serve: Any,
    ) -> None:
        """The maker's bid, a provider's bid, and its offer."""
        self.bid(subject, Role.maker, MAKER.address, maker_ppm)
        self.bid(subject, Role.compute, provider.address, 0, rates({"call": "100"} if ask is None else ask))
        document = self.offer(subject, url, provider, **serve)
        with unit_of_work(self.engine) as session:
            publications.publish_offer(session, document, self.domain, epoch_now(), None, int(time.time() * 1000))
            parties.put_stake(session, Stake(provider.address, 10**9))

    def a_model_at(self, url: str, name: str = "@acme/chat", ask: dict[str, str] | None = None, **more: Any) -> Digest:
        """A published model that the provider serves at `url`."""
        subject = self.publish(a_model(name, owner=did(self.chain_id, MAKER.address), **more))
        self.serve(subject, url, ask)
        return subject

    def realm(self, owner: Signer, *members: Signer, name: str = "inside", expelled: Sequence[Signer] = ()) -> str:
        """A realm's list, published by its owner; the realm's name."""
        document = a_realm(owner, *members, name=name, expelled=expelled, domain=self.domain)
        with unit_of_work(self.engine) as session:
            return publications.publish_realm(session, document, self.domain, int(time.time() * 1000)).realm

    def deposit(self, consumer: Address, amount: int) -> None:
        """The operator's credit entry."""
        with unit_of_work(self.engine) as session:
            cause = b"test deposit" + os.urandom(8)
            postings.book(session, movements.deposit(PRIVATE_LANE, cause, consumer, amount, 1))

    def open_lane(self, **terms: Any) -> None:
        """The lane as the chain has it: bonded, and its last block of just now."""
        known = {"window": 86_400, "answer_time": 14_400, "bond": 10**12, **terms}
        now = int(time.time())
        with unit_of_work(self.engine) as session:
            lanes.put(session, lanes.Lane(self.lane, OPERATOR.address, **known))
            chain_time.advance(session, Block(1, Digest(b"\x01" * 32), now), now * 1_000)

    def add_gateway(self, key: Address) -> None:
        """A number for a gateway's key, by the lane's operator."""
        with unit_of_work(self.engine) as session:
            number = len(lanes.gateways(session, self.lane)) + 1
            if key not in lanes.gateways(session, self.lane):
                lanes.put_gateway(session, self.lane, key, number)

    def balance(self, consumer: Address) -> int:
        """Available, as booked."""
        with unit_of_work(self.engine) as session:
            return postings.balance(session, PRIVATE_LANE, accounts.available(consumer))

    def receipts_of(self, consumer: Address) -> list[SignedReceipt]:
        """A consumer's receipts, newest first."""
        with unit_of_work(self.engine) as session:
            return receipts.of_consumer(session, PRIVATE_LANE, consumer)

    def gateway(self, name: str = "gateway-1", host: str = "127.0.0.1", **settings: Any) -> Running:
        """A gateway, started."""
        chosen = {
            "signing_key": to_hex(keccak256(b"gateway key", name.encode())),
            "operator": to_hex(OPERATOR.address),
            "allowed_networks": "127.0.0.0/8",
            "webhook_networks": "127.0.0.0/8",
            "key_seconds": 0.2,
            "book_seconds": 0.2,
            "first_byte_seconds": 3,
            "connect_seconds": 1,
            "idle_stream_seconds": 3,
            "idle_seconds": 60,
            "secret": "11" * 32,
            **settings,
        }
        if self.deployment:
            self.add_gateway(Signer(bytes.fromhex(str(chosen["signing_key"])[2:])).address)
        running = Running(self, Settings.model_validate(chosen), host).start()
        self.running.append(running)
        return running

    def stop(self) -> None:
        """Stop every gateway."""
        for running in self.running:
            running.stop()


class Signing(httpx.Auth):
    """Signs each request as an account."""

    requires_request_body = True

    def __init__(self, sign: Sign) -> None:
        self._sign = sign

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        """The request, signed."""
        request.headers["Tollway-Account"] = self._sign(request.method, request.url.raw_path, request.content)
        yield request


class Running:
    """A gateway in a thread, behind uvicorn, as it is in a process of its own."""

    def __init__(self, world: World, settings: Settings, host: str = "127.0.0.1") -> None:
        place = {"database_url": world.url, "lane": world.lane, "deployment": world.deployment}
        ledger = LedgerSettings.model_validate(place)
        self.world = world
        self.app: App = create_app(settings, ledger)
        config = uvicorn.Config(self.app, host=host, port=0, log_level="warning", **OPTIONS)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def start(self) -> Running:
        """Listen."""
        conformity.document()  # now, and not while a test measures something
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            if not self.thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the gateway did not start")
            time.sleep(0.01)
        self.port = int(self.server.servers[0].sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30, event_hooks={"response": [conformity.check]})
        return self

    @property
    def gateway(self) -> Gateway:
        """What runs."""
        found = self.app.running.gateway
        assert found is not None
        return found

    def stop(self) -> None:
        """Drain and stop."""
        self.server.should_exit = True
        self.thread.join(30)
        self.http.close()

    def send_no_probes(self) -> Running:
        """From now on a node's failures are those of calls alone: no probe of ours comes between two of them."""
        for health in self.gateway.loader.records().values():
            health.probed_at = 10**15
        return self

    def key(self, consumer: Signer, cum_max: int = 10**12, **limits: Any) -> str:
        """An API key behind a voucher."""
        response = self.http.post("/v1/keys", json={"voucher": self.voucher(consumer, cum_max), **limits})
        assert response.status_code == 201, response.text
        return str(response.json()["key"])

    def of(self, account: Signer) -> httpx.Client:
        """A client that signs each request as an account."""
        sign = credentials.request(account, self.world.domain, self.world.lane)
        hooks = {"response": [conformity.check]}
        return httpx.Client(base_url=self.url, timeout=30, auth=Signing(sign), event_hooks=hooks)

    def voucher(self, consumer: Signer, cum_max: int) -> dict[str, Any]:
        """A signed voucher for this lane."""
        return a_voucher(consumer, cum_max, self.world.lane, domain=self.world.domain)

    def chat(self, key: str, model: str = "@acme/chat", *, text: str = "hi", **more: Any) -> httpx.Response:
        """One chat call. Arguments that begin with `header_` become headers."""
        headers = {"Authorization": f"Bearer {key}"}
        headers |= {
            name[7:].replace("_", "-"): str(more.pop(name)) for name in list(more) if name.startswith("header_")
        }
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50, **more}
        return self.http.post("/v1/chat/completions", content=json.dumps(body), headers=headers)


def a_voucher(
    consumer: Signer, cum_max: int, lane: Lane = PRIVATE_LANE, signer: Signer | None = None, domain: Domain = DOMAIN
) -> dict[str, Any]:
    """A signed voucher as JSON."""
    hashed = voucher_hash(Voucher(lane, consumer.address, cum_max))
    signature = (signer or consumer).sign(signing_digest(domain, hashed))
    row = {"lane": to_hex(lane), "account": to_hex(consumer.address), "cum_max": str(cum_max)}
    return {**row, "signature": to_hex(signature)}


def a_realm(
    owner: Signer, *members: Signer, name: str = "inside", expelled: Sequence[Signer] = (), domain: Domain = DOMAIN
) -> dict[str, Any]:
    """The signed list of a realm's members."""
    body = {
        "schema": "tollway/realm/1",
        "realm": f"{to_hex(owner.address)}/{name}",
        "members": [to_hex(one.address) for one in members],
        "expelled": [to_hex(one.address) for one in expelled],
        "nonce": time.time_ns() // 1_000_000,
        "chain_id": domain.chain_id,
    }
    return {**body, "signature": to_hex(owner.sign(signing_digest(domain, realms.list_hash(body))))}


def events_of(body: str) -> list[Any]:
    """The data of a stream's events, decoded; `[DONE]` as it is."""
    rows = [line[6:] for line in body.split("\n") if line.startswith("data: ")]
    return [row if row == "[DONE]" else json.loads(row) for row in rows]


def code_of(said: Any) -> str:
    """The code of an error: of OpenAI's object, or beside the text of the Open Inference Protocol."""
    error = said["error"]
    return str(said["code"] if isinstance(error, str) else error["code"])


__all__ = ["Running", "World", "a_model", "a_signer", "a_voucher", "asyncio", "canonical", "code_of", "events_of"]
