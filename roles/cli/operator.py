"""`tollway operator`: deploy the contracts, open a lane (a bonded account on chain), run a gateway for it."""

from dataclasses import asdict
from typing import Annotated

from typer import Argument, Option

from ledger import deployments
from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Lane, address, lane_subject, to_hex
from ledger.core.values.typed_data import credit_hash, signing_digest
from roles.cli import amounts, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.cli.shared.payees import Ratio, add_earnings, add_staking, parse_bid, place_bid
from roles.wallet import keystore, transactions

app = Group("Run a gateway: contracts, a lane (your bonded account on chain), keys, earnings.")

LaneOption = Annotated[str | None, Option("--lane", help="0x address of a lane; default: the one this wallet opened.")]
add_staking(app, "it backs what your lane settles")
add_earnings(app)


@app.command("deploy")
def deploy(
    epoch_seconds: Annotated[int, Option(help="Seconds in an epoch, during which bids do not change.")] = 3_600,
    token: Annotated[str | None, Option(help="Address of the settlement token; default: a new AICoin.")] = None,
) -> None:
    """Deploy the contracts, or find them. Their addresses follow from the code, so a second run changes nothing."""
    from ledger.chain import deploy as deployment  # slow to import

    output.confirm(f"deploy to {here().rpc_url} with the gas of {here().wallet}?")
    signer, parameters = here().signer, deployment.Parameters(epoch_seconds, token)
    with output.working("deploying"), transactions.outbox(here(), signer) as stored:
        deployed = deployment.deploy(here().rpc_url, signer, parameters, outbox=stored)
    output.show({"written": str(deployments.path(deployed.chain_id)), **asdict(deployed)})


@app.command("open-lane")
def open_lane(
    bond: Annotated[str, Option(help="The lane's bond: 12.5 (AIC) or 1500atoms.")] = "1000",
    window: Annotated[int, Option(help="Seconds in which a batch can be challenged.")] = 86_400,
    answer_time: Annotated[int, Option(help="Seconds you have to answer a challenge.")] = 3_600,
) -> None:
    """Open a lane with a bond. If the wallet has a lane already, show it and change nothing."""
    from ledger.core.disputes import challenge_game  # slow to import

    lane = lane_of(here().account)
    if lane is not None:
        output.show({"lane": to_hex(lane), "operator": to_hex(here().account), "note": "the lane is already open"})
        return
    if why := challenge_game.too_short_to_challenge(window, answer_time):
        if transactions.chain_id(here()) not in deployments.DEVELOPMENT_CHAINS:
            raise Rejected(f"{why}. Use a longer --window or a shorter --answer-time", window=window)
        output.aside().print(f"[yellow]for a development chain only:[/] {why}")
    atoms = amounts.parse(bond)
    output.confirm(f"bond {amounts.format(atoms)} of {here().wallet} for a new lane?")
    calls = transactions.chain(here()).calls
    transactions.allow(here(), calls.settlement, atoms)
    sent = transactions.send(here(), calls.open_lane(window, answer_time, atoms))
    output.show({"lane": to_hex(chosen(None)), "operator": to_hex(here().account), **sent})


@app.command("session-key")
def session_key(
    key: Annotated[str, Argument(help="The key that signs: a wallet or 0x address.")],
    revoke: Annotated[bool, Option("--revoke", help="Take the permission back.")] = False,
) -> None:
    """Let another key sign receipts (a consumer: vouchers) for this wallet, so that the wallet can stay offline."""
    party = keystore.party(key)
    if bool(transactions.chain(here()).settlement("sessionKey", here().account, party)) != revoke:
        output.show({"key": to_hex(party), "active": not revoke, "note": "no change"})
        return
    question = "stop {} from signing for {}?" if revoke else "let {} sign for {}?"
    output.confirm(question.format(f"{key} ({to_hex(party)})", here().wallet))
    sent = transactions.send(here(), transactions.chain(here()).calls.to_settlement("setSessionKey", party, not revoke))
    output.show({"key": to_hex(party), "active": not revoke, **sent})


@app.command("bid")
def bid(ratio: Ratio = "0ppm", lane: LaneOption = None) -> None:
    """Set your gateway's share of every price, at most 3%.

    Example: tollway operator bid --ratio 1%
    """
    mine = chosen(lane)
    place_bid(lane_subject(mine), Role.gateway, f"lane {to_hex(mine)}", parse_bid(None, ratio))


@app.command("credit")
def credit(
    account: Annotated[str, Argument(help="The consumer: a wallet or 0x address.")],
    amount: Amount,
    reference: Annotated[str, Option(help="A text of your own, such as an invoice number; each counts once.")],
) -> None:
    """On a private grid: credit a consumer with an amount you hold. The same reference again changes nothing."""
    atoms, party, lane = amounts.parse(amount), keystore.party(account), here().lane_id
    output.confirm(f"credit {amounts.format(atoms)} to {account}?")
    cause = keccak256(reference.encode())
    signature = here().signer.sign(signing_digest(here().domain, credit_hash(lane, party, atoms, cause)))
    body = {"account": to_hex(party), "amount": str(atoms), "reference": to_hex(cause), "signature": to_hex(signature)}
    output.show(here().gateway.post("/v1/credits", body))


@app.command("status")
def status(lane: LaneOption = None) -> None:
    """Show your lane on chain: its bond, holdings and batches."""
    opened = parse_lane(lane) if lane else lane_of(here().account)
    shown = opened if opened is not None else here().lane_id
    lane_row, head = transactions.chain(here()).lane(shown), transactions.chain(here()).head(shown)
    output.show(
        {
            "lane": to_hex(shown),
            "operator": to_hex(lane_row.operator),
            "active": lane_row.active,
            "bond": amounts.format(lane_row.bond),
            "holds": amounts.format(lane_row.net),
            "settled_ever": amounts.format(head.cumulative),
            "last_batch": head.next - 1,
            "last_final_batch": head.finalized,
            "calls": head.calls,
            "consumers": head.consumers,
            "window_seconds": lane_row.window,
        }
    )


@app.command("pause")
def pause(lane: LaneOption = None) -> None:
    """Stop commits and deposits. Claims and withdrawals go on: nobody can stop those."""
    set_active(lane, False)


@app.command("resume")
def resume(lane: LaneOption = None) -> None:
    """Take commits and deposits again."""
    set_active(lane, True)


def set_active(lane: str | None, active: bool) -> None:
    mine = chosen(lane)
    output.confirm(f"{'resume' if active else 'pause'} lane {to_hex(mine)}?")
    sent = transactions.send(here(), transactions.chain(here()).calls.to_settlement("setActive", mine, active))
    output.show({"lane": to_hex(mine), "active": active, **sent})


def chosen(lane: str | None) -> Lane:
    """The lane of a `--lane` option, or the one this wallet opened. Rejected when there is neither."""
    mine = parse_lane(lane) if lane else lane_of(here().account)
    if mine is None:
        raise Rejected(f"{here().wallet} has no lane: tollway operator open-lane, or name one with --lane 0x...")
    return mine


def parse_lane(text: str) -> Lane:
    """A lane from its 0x address. Rejected otherwise: a lane has no number."""
    try:
        return address(text)
    except Rejected as error:
        remedy = "`tollway operator status` shows yours"
        raise Rejected(f"a lane is named by its 0x address of 40 hex digits, not {text!r}; {remedy}") from error


def lane_of(operator: Address) -> Lane | None:
    """The first lane this operator opened; None without one."""
    return transactions.chain(here()).lane_of(operator)
