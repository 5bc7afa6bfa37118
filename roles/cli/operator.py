"""`tollway operator`: deploy the contracts, open a lane (a bonded account on chain), run a gateway for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from ledger import deployments
from ledger.core.catalog.bids import Role
from ledger.core.pricing.caps import GATEWAY_PPM
from ledger.core.settlement.batches import bond_for, window_end
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Lane, address, lane_subject, to_hex
from ledger.core.values.typed_data import credit_hash, signing_digest
from ledger.deployments import Deployment
from roles.audit import batches
from roles.cli import amounts, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.cli.shared import cells, ledgers
from roles.cli.shared.payees import Ratio, add_collect, add_earnings, add_staking, parse_bid, place_bid
from roles.client.gateway import GatewayClient, checked_url
from roles.wallet import keystore, transactions

if TYPE_CHECKING:
    from ledger.chain.calls import LaneTerms
    from ledger.core.settlement.transactions import Call

app = Group(
    "Run a gateway: contracts, a lane (your bonded account on chain), keys, earnings, alarms. "
    "What to do when something is lost or has to change is in docs/runbook.md."
)

DAY_SECONDS = 86_400
MAX_WINDOW_SECONDS = 30 * DAY_SECONDS
MAX_URL_BYTES = 200
USUAL_ROUNDS = 3
"""Questions that open the longest path of a batch of a million calls."""
EpochSeconds = Annotated[
    int, Option(help="Seconds in an epoch, during which bids do not change.", min=1, max=365 * DAY_SECONDS)
]
Window = Annotated[
    int, Option(help="Seconds in which a batch can be challenged, at least.", min=1, max=MAX_WINDOW_SECONDS)
]
AnswerTime = Annotated[int, Option(help="Seconds you have to answer a question.", min=1, max=MAX_WINDOW_SECONDS)]
Leverage = Annotated[int, Option(help="What is not final may be at most the bond times this.", min=1, max=1_000)]
GatewayKey = Annotated[str, Argument(metavar="KEY", help="The key that signs receipts: a wallet or 0x address.")]
LaneOption = Annotated[str | None, Option("--lane", help="0x address of a lane; default: the one this wallet opened.")]
add_staking(app, "it backs what your lane settles")
add_earnings(app)
add_collect(app)


@app.command("deploy")
def deploy(
    epoch_seconds: Annotated[
        int, Option(help="Seconds in an epoch, during which bids do not change.", min=1, max=31_536_000)
    ] = 3_600,
    token: Annotated[
        str | None, Option(help="Address of the settlement token, such as USDC (recommended); default: a new AICoin.")
    ] = None,
    treasury: Annotated[
        str | None, Option(help="Earns the protocol's fee; not an operator. A wallet or 0x address; default: yours.")
    ] = None,
) -> None:
    """Deploy the contracts, or find them. Their addresses follow from the code, so a second run changes nothing."""
    from ledger.chain import deploy as deployment  # slow to import

    output.confirm(f"deploy to {here().rpc_url} with the gas of {here().wallet}?")
    payee = to_hex(keystore.party(treasury)) if treasury else None
    token = to_hex(address(token)) if token else None
    signer, parameters = here().signer, deployment.Parameters(epoch_seconds, token, payee)
    with output.working("deploying"), transactions.outbox(here(), signer) as stored:
        folder = transactions.deployments_folder(here())
        deployed = deployment.deploy(here().rpc_url, signer, parameters, folder, outbox=stored)
    output.show({"written": str(deployments.path(deployed.chain_id, folder)), **asdict(deployed)})


@app.command("open-lane")
def open_lane(  # noqa: PLR0913
    bond: Annotated[str, Option(help="The lane's bond: 12.5 or 1500atoms.")] = "1000",
    window: Annotated[
        int, Option(help="Seconds in which a batch can be challenged, at least.", min=1, max=MAX_WINDOW_SECONDS)
    ] = 86_400,
    answer_time: Annotated[
        int, Option(help="Seconds you have to answer a question.", min=1, max=MAX_WINDOW_SECONDS)
    ] = 14_400,
    leverage: Annotated[
        int, Option(help="What is not final may be at most the bond times this.", min=1, max=1_000)
    ] = 1,
    min_deposit: Annotated[str, Option(help="The least first deposit of an account.")] = "0",
    url: Annotated[str, Option(help="Where the lane serves, said on chain; `set-url` changes it.")] = "",
    salt: Annotated[str, Option(help="A word of your own, to open another lane with the same terms.")] = "",
) -> None:
    """Open a lane with a bond. Its terms never change. If the wallet has it already, show it and change nothing."""
    from ledger.chain.calls import LaneTerms  # slow to import

    atoms, minimum = amounts.parse_some(bond), amounts.parse(min_deposit)
    if url:
        checked_url(url)
    chain, account = transactions.chain(here()), here().account
    terms, salted = LaneTerms(window, answer_time, leverage, minimum), keccak256(salt.encode())
    opened = chain.calls.lane_of(account, salted, terms)
    known = lane_of(account) if not salt else opened if chain.code(to_hex(opened)) else None
    if known is not None:
        output.show({"lane": to_hex(known), "operator": to_hex(account), "note": "the lane is already open"})
        return
    check_terms(chain.deployment, terms)
    if atoms < chain.deployment.min_bond_atoms:
        least = amounts.format(chain.deployment.min_bond_atoms)
        raise Rejected(f"a bond is at least {least} here, not {amounts.format(atoms)}: --bond {least}")
    output.confirm(f"bond {amounts.format(atoms)} of {here().wallet} for a new lane?")
    transactions.allow(here(), chain.calls.settlement, atoms)
    sent = transactions.send(here(), chain.calls.open_lane(salted, terms, atoms))
    if url:
        transactions.send(here(), chain.calls.to("Keys", "setUrl", opened, url))
    output.show({"lane": to_hex(opened), "operator": to_hex(account), **sent})
    output.note(f"next: tollway operator add-gateway KEY, for the key of each gateway of lane {to_hex(opened)}")


def check_terms(rules: Deployment, terms: LaneTerms) -> None:
    """Rejected unless a lane of this deployment can have these terms."""
    bounds = (
        ("--window", terms.window, rules.min_window_seconds, MAX_WINDOW_SECONDS),
        ("--answer-time", terms.answer_time, rules.min_answer_seconds, MAX_WINDOW_SECONDS // 10),
        ("--leverage", terms.leverage, 1, rules.max_leverage),
    )
    for option, value, least, most in bounds:
        if not least <= value <= most:
            raise Rejected(f"{option} is {least} to {most} on this chain, not {value}", option=option)


@app.command("add-gateway")
def add_gateway(key: GatewayKey, lane: LaneOption = None) -> None:
    """Let a gateway's key sign receipts of your lane. A key is added once, and never again once it is revoked."""
    mine, party, chain = chosen(lane), keystore.party(key), transactions.chain(here())
    known = chain.gateway_key(mine, party)
    if known.revoked_at:
        raise Rejected(f"{to_hex(party)} was revoked in lane {to_hex(mine)}, for good: give the gateway a new key")
    question = f"let {key} ({to_hex(party)}) sign receipts of lane {to_hex(mine)}?"
    change(mine, {"key": to_hex(party)}, question, chain.calls.add_gateway(mine, party), done=bool(known.since))


