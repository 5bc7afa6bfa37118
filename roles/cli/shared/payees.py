"""What everybody who is paid does, whatever the role: bid, watch what comes in, claim it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Annotated

import typer

from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, Digest, address, cid, to_hex
from ledger.core.values.meters import NO_RATES, quoted
from roles.audit import previews, statements
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import calls, names
from roles.wallet import transactions

Subject = Annotated[str, typer.Argument(help="A model or capsule: @org/name, or its id.")]
Ask = Annotated[
    list[str] | None,
    typer.Option("--ask", help="METER=ATOMS; tokens, fuel per million, ms per second, bytes per GB. Repeat it."),
]
Ratio = Annotated[str, typer.Option("--ratio", help="Of the price: 12.5% or 125000ppm.")]

VALUE_ROLES = (Role.maker, Role.oem, Role.weaver, Role.gateway)


def bidding_commands(app: Group, role: Role) -> None:
    """Add `bid` and `preview` to the group of a role whose bids stand on chain."""

    @app.verb("bid")
    def bid(subject: Subject, ask: Ask = None, ratio: Ratio = "0ppm") -> None:
        """Place a standing bid on chain: in force from the next epoch, a raise from the one after it."""
        place_bid(names.resolve(here().gateway, subject), role, subject, ask or [], ratio)

    @app.verb("preview")
    def preview(subject: Subject, ask: Ask = None, ratio: Ratio = "0ppm") -> None:
        """What a bid would have earned lately, and the share of calls it would win now. Nothing is placed."""
        placed = Bid(amounts.ratio(ratio), amounts.asks(ask or []))
        warn(role, placed)
        output.tell(
            previews.preview(here(), names.resolve(here().gateway, subject), role, placed), "if this were your bid"
        )


def payee_commands(app: Group) -> None:
    """Add the commands of a payee to a role's group."""

    @app.verb("earnings")
    def earnings(
        watch: Annotated[bool, typer.Option("--watch", help="Keep looking, until Ctrl-C.")] = False,
    ) -> None:
        """What has come in, by role: accrued, claimable, claimed."""
        show_earnings(watch)

    @app.verb("claim")
    def claim() -> None:
        """Take what is final and not yet claimed. Claiming twice changes nothing."""
        claim_earnings()

    @app.verb("statement")
    def statement(
        form: Annotated[str, typer.Option("--as", help="table, json, csv or beancount.")] = "table",
    ) -> None:
        """Every movement of your money in this lane."""
        statements.show(here(), form)


def place_bid(subject: Digest, role: Role, name: str, ask: list[str], ratio: str) -> None:
    """Place a bid after saying what it is, unless the same bid stands already."""
    placed = Bid(amounts.ratio(ratio), amounts.asks(ask))
    warn(role, placed)
    with contextlib.suppress(Unavailable):  # a bid goes to the chain: no gateway needs to be there
        standing = previews.standing(here(), subject, role, here().account)
        if standing is not None and standing.bid == placed:
            output.remark(f"this bid stands already, until epoch {standing.until}; renewing it")
    output.confirm(f"bid {described(placed)} as {role.name} of {name}?")
    sent = transactions.send(transactions.chain().calls.place_bid(subject, role, placed))
    output.tell(
        {
            "subject": name,
            "id": cid(subject),
            "role": role.name,
            "party": to_hex(here().account),
            "ratio_ppm": placed.ratio_ppm,
            "ask": quoted(placed.asks),
            **sent.facts,
        }
    )


def warn(role: Role, bid: Bid) -> None:
    """Say what may hurt the bidder."""
    if role in VALUE_ROLES and bid.ratio_ppm and bid.asks == NO_RATES:
        output.warn("a ratio with a floor of 0 can be starved: where nobody else asks for atoms, the price is 0")
    if role in (Role.compute, Role.delivery) and bid.asks == NO_RATES:
        output.warn("an ask of 0 works for nothing")
    if role in (Role.compute, Role.delivery) and bid.ratio_ppm:
        output.warn("resources are paid by asks; a ratio on top makes you dearer on every call")


