"""Previews of a bid: what it would have earned on the last day's calls, and which share of calls it would win now; and
what a payee's calls of some days would have paid, had it asked less or more.

Calls come from the public batch files, bids from the gateway's book.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.core.catalog.bids import Bid, Line, Role, Terms, decode
from ledger.core.pricing import routing
from ledger.core.pricing import what_if as pricing
from ledger.core.pricing.epochs import NEVER, BidInForce
from ledger.core.pricing.price import payees, price
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.pricing.what_if import Call
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, address, cid_digest
from ledger.core.values.meters import rates
from roles.audit import batches
from roles.client.gateway import Json
from roles.wallet.context import Context

DAY_MS = 24 * 3_600_000


def preview(context: Context, subject: Digest, role: Role, bid: Bid) -> dict[str, object]:
    """The bid's earnings on the last day's calls of a subject, and what that role earned on them."""
    party, calls, was, would, dearer = context.account, 0, 0, 0, 0
    for terms, units, subcall_total in recent(context, DAY_MS):
        if terms.subject != subject:
            continue
        replayed = with_bid(terms, role, party, bid)
        if replayed is None:
            continue
        calls += 1
        before, after = price(terms, units, subcall_total), price(replayed, units, subcall_total)
        was += sum(a for a, (_, r) in zip(before.amounts, payees(terms), strict=True) if r is role)
        would += sum(
            amount
            for amount, (who, r) in zip(after.amounts, payees(replayed), strict=True)
            if r is role and who == party
        )
        dearer += after.price - before.price
    return {
        "calls_of_the_last_day": calls,
        "that_role_earned": str(was),
        "this_bid_would_have_earned": str(would),
        "price_change_in_all": str(dearer),
        **wins(context, subject, role, bid),
    }


def what_if(context: Context, payee: Address, days: int) -> list[dict[str, object]]:
    """Had a payee asked less or more: what its calls of these days would have paid, and what is expected when they are
    drawn again by the bids of now. The calls are those of the public batch files, all of them but those that a cap or a
    list price forbids at a change.
    """
    calls = [one for one in recent(context, days * DAY_MS) if any(who == payee for who, _ in payees(one.terms))]
    points = pricing.points(calls, payee, odds_of(book(context), payee)) if calls else []
    now = next((one for one in points if not one.change_ppm), None)
    return [
        {
            "change_ppm": one.change_ppm,
            "calls": len(calls) - one.left_out,
            "earned": str(one.earned),
            "expected": str(one.expected),
            "more_than_now": str(one.expected - now.expected) if now is not None else "0",
        }
        for one in points
    ]


def odds_of(bids: Sequence[BidInForce], payee: Address) -> pricing.Odds:
    """A payee's odds by the bids of a book, at equal quality, latency and stake. Where it does not bid, or nobody else
    does, nothing is drawn.
    """

    def odds(subject: Digest, change_ppm: int) -> tuple[int, int]:
        rows = [row for row in bids if row.subject == subject]
        own = next((row for row in rows if row.role is Role.compute and row.party == payee), None)
        rivals = [row for row in rows if row.role is Role.compute and row.party != payee]
        if own is None or not rivals:
            return 1, 1
        beside = tuple(_line(row) for row in rows if row.role is not Role.compute)
        lines = [pricing.changed(_line(own), change_ppm), *map(_line, rivals)]
        prices = [price(Terms(ZERO_DIGEST, (line, *beside)), TYPICAL_CALL).price for line in lines]
        return pricing.drawn(*_at_equal_quality(prices))

    return odds


def recent(context: Context, within_ms: int) -> list[Call]:
    """The calls of public batches that ended within so many ms of the lane's newest call."""
    found: list[Call] = []
    newest = 0
    for number in reversed(batches.numbers(context)):
        file = batches.read(context, number)
        receipts = file.receipts
        if not receipts:  # a batch without receipts lets a consumer leave
            continue
        ended = max(one.ended_at for one in receipts)
        newest = newest or ended
        if ended <= newest - within_ms:
            break
        read = {name: decode(body) for name, body in file.terms.items()}
        found += [
            Call(read[one.terms], one.units, one.subcall_total) for one in receipts if one.ended_at > newest - within_ms
        ]
    return found


def with_bid(terms: Terms, role: Role, party: Address, bid: Bid) -> Terms | None:
    """Terms with this bid in place of a role's first line. None if the role has no line, or a cap forbids the bid."""
    places = [place for place, line in enumerate(terms.lines) if line.role is role]
    if not places:
        return None
    lines = list(terms.lines)
    lines[places[0]] = Line(party, role, bid.ratio_ppm, bid.asks)
    try:
        return replace(terms, lines=tuple(lines))
    except Rejected:
        return None


def wins(context: Context, subject: Digest, role: Role, bid: Bid) -> dict[str, object]:
    """The share of calls that this ask would win now, at equal quality, latency and stake.

    Whole prices are compared, with the lines of all other roles: their ratios rise with every ask.
    """
    if role is not Role.compute:
        return {}
    placed = [row for row in book(context) if row.subject == subject]
    rivals = [row.bid for row in placed if row.role is role and row.party != context.account]
    beside = tuple(_line(row) for row in placed if row.role is not role)
    offers = [Line(ZERO_ADDRESS, role, one.ratio_ppm, one.asks) for one in [bid, *rivals]]
    prices = [price(Terms(ZERO_DIGEST, (line, *beside)), TYPICAL_CALL).price for line in offers]
    own, every = pricing.drawn(*_at_equal_quality(prices))
    return {"rivals": len(rivals), "share_of_calls": f"{100 * own // max(1, every)}%"}


def _at_equal_quality(prices: Sequence[int]) -> tuple[routing.Candidate, list[routing.Candidate]]:
    """The first of these prices as a candidate, and the others."""
    first, *others = [routing.Candidate(one, 1_000_000, 1, 1, 1) for one in prices]
    return first, others


def _line(row: BidInForce) -> Line:
    return Line(row.party, row.role, row.bid.ratio_ppm, row.bid.asks)


def bid_in_force(context: Context, subject: Digest, role: Role, party: Address) -> BidInForce | None:
    """A party's bid in the gateway's book, if it has one."""
    return next((row for row in book(context) if row.key == (subject, role, party)), None)


def book(context: Context) -> list[BidInForce]:
    """The gateway's book of this epoch, page by page."""
    rows, page = list[Json](), "/v1/book"
    while page:
        shown = context.gateway.get(page)
        rows += shown["bids"]
        page = shown["links"]["next"]
    return [
        BidInForce(
            cid_digest(row["subject"])
            if str(row["subject"]).startswith("b")
            else Digest(bytes.fromhex(row["subject"][2:])),
            Role[row["role"]],
            address(str(row["party"]).rpartition(":")[2]),
            Bid(int(row["ratio_ppm"]), rates(row["ask"])),
            int(row["from_epoch"]),
            NEVER if row["until_epoch"] is None else int(row["until_epoch"]),
        )
        for row in rows
    ]
