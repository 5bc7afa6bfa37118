"""Nobody takes more than MECHANISM's table allows, alone or together."""

import pytest

from ledger.core.catalog.bids import Bid, Line, Role
from ledger.core.pricing import caps
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address

PARTY = Address(b"\x01" * 20)


def line(role: Role, ratio_ppm: int) -> Line:
    """A line with a ratio only."""
    return Line(PARTY, role, ratio_ppm)


@pytest.mark.parametrize(
    ("role", "cap"),
    [
        (Role.maker, 300_000),
        (Role.oem, 300_000),
        (Role.weaver, 300_000),
        (Role.gateway, 30_000),
        (Role.protocol, 20_000),
        (Role.compute, 0),
        (Role.delivery, 0),
    ],
)
def test_a_bid_at_its_cap_passes_and_one_ppm_more_does_not(role: Role, cap: int) -> None:
    caps.bid(role, Bid(cap))
    with pytest.raises(Rejected, match=f"at most {cap} ppm"):
        caps.bid(role, Bid(cap + 1))


def test_a_route_is_capped_as_a_whole() -> None:
    owner, fee = line(Role.oem, 300_000), [line(Role.gateway, 30_000), line(Role.protocol, 20_000)]
    caps.route(owner, [line(Role.maker, 250_000)] * 2, fee)
    with pytest.raises(Rejected, match="ancestors take 500001 ppm"):
        caps.route(owner, [line(Role.maker, 250_000), line(Role.maker, 250_001)], fee)
    with pytest.raises(Rejected, match="at most 10 ancestors"):
        caps.route(owner, [line(Role.maker, 0)] * 11, fee)
    with pytest.raises(Rejected, match="gateway lines take 30001"):
        caps.route(owner, [], [*fee, line(Role.gateway, 1)])
    with pytest.raises(Rejected, match="lines take 900001 ppm"):
        caps.route(owner, [line(Role.maker, 500_000)], [line(Role.weaver, 100_001)])
    with pytest.raises(Rejected, match="weaver lines take 300001"):
        caps.workflow([line(Role.weaver, 300_000), line(Role.weaver, 1)])
