"""Commands of every payee, whatever its role: bid, preview, stake, earnings, claim, statement."""

from __future__ import annotations

import contextlib
import csv
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ledger.core.catalog.bids import LAPSING, Bid, Role
from ledger.core.pricing.epochs import MAX_EPOCHS, epoch_at
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, address, cid, to_hex
from ledger.core.values.meters import quoted
from roles.cli import amounts, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.cli.shared import cells, drawing, readiness
from roles.cli.shared.readiness import Asked
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.core.settlement.events import BidPlaced

ASK = (
    f"METER=ATOMS, such as call=200. Repeat it for more meters: {amounts.METERS}. "
    "Atoms are per call, per million tokens or fuel, per second (ms), per gigabyte (byte)."
)

MAX_COUNT = 1_000_000_000
"""The most of anything that is counted, as a window of calls: more is a slip."""
Subject = Annotated[str, Argument(help="A model or capsule: @org/name, or its id.")]
Ask = Annotated[list[str] | None, Option("--ask", help=ASK)]
Ratio = Annotated[str, Option("--ratio", help="Share of the price: 12.5% or 125000ppm.")]
Window = Annotated[
    int, Option(help="Commission is paid on a consumer's first WINDOW paid calls.", min=1, max=MAX_COUNT)
]
Form = Annotated[str, Option("--as", help="Format: table, json, csv or beancount.")]

FORMS = ("table", "json", "csv", "beancount")
OF_MODELS = (Role.maker, Role.oem, Role.compute)
"""Whose bids a model needs before it can be called."""
VALUE_ROLES = (Role.maker, Role.oem, Role.weaver, Role.gateway)


def add_payee(app: Group, role: Role) -> None:
    """Add the commands of a role that is paid by bids."""

    @app.command("bid")
    def place(subject: Subject, ask: Ask = None, ratio: Ratio = "0ppm") -> None:
        """Place a bid on chain. A lower bid is in force from the next epoch, a higher one from the epoch after it."""
        bid = parse_bid(ask, ratio)
        place_bid(here().resolve(subject), role, subject, bid)

    @app.command("preview")
    def preview(subject: Subject, ask: Ask = None, ratio: Ratio = "0ppm") -> None:
        """Show what a bid would have earned on the last day's calls, and its share of calls now. Places nothing."""
        from roles.audit import previews  # slow to import

        considered = parse_bid(ask, ratio)
        warn(role, considered)
        output.show(previews.preview(here(), here().resolve(subject), role, considered), "if this were your bid")

    @app.command("what-if")
    def what_if(
        payee: Annotated[str, Option(help="Of another payee: its address. Default: this wallet.")] = "",
        days: Annotated[int, Option(help="Days of calls, from the newest back.", min=1, max=366)] = 7,
    ) -> None:
        """Show what your calls would have paid, had you asked less or more: replayed from the public batch files."""
        from roles.audit import previews  # slow to import

        who = address(payee) if payee else here().account
        with output.working("reading the batch files"):
            rows = previews.what_if(here(), who, days)
        title = (
            f"calls of {to_hex(who)} in the last {days} days, at other asks; expected: drawn again, by the bids of now"
        )
        output.show_table(rows, title, f"no public batch of the last {days} days pays {to_hex(who)}")

    add_earnings(app)
    add_statement(app)


def add_earnings(app: Group) -> None:
    @app.command("earnings")
    def earnings(
        watch: Annotated[bool, Option("--watch", help="Show every change in place, until Ctrl-C.")] = False,
    ) -> None:
        """Show your earnings by role, and by epoch as a plot. With --watch and --json: a line for each change."""
        if watch:
            watch_earnings()
        else:
            show_earnings(read_earnings(), read_epochs())

    @app.command("claim")
    def claim() -> None:
        """Claim your final earnings on chain. Claiming twice changes nothing."""
        ready = claimable(here().account)
        if ready is None:
            output.show({"claimed": "0", "note": "nothing final is waiting to be claimed"})
            return
        due, call = ready
        output.confirm(f"claim {amounts.format(due)} to {to_hex(here().account)}?")
        sent = transactions.send(here(), call)
        output.show({"claimed": str(due), "said": amounts.format(due), "payee": to_hex(here().account), **sent})


