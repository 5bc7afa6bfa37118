"""`tollway provider`: serve models, at home or in a data centre, and be paid per call."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.core.bids import Role
from ledger.core.documents import Document
from ledger.core.errors import TollwayError
from ledger.core.ids import Digest, cid, did
from ledger.core.meters import quoted
from roles import naming, node, output, previews, signing
from roles.command import Group, Surroundings, here
from roles.payee import Ask, Subject, payee_commands, place_bid, staking_commands

app = Group("Serve models, at home or in a data centre, and be paid per call.")

staking_commands(app, "calls are routed to you in proportion to it")
payee_commands(app, Role.compute)

Tier = Annotated[str, typer.Option(help="center, enterprise, or edge for a home.")]
Capacity = Annotated[int, typer.Option(help="Calls it can serve at once.")]
Realm = Annotated[str, typer.Option(help="A private grid's name; empty for everybody.")]
Slo = Annotated[int, typer.Option("--slo-ms", help="Later than this costs you calls.")]
OFFER_EPOCHS = 2
REFRESH_SECONDS = 30
RETRY_SECONDS = 1


@app.verb("offer")
def offer(
    subject: Annotated[str, typer.Argument(help="A model: @org/name, or its id.")],
    url: Annotated[str, typer.Option(help="Where the gateway reaches your node.")],
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
) -> None:
    """Say once where a model is served: signed, and good for two epochs. `serve` keeps it fresh by itself."""
    signed = signed_offer(here(), naming.resolve(here().door, subject), url, tier, capacity, realm, slo_ms)
    output.tell({"subject": subject, "url": url, "tier": tier, **here().door.post("/v1/offers", signed)})


@app.verb("deliver")
def deliver(subject: Subject, ask: Ask = None) -> None:
    """Bid to deliver a model's data: bandwidth and storage, paid per byte."""
    place_bid(naming.resolve(here().door, subject), Role.delivery, subject, ask or [], "0ppm")


@app.verb("serve")
def serve(
    models: Annotated[list[str], typer.Argument(help="FOLDER=@org/name: a model's folder, and what it is sold as.")],
    host: Annotated[str, typer.Option(help="To listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 0,
    public_url: Annotated[str, typer.Option(help="Where the gateway reaches it; default: host and port.")] = "",
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
) -> None:
    """Run a node: load the models, listen, keep the offers fresh, serve until Ctrl-C, drain."""
    served = [split(text) for text in models]
    surroundings = here()
    signer = surroundings.signer
    assert signer.address == surroundings.account

    def announce(port: int) -> None:
        url = public_url or f"http://{host}:{port}"
        output.aside().print(f"serving {', '.join(name for _, name in served)} at {url}")
        loop = threading.Thread(
            target=keep_fresh,
            args=(surroundings, [name for _, name in served], url, tier, capacity, realm, slo_ms),
            daemon=True,
        )
        loop.start()

    node.serve(served, host, port, ready=announce)


def split(text: str) -> tuple[Path, str]:
    """A folder and the name it is sold as."""
    folder, _, name = text.partition("=")
    return Path(folder), name or Path(folder).name


def keep_fresh(
    surroundings: Surroundings, names: list[str], url: str, tier: str, capacity: int, realm: str, slo_ms: int
) -> None:
    """Post the offers again and again, for as long as the node lives. A gateway that is away is asked again."""
    while True:
        taken = True
        for name in names:
            try:
                subject = naming.resolve(surroundings.door, name)
                signed = signed_offer(surroundings, subject, url, tier, capacity, realm, slo_ms)
                surroundings.door.post("/v1/offers", signed)
                output.aside().print(f"offered {name} until epoch {signed['expires_epoch']}")
            except TollwayError as error:
                output.aside().print(f"offer of {name} not taken: {error.message}")
                taken = False
        time.sleep(REFRESH_SECONDS if taken else RETRY_SECONDS)


def signed_offer(
    surroundings: Surroundings, subject: Digest, url: str, tier: str, capacity: int, realm: str, slo_ms: int
) -> Document:
    """An offer of this wallet with the bid it has on chain, signed."""
    lane = surroundings.door.get("/v1/lane")
    epoch, chain = int(lane["epoch"]), int(lane["chain_id"])
    standing = previews.standing(surroundings, subject, Role.compute, surroundings.account)
    bid = (
        {"ratio_ppm": standing.bid.ratio_ppm, "ask": quoted(standing.bid.asks)}
        if standing
        else {"ratio_ppm": 0, "ask": {}}
    )
    serving = {"url": url, "tier": tier, "capacity": capacity, "slo_ms": slo_ms, **({"realm": realm} if realm else {})}
    document: Document = {
        "schema": "tollway/offer/1",
        "subject": cid(subject),
        "party": did(chain, surroundings.account),
        "role": Role.compute.name,
        "bid": bid,
        "serve": serving,
        "valid_from_epoch": epoch,
        "expires_epoch": epoch + OFFER_EPOCHS,
        "nonce": int(time.time() * 1000),
        "chain_id": chain,
    }
    return signing.offer(surroundings.signer, surroundings.domain, document)