@app.command("revoke-gateway")
def revoke_gateway(key: GatewayKey, lane: LaneOption = None) -> None:
    """Stop a gateway's key, for good. What it signed counts in batches that close in the next two days."""
    mine, party, chain = chosen(lane), keystore.party(key), transactions.chain(here())
    known = chain.gateway_key(mine, party)
    if not known.since:
        raise Rejected(f"{to_hex(party)} is no gateway key of lane {to_hex(mine)}")
    question = f"stop {key} ({to_hex(party)}) from signing receipts of lane {to_hex(mine)}, for good?"
    call = chain.calls.to("Keys", "revokeGateway", mine, party)
    change(mine, {"key": to_hex(party), "revoked": True}, question, call, done=bool(known.revoked_at))


@app.command("set-url")
def set_url(url: Annotated[str, Argument(help="At most 200 bytes.")], lane: LaneOption = None) -> None:
    """Say on chain where your lane serves."""
    checked_url(url)
    if len(url.encode()) > MAX_URL_BYTES:
        raise Rejected(f"a lane's URL has at most {MAX_URL_BYTES} bytes, not {len(url.encode())}")
    mine, chain = chosen(lane), transactions.chain(here())
    question = f"say that lane {to_hex(mine)} serves at {url}?"
    change(mine, {"url": url}, question, chain.calls.to("Keys", "setUrl", mine, url))


