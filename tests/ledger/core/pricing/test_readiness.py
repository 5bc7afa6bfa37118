"""What a model still needs is what keeps it from being sold, and it is sold in the epoch that is named."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.lineage import Registration, parents_hash
from ledger.core.catalog.models import model
from ledger.core.pricing import epochs, terms
from ledger.core.pricing.epochs import BidInForce
from ledger.core.pricing.readiness import Known, Need, Step, opens, steps
from ledger.core.pricing.terms import Market, Operator
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address
from tests.ledger.core.examples import OWNER, a_base
from tests.rates import asks

MODEL = model(a_base())
NEAR, FAR, TREASURY = (Address(bytes((n,)) * 20) for n in (3, 4, 2))
EPOCH, KAPPA = 100, 10
NOTHING = Known(MODEL.id, EPOCH, False, None, 0, (), {}, KAPPA, frozenset())


def bid(role: Role, party: Address, first: int) -> BidInForce:
    return BidInForce(
        MODEL.id,
        role,
        party,
        Bid(10_000) if role is not Role.compute else Bid(0, asks(call=5)),
        first,
        epochs.lapse(role, first),
    )


WHOLE = Known(
    MODEL.id, EPOCH, True, OWNER, EPOCH, (bid(Role.maker, OWNER, EPOCH), bid(Role.compute, NEAR, EPOCH)),
    {NEAR: KAPPA}, KAPPA, frozenset({NEAR}),
)  # fmt: skip


def is_sold(known: Known, provider: Address, epoch: int) -> bool:
    """Whether by `core.pricing.terms`, as the gateway's loader uses it, this provider's calls are sold in an epoch."""
    owned = known.owner is not None and known.owner_since <= epoch
    market = Market(
        operator=Operator(TREASURY, Address(bytes(20)), TREASURY, known.stake_per_call, False),
        book=epochs.freeze(known.placed, epoch),
        published={MODEL.id: MODEL},
        registered={MODEL.id: Registration(OWNER, parents_hash(MODEL.id, {MODEL.id: ()}), known.owner_since)}
        if known.owner is not None
        else {},
        owners={MODEL.id: OWNER} if owned else {},
        stakes=known.stakes,
    )
    try:
        lines = terms.model_lines(market, MODEL)
        row = next(row for row in market.book.bidders(MODEL.id, Role.compute) if row.party == provider)
        terms.of_provider(market, MODEL, lines, row)
        terms.capacity(market, provider, 1)
    except (Rejected, StopIteration):
        return False
    return known.published and provider in known.offered_by


@st.composite
def some_known(draw: st.DrawFn) -> Known:
    """What may be known of a model: each part may be missing, in force, or in force later."""
    first = st.integers(EPOCH - 30, EPOCH + 2)
    parties = [(Role.maker, OWNER), (Role.oem, OWNER), (Role.compute, NEAR), (Role.compute, FAR)]
    placed = [bid(*party, draw(first)) for party in draw(st.lists(st.sampled_from(parties), max_size=5))]
    providers = st.sampled_from([NEAR, FAR])
    return Known(
        MODEL.id,
        EPOCH,
        draw(st.booleans()),
        draw(st.sampled_from([OWNER, None])),
        draw(st.integers(EPOCH - 1, EPOCH + 1)),
        tuple(sorted(placed, key=lambda row: row.first)),
        draw(st.dictionaries(providers, st.integers(0, 2 * KAPPA))),
        KAPPA,
        frozenset(draw(st.sets(providers))),
    )


@given(some_known(), st.sampled_from([NEAR, FAR]))
@example(WHOLE, NEAR)
def test_a_model_is_sold_when_nothing_is_missing_and_not_before(known: Known, provider: Address) -> None:
    needed = steps(known, provider)
    whole, first = all(step.since is not None for step in needed), opens(known, needed)
    assert [is_sold(known, provider, epoch) for epoch in range(EPOCH, EPOCH + 3)] == [
        whole and epoch >= first for epoch in range(EPOCH, EPOCH + 3)
    ]


@given(some_known())
def test_without_a_provider_it_is_the_nearest(known: Known) -> None:
    missing = [[step.need for step in steps(known, one) if step.since is None] for one in (NEAR, FAR, None)]
    bidders = {row.party for row in known.placed if row.role is Role.compute}
    near = [found for found, party in zip(missing, (NEAR, FAR), strict=False) if party in bidders]
    assert len(missing[2]) == min((len(found) for found in near), default=len(missing[2]))


def test_of_nothing_everything_is_missing_in_its_order() -> None:
    assert steps(NOTHING) == [Step(need, None) for need in Need]
    assert opens(NOTHING, steps(NOTHING)) == EPOCH + 1


def test_only_a_bid_makes_one_wait_for_the_next_epoch() -> None:
    unstaked = replace(WHOLE, stakes={}, offered_by=frozenset())
    assert [step.need for step in steps(unstaked, NEAR) if step.since is None] == [Need.stake, Need.offer]
    assert opens(unstaked, steps(unstaked, NEAR)) == EPOCH
    unowned = replace(WHOLE, placed=WHOLE.placed[1:])
    assert opens(unowned, steps(unowned, NEAR)) == EPOCH + 1