def read_earnings() -> dict[str, Any]:
    """This wallet's earnings by role: earned, not yet settled, claimable, claimed."""
    found: dict[str, Any] = here().account_gateway.get(f"/v1/earnings/{to_hex(here().account)}")
    return found


def read_epochs() -> list[dict[str, Any]]:
    """What public batches paid this wallet, by epoch and role, the newest first. Empty at a gateway that shows none."""
    try:
        return list(here().gateway.get(f"/v1/payees/{to_hex(here().account)}")["epochs"])
    except Rejected:
        return []


def show_earnings(earned: dict[str, Any], epochs: list[dict[str, Any]]) -> None:
    """Earnings as a table, and below it what each epoch brought."""
    if output.mode.json:
        output.show(earned)
        return
    whose = f"earnings of {here().wallet} ({to_hex(here().account)})"
    output.show_table(earned["roles"], _heading(whose, earned), f"{whose}: nothing yet")
    for line in drawing.columns(by_epoch(epochs), output.console().width):
        output.console().print(output.plain(line))


def watch_earnings() -> None:
    """Show earnings, again at each change, until an interrupt: in place on a terminal, else one after the other."""
    last: object = None
    while True:
        earned, epochs = read_earnings(), read_epochs()
        if (earned, epochs) != last:
            last = earned, epochs
            if output.mode.json:
                output.show_line({**earned, "epochs": epochs})
            else:
                with output.shown_in_place():
                    show_earnings(earned, epochs)
        time.sleep(1)