@app.command("poster")
def poster(
    key: Annotated[str | None, Argument(help="The second key that may commit: a wallet or 0x address.")] = None,
    lane: LaneOption = None,
) -> None:
    """Let a second key commit batches, so that your own can stay offline. Without a key: let nobody else."""
    mine, chain = chosen(lane), transactions.chain(here())
    party = keystore.party(key) if key else ZERO_ADDRESS
    question = f"let {to_hex(party) if key else 'nobody else'} commit batches of lane {to_hex(mine)}?"
    call = chain.calls.to_settlement("setPoster", mine, party)
    change(mine, {"poster": to_hex(party)}, question, call, done=chain.life(mine).poster == party)


@app.command("add-bond")
def add_bond(amount: Amount, lane: LaneOption = None) -> None:
    """Add to a lane's bond, so that more can wait for finality. Anybody may."""
    atoms = amounts.parse_some(amount)
    mine, chain = chosen(lane), transactions.chain(here())
    output.confirm(f"add {amounts.format(atoms)} of {here().wallet} to the bond of lane {to_hex(mine)}?")
    transactions.allow(here(), chain.calls.settlement, atoms)
    sent = transactions.send(here(), chain.calls.to_settlement("addBond", mine, atoms))
    output.show({"lane": to_hex(mine), "bond": amounts.format(chain.books(mine).bond), **sent})


@app.command("bid")
def bid(ratio: Ratio = "0ppm", lane: LaneOption = None) -> None:
    """Set your gateway's share of every price, at most 3%.

    Example: tollway operator bid --ratio 1%
    """
    bid = parse_bid(None, ratio)
    if bid.ratio_ppm > GATEWAY_PPM:
        raise Rejected(f"a gateway's share is at most {amounts.format_ratio(GATEWAY_PPM)}, not {ratio}", ratio=ratio)
    mine = chosen(lane)
    place_bid(lane_subject(mine), Role.gateway, f"lane {to_hex(mine)}", bid)


@app.command("credit")
def credit(
    account: Annotated[str, Argument(help="The consumer: a wallet or 0x address.")],
    amount: Amount,
    reference: Annotated[str, Option(help="A text of your own, such as an invoice number; each counts once.")],
) -> None:
    """On a private grid: credit a consumer with an amount you hold. The same reference again changes nothing."""
    atoms, party, lane = amounts.parse_some(amount), keystore.party(account), here().lane_id
    output.confirm(f"credit {amounts.format(atoms)} to {account}?")
    cause = keccak256(reference.encode())
    signature = here().signer.sign(signing_digest(here().domain, credit_hash(lane, party, atoms, cause)))
    body = {"account": to_hex(party), "amount": str(atoms), "reference": to_hex(cause), "signature": to_hex(signature)}
    output.show(here().gateway.post("/v1/credits", body))


