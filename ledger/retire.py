"""Leave a private grid for a chain: `python -m ledger.retire`, once, after the gateway has stopped and all is final.

Prints, as JSON, what the operator owes on the chain: a deposit for each consumer, a payment to each payee.
"""

import json
import time
from collections.abc import Mapping

from ledger.core.values.ids import Address, to_hex
from ledger.flows import credits
from ledger.operating import ledger_here


def main() -> None:
    """Ask the flow, say what it says."""
    with ledger_here() as (settings, session):
        owed = credits.retire(session, settings.lane, time.time_ns() // 1_000_000)
    print(json.dumps({"deposits": _shown(owed.deposits), "payments": _shown(owed.payments)}, indent=1))


def _shown(amounts: Mapping[Address, int]) -> dict[str, str]:
    return {to_hex(who): str(amount) for who, amount in amounts.items()}


if __name__ == "__main__":
    main()