def by_epoch(epochs: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The beginning of each epoch with what it brought in all roles, the oldest first."""
    sums: dict[int, int] = {}
    for row in epochs:
        sums[int(row["starts_at"])] = sums.get(int(row["starts_at"]), 0) + int(row["earned"])
    return [(cells.utc(at), amount) for at, amount in sorted(sums.items())]


def _heading(whose: str, earned: dict[str, Any]) -> str:
    ready, paid = (amounts.format(int(earned[name])) for name in ("claimable", "claimed"))
    return f"{whose}: {ready} claimable, {paid} claimed"


def add_collect(app: Group) -> None:
    """Add `collect` to a role's group: what contracts owe a wallet, and never push."""

    @app.command("collect")
    def collect() -> None:
        """Collect what the contracts owe you: rewards of accusers, fees, refunds, parts of bonds."""
        chain, account = transactions.chain(here()), here().account
        owed = {name: int(chain.view(name, "owed", account)) for name in ("Settlement", "StakeVault", "Registry")}
        wei = int(chain.view("Questions", "owedWei", account))
        if not wei and not any(owed.values()):
            output.show({"collected": "0", "note": "nothing is owed to you"})
            return
        output.confirm(f"collect {amounts.format(sum(owed.values()))} and {wei} wei to {to_hex(account)}?")
        sent = [
            transactions.send(here(), chain.calls.to(name, "collect", account)) for name, atoms in owed.items() if atoms
        ]
        if wei:
            sent.append(transactions.send(here(), chain.calls.to("Questions", "collectWei", account)))
        done = [str(one["transaction"]) for one in sent]
        output.show({"collected": str(sum(owed.values())), "wei": str(wei), "transactions": done})


def add_statement(app: Group) -> None:
    @app.command("statement")
    def statement(form: Form = "table") -> None:
        """List every payment to or from you in this lane, recomputed from the public batch files."""
        from ledger.core.accounts import beancount
        from roles.audit import statements  # slow to import

        if form not in FORMS:
            raise Rejected(f"{form!r} is not a valid format: use one of {', '.join(FORMS)}", form=form)
        rows, names = list(statements.read_rows(here())), statements.read_names(here())
        if form == "beancount":
            sys.stdout.write(
                beancount.header(here().account, here().currency) + beancount.calls(rows, names, here().currency)
            )
        elif form == "csv":
            writer = csv.DictWriter(sys.stdout, list(statements.fields(rows[0], names)) if rows else ["batch"])
            writer.writeheader()
            writer.writerows(statements.fields(row, names) for row in rows)
        elif form == "json" or output.mode.json:
            output.mode.json = True
            output.show_table([statements.fields(row, names) for row in rows])
        else:
            title = f"statement of {here().wallet}"
            output.show_table(statements.sums(rows, names), title, "no batch has a payment of yours yet")


def parse_bid(ask: list[str] | None, ratio: str) -> Bid:
    return Bid(amounts.parse_ratio(ratio), amounts.parse_asks(ask or []))


def place_bid(subject: Digest, role: Role, name: str, bid: Bid) -> None:
    """Confirm and place a bid. Warns about risks, and notes when the same bid is in force already."""
    from ledger.core.pricing import caps  # slow to import
    from roles.audit import previews

    caps.bid(role, bid)
    warn(role, bid)
    with contextlib.suppress(Unavailable):  # a bid goes to the chain: the gateway need not be up
        current = previews.bid_in_force(here(), subject, role, here().account)
        if current is not None and current.bid == bid and role not in LAPSING:
            facts = {"subject": name, "role": role.name, "note": "the same bid is in force, and stands"}
            show_placed(facts, subject, role)
            return
        if current is not None and current.bid == bid:
            output.note(f"the same bid is in force until epoch {current.until}; this renews it")
    chain = transactions.chain(here())
    if role in (Role.maker, Role.oem):
        _check_owner(address(chain.view("Registry", "models", subject)[0]), role, name)
    output.confirm(f"bid {describe(bid)} as {role.name} of {name}?")
    sent = send_bid(subject, role, bid)
    placed = chain.last_bid(subject, role, here().account)
    whose = {"subject": name, "id": cid(subject), "role": role.name, "party": to_hex(here().account)}
    said = in_words(placed, name, chain.deployment.epoch_seconds) if placed is not None else ""
    shown: dict[str, Any] = {**whose, "ratio_ppm": bid.ratio_ppm, "ask": quoted(bid.asks), "order": said, **sent}
    show_placed(shown, subject, role)


def show_placed(facts: dict[str, Any], subject: Digest, role: Role) -> None:
    """Show a bid; and what its model still needs, if it is a model's."""
    if role not in OF_MODELS:
        output.show(facts)
        return
    provider = here().account if role is Role.compute else None
    readiness.show(facts, Asked(here(), subject, facts["subject"], provider))


def bid_once(subject: Digest, role: Role, bid: Bid) -> dict[str, object]:
    """Place a bid, unless it is the party's last one and has more than half of its time left."""
    last = transactions.chain(here()).last_bid(subject, role, here().account)
    epoch = epoch_at(transactions.now(here()), int(here().lane["epoch_seconds"]))
    if last is not None and last.bid == bid and last.until - epoch > MAX_EPOCHS // 2:
        return {}
    return send_bid(subject, role, bid)


def _check_owner(owner: Address, role: Role, name: str) -> None:
    """Rejected when this wallet bids in an owner's role for what it does not own: nobody would ever be paid by it."""
    if owner == ZERO_ADDRESS:
        raise Rejected(f"{name} is not registered: tollway maker register, or tollway oem derive")
    if owner != here().account:
        raise Rejected(
            f"{name} is of {to_hex(owner)}, and only its owner bids as its {role.name}: to serve it, "
            f"tollway provider bid {name}; to own it, tollway maker buy {name}"
        )


def in_words(placed: BidPlaced, name: str, epoch_seconds: int) -> str:
    """A bid that was placed, with its beginning and its end."""
    from ledger.core.pricing.epochs import NEVER  # slow to import

    def begins(epoch: int) -> str:
        return f"{cells.utc(1000 * epoch_seconds * epoch)} UTC"

    until = begins(placed.until) if placed.until < NEVER else "you replace it"
    return f"{describe(placed.bid)} as {placed.role.name} of {name}, from {begins(placed.first)} until {until}"


def send_bid(subject: Digest, role: Role, bid: Bid) -> dict[str, object]:
    """Place a bid on chain. Its caller has asked."""
    return transactions.send(here(), transactions.chain(here()).bid(subject, role, here().account, bid))


def warn(role: Role, bid: Bid) -> None:
    """Warn about bids that may earn nothing or win few calls."""
    if role in VALUE_ROLES and bid.ratio_ppm and not any(ask for _, ask in bid.asks):
        output.warn("a ratio with a floor of 0 may earn nothing: where nobody else asks for atoms, the price is 0")
    if role in (Role.compute, Role.delivery) and not any(ask for _, ask in bid.asks):
        output.warn("an ask of 0 earns nothing")
    if role in (Role.compute, Role.delivery) and bid.ratio_ppm:
        output.warn("resources are paid by asks: a ratio on top raises your price on every call")


def describe(bid: Bid) -> str:
    asks = ", ".join(map(amounts.format_ask, bid.asks))
    ratio = f"{amounts.format_ratio(bid.ratio_ppm)} of the price" if bid.ratio_ppm else ""
    return " + ".join(part for part in (ratio, asks) if part) or "nothing"


def claimable(party: Address) -> tuple[int, Call] | None:
    """The atoms a payee can claim now, and the call that claims them; None when there is nothing."""
    try:
        proof = here().gateway.get(f"/v1/proofs/payout/{to_hex(party)}")
    except Rejected as error:
        if error.facts.get("status") == 404:
            return None
        raise
    lane, index, cumulative = address(str(proof["lane"])), int(proof["index"]), int(proof["cumulative"])
    chain = transactions.chain(here())
    due = cumulative - chain.claimed(lane, index)
    siblings = [bytes.fromhex(word[2:]) for word in proof["proof"]]
    return (due, chain.calls.claim(lane, index, party, cumulative, siblings)) if due > 0 else None


def add_stake(atoms: int) -> dict[str, object]:
    """Stake this much of the wallet's money."""
    chain = transactions.chain(here())
    transactions.allow(here(), address(chain.deployment.stake_vault), atoms)
    return transactions.send(here(), chain.calls.to("StakeVault", "stake", atoms))


def stake_up_to(atoms: int) -> dict[str, object]:
    """Stake what this wallet's stake lacks of an amount. Its caller has asked."""
    missing = atoms - transactions.chain(here()).stake(here().account)[0]
    return add_stake(missing) if missing > 0 else {}


def add_staking(app: Group, why: str, show: Callable[[dict[str, Any]], None] = output.show) -> None:
    """Add `stake`, `unbond` and `release` to a role's group. `why` says what the stake does for this role."""

    @app.command("stake", help=f"Put down a stake: {why}.")
    def stake(amount: Amount) -> None:
        atoms = amounts.parse_some(amount)
        output.confirm(f"stake {amounts.format(atoms)} of {here().wallet}?")
        sent = add_stake(atoms)
        show({"staked": amounts.format(atoms), "party": to_hex(here().account), **sent})

    @app.command("unbond", help="Start to take stake out. It is free after the delay that the answer shows.")
    def unbond(amount: Amount) -> None:
        atoms = amounts.parse_some(amount)
        output.confirm(f"start to take {amounts.format(atoms)} out of stake?")
        chain = transactions.chain(here())
        sent = transactions.send(here(), chain.calls.to("StakeVault", "unbond", atoms))
        delay = int(chain.view("StakeVault", "unbondDelay"))
        output.show({"unbonding": amounts.format(atoms), "free_in_seconds": delay, **sent})

    @app.command("release", help="Take out stake whose delay is over.")
    def release() -> None:
        chain = transactions.chain(here())
        _, _, free = chain.stake(here().account)
        if free > transactions.now(here()):
            raise Rejected(
                f"this stake is free from {cells.utc(free * 1000)} UTC: run `release` again then", free_at=free
            )
        output.confirm(f"take the unbonded stake out to {here().wallet}?")
        sent = transactions.send(here(), chain.calls.to("StakeVault", "release", here().account))
        output.show({"released_to": to_hex(here().account), **sent})
