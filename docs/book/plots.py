"""The plots of the book, from the mechanism's own rules and from what the benches wrote."""

from __future__ import annotations

from math import log10

from bench.chart import Curve, chart
from docs.book import measured
from ledger.core.pricing.routing import Candidate, odds
from ledger.core.values.atoms import PPM, ceil_div

ASKED, RATIOS = 1_100, (200_000, 10_000, 20_000)
"""The example of `how/price.md`: what the provider asks, and the ratios of maker, gateway and protocol."""
RIVALS = 3


def drawings() -> dict[str, str]:
    """Each plot as SVG, by its place in the book."""
    return {
        "plots/price.svg": _price(),
        "plots/routing.svg": _routing(),
        "plots/ledger.svg": _ledger(),
        "plots/gateway.svg": _gateway(),
        **{f"plots/{file.name}": file.read_text() for file in measured.RESULTS.glob("*.svg")},
    }


def wanted(price: int) -> int:
    """What all lines of the example want together at a price."""
    return ASKED + sum(ceil_div(ratio * price, PPM) for ratio in RATIOS)


def _price() -> str:
    prices = range(1_100, 1_701, 100)
    return chart(
        "A price from bids",
        "1,100 atoms asked, and 23 % of the price",
        "price, atoms",
        "atoms",
        [
            Curve("what the lines want together", [(price, wanted(price)) for price in prices]),
            Curve("the price itself", [(price, price) for price in prices]),
        ],
        low=1_000,
    )


def _routing() -> str:
    """Four providers of the same capacity; three ask the same, and one asks more or less than they do."""

    def share(percent: int) -> float:
        asked = (percent * 1_000, *[100_000] * RIVALS)
        weights = odds([Candidate(price, PPM, 0, 1, 1) for price in asked])
        return 100 * weights[0] / sum(weights)

    return chart(
        "Greed is punished by fewer calls",
        "four providers of one capacity; three ask the same price",
        "own price, in % of the others'",
        "% of the calls",
        [Curve("calls of the fourth", [(percent, share(percent)) for percent in range(70, 146, 5)])],
    )


def _ledger() -> str:
    rows = measured.result("ledger")["linear"]
    return chart(
        "Receipts posted and closed",
        "beside a plain COPY of the same rows",
        "receipts, as a power of ten",
        "thousands a second",
        [
            Curve("the ledger", [(log10(row["receipts"]), row["receipts_per_s"] / 1000) for row in rows]),
            Curve(
                "a plain COPY", [(log10(row["receipts"]), row["receipts"] / row["copy_seconds"] / 1000) for row in rows]
            ),
        ],
    )


def _gateway() -> str:
    targets = measured.result("gateway")["targets"]
    names = {
        "tollway": "Tollway",
        "fastapi_aiohttp": "FastAPI + aiohttp",
        "raw_uvicorn_aiohttp": "raw uvicorn + aiohttp",
    }
    return chart(
        "Calls a second",
        "bare proxies beside a gateway that signs and stores",
        "connections",
        "thousands of calls a second",
        [
            Curve(said, [(n, targets[name][f"plain_c{n}"]["per_second"] / 1000) for n in (1, 16, 64)])
            for name, said in names.items()
        ],
    )
