"""The alarms that stand: `python -m ledger.alarms`. Somebody has looked, batches go on: `--clear`.

Prints, as JSON, each alarm's law, message, and the first account or receipt where it shows, and ends with 1 while any
stands. What is still wrong is sounded again by the next audit.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from ledger.operating import ledger_here
from ledger.store.settlement import alarms


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what stands and, if asked, clear exactly that."""
    options = argparse.ArgumentParser(prog="python -m ledger.alarms", description=__doc__)
    options.add_argument("--clear", action="store_true", help="what stands has been looked at: batches go on")
    clear: bool = options.parse_args(arguments).clear
    with ledger_here() as (_, session):
        standing = alarms.active(session)
        if clear:
            alarms.clear(session, standing, time.time_ns() // 1_000_000)
    print(json.dumps({"alarms": [asdict(alarm) for alarm in standing], "cleared": clear and bool(standing)}, indent=1))
    return int(bool(standing) and not clear)


if __name__ == "__main__":
    sys.exit(main())
