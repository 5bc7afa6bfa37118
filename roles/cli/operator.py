"""`tollway operator`: run a gateway lane: bond, keys, batches, answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ledger.chain import deployments
from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.typed_data import credit_hash, signing_digest
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared.payees import Ratio, claim_earnings, place_bid, show_earnings, staking_commands
from roles.wallet import keystore, transactions

app = Group("Run a gateway lane: bond, keys, batches, answers.")

Lane = Annotated[int | None, typer.Option("--lane", help="Default: the lane this wallet opened.")]
staking_commands(app, "it backs what your lane settles")


@app.verb("deploy")
def deploy(
    epoch_seconds: Annotated[int, typer.Option(help="How long bids are frozen.")] = 3_600,
    token: Annotated[str | None, typer.Option(help="What settles, say USDC; default: a new AICoin.")] = None,
) -> None:
    """Put the contracts on a chain, or find them there. Addresses follow from the code: twice changes nothing."""
    from ledger.chain.deploy import Parameters  # not imported by commands that ask only the gateway
    from ledger.chain.deploy import deploy as put

    output.confirm(f"deploy to {here().rpc_url} with the gas of {here().wallet}?")
    signer = here().signer
    with output.working("deploying"), transactions.outbox(signer) as stored:
        made = put(here().rpc_url, signer, Parameters(epoch_seconds, token), outbox=stored)
    output.tell({"written": str(deployments.path(made.chain_id)), **asdict(made)})


@app.verb("open-lane")
def open_lane(
    bond: Annotated[str, typer.Option(help="12.5 (AIC) or 1500atoms.")] = "1000",
    window: Annotated[int, typer.Option(help="Seconds in which a batch can be challenged.")] = 86_400,
    answer_time: Annotated[int, typer.Option(help="Seconds you have to answer a challenge.")] = 3_600,
) -> None:
    """Bond and open a lane. A wallet that has one gets that one: doing it twice changes nothing."""
    from ledger.core.disputes import challenge_game  # slow to import, and only needed here

    mine = lane_of(here().account)
    if mine:
        output.tell({"lane": mine, "operator": to_hex(here().account), "note": "was open already"})
        return
    if why := challenge_game.too_short_to_challenge(window, answer_time):
        if transactions.chain_id() not in deployments.DEVELOPMENT_CHAINS:
            raise Rejected(f"{why}. Take a longer --window or a shorter --answer-time", window=window)
        output.aside().print(f"[yellow]good for a development chain only:[/] {why}")
    atoms = amounts.typed(bond)
    output.confirm(f"bond {amounts.said(atoms)} of {here().wallet} for a new lane?")
    calls = transactions.chain().calls
    transactions.allow(calls.settlement, atoms)
    sent = transactions.send(calls.open_lane(window, answer_time, atoms))
    output.tell({"lane": lane_of(here().account), "operator": to_hex(here().account), **sent.facts})


@app.verb("session-key")
def session_key(
    key: Annotated[str, typer.Argument(help="A wallet or 0x address.")],
    revoke: Annotated[bool, typer.Option("--revoke", help="Stop it instead.")] = False,
) -> None:
    """Let another key sign receipts (or, for a consumer, vouchers) for this wallet: keep the wallet itself offline."""
    party = keystore.party(key)
    if bool(transactions.chain().settlement("sessionKey", here().account, party)) != revoke:
        output.tell({"key": to_hex(party), "active": not revoke, "note": "was so already"})
        return
    output.confirm(
        f"{'stop' if revoke else 'let'} {key} ({to_hex(party)}) {'signing' if revoke else 'sign'} for {here().wallet}?"
    )
    sent = transactions.send(transactions.chain().calls.set_session_key(party, not revoke))
    output.tell({"key": to_hex(party), "active": not revoke, **sent.facts})


@app.verb("bid")
def bid(ratio: Ratio = "0ppm", lane: Lane = None) -> None:
    """Set what your gateway takes of every price, at most 3%."""
    number = lane or lane_of(here().account)
    place_bid(Digest(number.to_bytes(32, "big")), Role.gateway, f"lane {number}", [], ratio)


@app.verb("credit")
def credit(
    account: Annotated[str, typer.Argument(help="A wallet or 0x address.")],
    amount: Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")],
    reference: Annotated[str, typer.Option(help="Your own words for it, such as an invoice: once each.")],
) -> None:
    """On a private grid: say that you hold so much more for a consumer. The same reference again changes nothing."""
    atoms, party, lane = amounts.typed(amount), keystore.party(account), int(here().lane["lane"])
    output.confirm(f"credit {amounts.said(atoms)} to {account}?")
    noted = keccak256(reference.encode())
    hashed = credit_hash(lane, party, atoms, noted)
    signature = here().signer.sign(signing_digest(here().domain, hashed))
    body = {"account": to_hex(party), "amount": str(atoms), "reference": to_hex(noted), "signature": to_hex(signature)}
    output.tell(here().gateway.post("/v1/credits", body))


@app.verb("status")
def status(lane: Lane = None) -> None:
    """Your lane on chain: bond, holdings, batches."""
    number = lane or lane_of(here().account) or int(here().lane["lane"])
    said, head = transactions.chain().lane(number), transactions.chain().head(number)
    output.tell(
        {
            "lane": number,
            "operator": to_hex(said.operator),
            "active": said.active,
            "bond": amounts.said(said.bond),
            "holds": amounts.said(said.net),
            "settled_ever": amounts.said(head.cumulative),
            "last_batch": head.next - 1,
            "last_final_batch": head.finalized,
            "calls": head.calls,
            "consumers": head.consumers,
            "window_seconds": said.window,
        }
    )


@app.verb("pause")
def pause(lane: Lane = None) -> None:
    """Stop commits and deposits. Claims and withdrawals go on: nobody can stop those."""
    number = lane or lane_of(here().account)
    output.confirm(f"pause lane {number}?")
    call = transactions.chain().calls.to_settlement("setActive", number, False)
    output.tell({"lane": number, "active": False, **transactions.send(call).facts})


@app.verb("resume")
def resume(lane: Lane = None) -> None:
    """Take commits and deposits again."""
    number = lane or lane_of(here().account)
    output.confirm(f"resume lane {number}?")
    call = transactions.chain().calls.to_settlement("setActive", number, True)
    output.tell({"lane": number, "active": True, **transactions.send(call).facts})


@app.verb("earnings")
def earnings(watch: Annotated[bool, typer.Option("--watch", help="Keep looking, until Ctrl-C.")] = False) -> None:
    """What your gateway has earned."""
    show_earnings(watch)


@app.verb("claim")
def claim() -> None:
    """Take what is final and not yet claimed."""
    claim_earnings()


def lane_of(operator: bytes) -> int:
    """The first lane this operator opened; 0 if none."""
    chain = transactions.chain()
    for number in range(1, int(chain.settlement("laneCount")) + 1):
        if chain.lane(number).operator == operator:
            return number
    return 0
