"""Somebody at a terminal inside the network: reads a command a line, writes its answer a line, as JSON. Alone because
it runs in a container, beside the source and not in it.
"""

import json
import sys

from ledger.core.values.errors import TollwayError
from roles.cli.main import ask

for typed in sys.stdin:
    try:
        answer = {"answer": ask(typed.strip())}
    except TollwayError as error:
        answer = {"error": error.message}
    print(json.dumps(answer, default=str), flush=True)