@app.command("status")
def status(lane: LaneOption = None) -> None:
    """Show your lane on chain: its money, its bond and what it covers, its batches."""
    opened = parse_lane(lane) if lane else lane_of(here().account)
    shown = opened if opened is not None else here().lane_id
    chain = transactions.chain(here())
    state, books, head, life = chain.lane(shown), chain.books(shown), chain.head(shown), chain.life(shown)
    facts: dict[str, object] = {
        "lane": to_hex(shown),
        "operator": to_hex(state.operator),
        "poster": to_hex(life.poster),
        "active": state.active,
        "era": state.era,
        "net": amounts.format(books.net),
        "settled": amounts.format(books.settled),
        "paid": amounts.format(books.paid),
        "bond": amounts.format(books.bond),
        "leverage": state.leverage,
        "at_stake": amounts.format(head.total - books.settled),
        "covered": amounts.format(books.bond * state.leverage),
        "last_batch": head.next - 1,
        "last_final_batch": head.finalized,
        "consumers": head.consumers,
        "gateways": int(chain.view("Keys", "gatewayCount", shown)),
        "window_seconds": state.window,
        "answer_seconds": state.answer_time,
        "min_deposit": amounts.format(life.min_deposit),
    }
    traffic = traffic_of_a_day(shown)
    if traffic is not None:
        window = window_end(0, state.window, state.answer_time, USUAL_ROUNDS)
        needed = bond_for(traffic, window, state.leverage, DAY_SECONDS)
        facts |= {"charged_last_day": amounts.format(traffic), "bond_for_such_days": amounts.format(needed)}
        if needed > books.bond:
            more = amounts.format(needed - books.bond)
            output.warn(f"days like the last need {more} more bond, or the lane stops serving: operator add-bond")
    output.show(facts)


def traffic_of_a_day(lane: Lane) -> int | None:
    """What batches charged that were built in the last day, in atoms. None when the lane's gateway cannot be asked."""
    try:
        if here().lane_id != lane:
            return None
        newest, charged = 0, 0
        for row in batches.every(here()):
            newest = newest or int(row["built_at"])
            if int(row["built_at"]) <= newest - DAY_SECONDS * 1_000:
                break
            charged += int(row["total"]) if row["status"] != "void" else 0
    except (Rejected, Unavailable):
        return None
    return charged


@app.command("pause")
def pause(lane: LaneOption = None) -> None:
    """Stop commits and deposits. Claims and withdrawals go on: nobody can stop those."""
    set_active(lane, False)


@app.command("resume")
def resume(lane: LaneOption = None) -> None:
    """Take commits and deposits again."""
    set_active(lane, True)


def set_active(lane: str | None, active: bool) -> None:
    mine, chain = chosen(lane), transactions.chain(here())
    question = f"{'resume' if active else 'pause'} lane {to_hex(mine)}?"
    call = chain.calls.to_settlement("setActive", mine, active)
    change(mine, {"active": active}, question, call, done=chain.lane(mine).active == active)


def change(lane: Lane, facts: dict[str, object], question: str, call: Call, *, done: bool = False) -> None:
    """Ask, change a lane on chain, and show it; what is so already stays."""
    shown = {"lane": to_hex(lane), **facts}
    if done:
        output.show({**shown, "note": "no change"})
        return
    output.confirm(question)
    output.show({**shown, **transactions.send(here(), call)})


@app.command("alarms")
def alarms(
    clear: Annotated[bool, Option("--clear", help="You have looked at what the ledger found: batches go on.")] = False,
) -> None:
    """List what is wrong with the lane now, and what helps. Exits with 1 if anything is.

    It reads the ledger's database, as the worker's LEDGER_ settings or this home's local network name it, and asks the
    gateway.
    """
    said, _ = ledgers.operate("alarms", *["--clear"] * clear)
    found = said["alarms"]
    if clear:
        output.show({"cleared": [one["name"] for one in found]})
        return
    found += ledgers.gateway_alarms(here())
    rows = [
        {
            "alarm": one["name"],
            "what": one["message"],
            "where": one.get("account") or one.get("receipt") or "",
            "remedy": one["remedy"],
        }
        for one in found
    ]
    output.show_table(rows, empty="nothing is wrong")
    if found:
        raise Exit(1)