def described(bid: Bid) -> str:
    """A bid in words."""
    asks = ", ".join(f"{rate} atoms per {meter}" for meter, rate in quoted(bid.asks).items())
    ratio = f"{amounts.percent(bid.ratio_ppm)} of the price" if bid.ratio_ppm else ""
    return " + ".join(part for part in (ratio, asks) if part) or "nothing"


def show_earnings(watch: bool) -> None:
    """The wallet's earnings by role and how far they are from its pocket, once or at every change."""
    whose = f"earnings of {here().wallet} ({to_hex(here().account)})"
    seen: object = None
    while True:
        said = here().gateway.get(f"/v1/earnings/{to_hex(here().account)}")
        if said != seen and output.speech.json:
            output.tell(said)
        elif said != seen:
            title = f"{whose}: {said['claimable']} atoms to claim, {said['claimed']} claimed"
            output.tabulate(said["roles"], title, f"{whose}: nothing yet")
        seen = said
        if not watch:
            return
        time.sleep(1)


def claim_earnings() -> None:
    """Claim the wallet's final earnings on chain."""
    said = claimable(here().account)
    if said is None:
        output.tell({"claimed": "0", "note": "nothing final is waiting to be claimed"})
        return
    due, call = said
    output.confirm(f"claim {amounts.said(due)} to {to_hex(here().account)}?")
    sent = transactions.send(call)
    output.tell({"claimed": str(due), "said": amounts.said(due), "payee": to_hex(here().account), **sent.facts})


def claimable(party: Address) -> tuple[int, Call] | None:
    """What a payee can claim now, in atoms, and the call that claims it; None when that is nothing."""
    try:
        proof = here().gateway.get(f"/v1/proofs/payout/{to_hex(party)}")
    except Rejected as error:
        if error.facts.get("status") == 404:
            return None
        raise
    lane, index, cumulative = int(proof["lane"]), int(proof["index"]), int(proof["cumulative"])
    chain = transactions.chain()
    due = cumulative - chain.claimed(lane, index)
    siblings = [bytes.fromhex(word[2:]) for word in proof["proof"]]
    return (due, chain.calls.claim(lane, index, party, cumulative, siblings)) if due > 0 else None


def staking_commands(app: Group, why: str) -> None:
    """Add `stake`, `unbond` and `release` to a role's group."""

    def stake(amount: Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")]) -> None:
        atoms = amounts.typed(amount)
        output.confirm(f"stake {amounts.said(atoms)} of {here().wallet}?")
        chain = transactions.chain()
        transactions.allow(address(chain.deployment.stake_vault), atoms)
        sent = transactions.send(chain.calls.stake(atoms))
        output.tell({"staked": amounts.said(atoms), "party": to_hex(here().account), **sent.facts})

    def unbond(amount: Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")]) -> None:
        atoms = amounts.typed(amount)
        output.confirm(f"start to take {amounts.said(atoms)} out of stake?")
        chain = transactions.chain()
        sent = transactions.send(chain.calls.to_vault("unbond", atoms))
        delay = int(chain.vault("unbondDelay"))
        output.tell({"unbonding": amounts.said(atoms), "free_in_seconds": delay, **sent.facts})

    def release() -> None:
        chain = transactions.chain()
        _, _, free = chain.stake(here().account)
        if free > transactions.now():
            raise Rejected(
                f"that stake is free from {calls.moment(free * 1000)} UTC: run this again then", free_at=free
            )
        output.confirm(f"take what has finished unbonding out to {here().wallet}?")
        sent = transactions.send(chain.calls.to_vault("release", here().account))
        output.tell({"released_to": to_hex(here().account), **sent.facts})

    verbs: tuple[tuple[str, Callable[..., None], str], ...] = (
        ("stake", stake, f"Put AIC at stake: {why}."),
        ("unbond", unbond, "Start to take stake out; it is free after the dispute window."),
        ("release", release, "Take out stake that has finished unbonding."),
    )
    for name, function, help in verbs:
        app.verb(name, help=help)(function)
