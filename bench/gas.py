"""What each act of the contracts costs in gas, from receipts on Anvil: `python -m bench.gas`, or `make gas`.

Writes `contracts/snapshots/gas.json`; with `--check` it compares instead, and fails where an act costs over 1 % more.
`bench.gas_settlement` measures lanes and batches, `bench.gas_books` bids, models, names and stakes.
"""

import json
import sys
from pathlib import Path

from bench import gas_books, gas_settlement
from bench.chain import a_chain
from bench.gas_settlement import Figures

SNAPSHOT = Path(__file__).resolve().parent.parent / "contracts" / "snapshots" / "gas.json"
TOLERANCE_PERCENT = 1


def measure(settlement_url: str, books_url: str) -> Figures:
    """Gas by act, on two chains that nobody has used."""
    return gas_settlement.measure(settlement_url) | gas_books.measure(books_url)


def exceeded(measured: Figures, snapshot: Figures) -> list[str]:
    """What rose by more than the tolerance, or is missing on either side, in words."""
    found = [f"{name} is not measured any more" for name in snapshot.keys() - measured.keys()]
    for name, used in measured.items():
        known = snapshot.get(name)
        if known is None or used * 100 > known * (100 + TOLERANCE_PERCENT):
            found.append(f"{name}: {known} -> {used}")
    return sorted(found)


def main() -> int:
    """Measure; write the snapshot, or with --check compare with it."""
    with a_chain() as one, a_chain() as other:
        measured = measure(one, other)
    for name, used in measured.items():
        print(f"{name:46} {used:>12,}")
    if "--check" in sys.argv:
        rose = exceeded(measured, json.loads(SNAPSHOT.read_text()))
        print("\n".join(rose) or "gas: nothing rose by more than 1 %")
        return 1 if rose else 0
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