@app.command("rebuild")
def rebuild(
    folder: Annotated[Path, Argument(help="What `tollway batch mirror` copied.")],
) -> None:
    """Make a lost ledger again in an empty database, or let a restored one catch up with the chain.

    Stop gateways and workers first; docs/runbook.md says what comes back. The database and the chain are those of the
    worker's LEDGER_ settings, or of this home's local network. Exits with 1 if an audit finds something wrong.
    """
    if not folder.is_dir():
        raise Rejected(f"{folder} is not a folder: tollway batch mirror {folder}", folder=str(folder))
    made, wrong = ledgers.operate("rebuild", "--files", folder)
    output.show(made)
    if made["renew"]:
        output.warn("these gateways may have signed receipts that are lost: give each a new key before it starts again")
    if wrong:
        raise Exit(1)


@app.command("retire")
def retire() -> None:
    """Leave a private grid for a chain: show what you owe there. Once, when gateways have stopped and all is final."""
    output.confirm("take every balance out of this private grid's ledger, for good?")
    output.show(ledgers.operate("retire")[0])


@app.command("unbond-lane")
def unbond_lane(lane: LaneOption = None) -> None:
    """Take the bond back: a week after the lane was paused, when every batch is final."""
    mine, chain = chosen(lane), transactions.chain(here())
    bond, head = chain.books(mine).bond, chain.head(mine)
    if not bond:
        output.show({"lane": to_hex(mine), "bond": "0", "note": "there is no bond to take"})
        return
    if chain.lane(mine).active:
        raise Rejected("the lane takes batches and deposits: tollway operator drain, or tollway operator pause")
    if head.finalized + 1 != head.next:
        waiting = head.next - 1 - head.finalized
        raise Rejected(f"{waiting} batches are not final yet: leave the worker running, and try again", waiting=waiting)
    free_at = chain.life(mine).stopped_at + int(chain.settlement("ESCAPE_DELAY"))
    if transactions.now(here()) < free_at:
        raise Rejected(f"the bond is free from {cells.utc(free_at * 1000)} UTC: try again then", free_at=free_at)
    question = f"take the bond of {amounts.format(bond)} back to {here().wallet}?"
    change(mine, {"unbonded": amounts.format(bond)}, question, chain.calls.to_settlement("unbond", mine))


@app.command("drain")
def drain(lane: LaneOption = None) -> None:
    """Close a lane for good, step by step: all receipts final, then paused, then unbonded. Run it again to continue.

    Stop its gateways first, and leave the worker running. Consumers leave, and deposit into another lane.
    """
    mine, chain = chosen(lane), transactions.chain(here())
    if not chain.lane(mine).active:
        unbond_lane(to_hex(mine))
        return
    waits = not_final(mine)
    if waits:
        output.show({"lane": to_hex(mine), "status": "draining", "waits_for": waits})
        return
    set_active(to_hex(mine), False)


def not_final(lane: Lane) -> str:
    """What keeps a lane from being paused without loss, as a text with the remedy; nothing when all is final."""
    head = transactions.chain(here()).head(lane)
    if head.finalized + 1 != head.next:
        return f"{head.next - 1 - head.finalized} batches to become final: leave the worker running"
    try:
        known = GatewayClient(here().url).get("/v1/lane")
    except (Rejected, Unavailable):
        output.warn("no gateway answers: make sure that the ledger has no receipt that is in no batch")
        return ""
    if known["lane"] != to_hex(lane):
        return ""
    waiting = int(known["at_stake"]["charged"]) + int(known["at_stake"]["leased"])
    return f"{waiting} atoms in receipts or leases: stop the gateways, leave the worker running" if waiting else ""


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
