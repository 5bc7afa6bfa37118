"""Caps: the most that each role may take of a call's price, alone and together.

A bid above its role's cap, or lines whose ratios sum above a cap, are Rejected. Nothing is lowered silently.
"""

from ledger.core.catalog.bids import MAX_RATIOS_PPM, Bid, Line, Role
from ledger.core.catalog.capsules import MAX_WEAVER_PPM
from ledger.core.catalog.lineage import MAX_ANCESTORS, MAX_ANCESTORS_PPM
from ledger.core.values.atoms import Ppm
from ledger.core.values.errors import Rejected

OWNER_PPM = 300_000
GATEWAY_PPM = 30_000
PROTOCOL_PPM = 20_000
"""The protocol's share of every root call: what its line takes, and the most it could."""

ROLE_PPM: dict[Role, Ppm] = {
    Role.maker: OWNER_PPM,
    Role.oem: OWNER_PPM,
    Role.compute: 0,
    Role.delivery: 0,
    Role.curator: 0,
    Role.weaver: MAX_WEAVER_PPM,
    Role.gateway: GATEWAY_PPM,
    Role.protocol: PROTOCOL_PPM,
}
"""The largest ratio that one bid of each role may have. Resource roles bid asks; a sponsor's line pays curators."""


def bid(role: Role, offered: Bid) -> None:
    if offered.ratio_ppm > ROLE_PPM[role]:
        raise Rejected(
            f"a {role.name} bids at most {ROLE_PPM[role]} ppm, not {offered.ratio_ppm}: --ratio {ROLE_PPM[role]}ppm",
            role=role.name,
            ratio_ppm=offered.ratio_ppm,
            cap_ppm=ROLE_PPM[role],
        )


def route(owner: Line, ancestors: list[Line], others: list[Line]) -> None:
    """Check the lines of one model's call: its owner, its ancestors, and all others."""
    bid(owner.role, Bid(owner.ratio_ppm, owner.asks))
    if len(ancestors) > MAX_ANCESTORS:
        raise Rejected(f"a model has at most {MAX_ANCESTORS} ancestors, not {len(ancestors)}", ancestors=len(ancestors))
    _together("ancestors", ancestors, MAX_ANCESTORS_PPM)
    for role, cap in ROLE_PPM.items():
        if role not in (Role.maker, Role.oem):
            _together(f"{role.name} lines", [line for line in others if line.role is role], cap)
    _together("lines", [owner, *ancestors, *others], MAX_RATIOS_PPM)


def workflow(lines: list[Line]) -> None:
    for role, cap in ROLE_PPM.items():
        _together(f"{role.name} lines", [line for line in lines if line.role is role], cap)


def _together(what: str, lines: list[Line], cap: Ppm) -> None:
    ratios = sum(line.ratio_ppm for line in lines)
    if ratios > cap:
        raise Rejected(f"{what} take {ratios} ppm together, above {cap}", ratios_ppm=ratios, cap_ppm=cap)
