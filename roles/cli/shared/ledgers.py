"""The operator's commands on the ledger's database: `python -m ledger.operate` runs them, no role touches it itself."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ledger.core.values.errors import Rejected, Unavailable
from roles.cli import output
from roles.local.folder import ROOT, NetworkFolder
from roles.wallet import home
from roles.wallet.context import Context

SETTINGS = "LEDGER_DATABASE_URL, LEDGER_RPC_URL, LEDGER_DEPLOYMENT and LEDGER_LANE, as the worker has them"
NOTE, ERROR, MISSING = "note: ", "error: ", "ModuleNotFoundError"
"""How a line of its stderr begins."""
SLOW_SECONDS = "0.25"
"""One receipt in a hundred may take longer to be stored: the alert's own limit, in `deploy/dashboards/alerts.yaml`."""


def operate(*words: str | Path) -> tuple[Any, bool]:
    """Run a command of `ledger.operate`; its answer, and whether it found something wrong. Rejected when it could not
    begin. Its notes go to stderr as they come.
    """
    command = [sys.executable, "-m", "ledger.operate", *map(str, words)]
    last = ""
    with TemporaryFile("w+") as answer:
        started = subprocess.Popen(command, env=_environment(), text=True, stdout=answer, stderr=subprocess.PIPE)
        with started as ran:
            for line in ran.stderr or ():
                last = line.rstrip()
                if last.startswith(NOTE):
                    output.note(last.removeprefix(NOTE))
        answer.seek(0)
        said = answer.read()
    if ran.returncode in (0, 1) and said:
        return json.loads(said), ran.returncode == 1
    if last.startswith(MISSING):
        raise Rejected("this command needs more than the command line: pip install 'tollway[ledger]'", part="ledger")
    raise Rejected(last.removeprefix(ERROR) or f"`{' '.join(command)}` ended with {ran.returncode}")


def _environment() -> dict[str, str]:
    """The settings of this environment or, without any, those of this home's local network."""
    shared = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    if "LEDGER_DATABASE_URL" in os.environ:
        return shared
    worker = NetworkFolder.of(home.home()).components().get("worker")
    if worker is None:
        raise Rejected(f"which ledger? Set {SETTINGS}; a local network's are known here: tollway up")
    return {**shared, **worker.environment}


def gateway_alarms(context: Context) -> list[dict[str, str]]:
    """What is wrong with the gateway that is named, or this home's: away, refusing, or slow to store receipts."""
    url = None
    with suppress(Rejected):
        url = context.url
    if url is None:
        output.note("no gateway was asked: name one with --gateway URL")
        return []
    try:
        context.gateway.get("/health")
        numbers = context.gateway.file("/metrics").decode()
    except (Rejected, Unavailable) as error:
        reason = str(error.facts.get("reason") or error.message)
        return [_alarm("gateway_away", reason, "start it again; a local one: tollway local status")]
    found = []
    all_of_them = _count(numbers, "+Inf")
    slow = all_of_them - _count(numbers, SLOW_SECONDS)
    if slow * 100 > all_of_them:
        said = f"{slow} of {all_of_them} receipts since the gateway started took over {SLOW_SECONDS} s to be stored"
        found.append(_alarm("receipt_log_slow", said, "look at the database's commits, and at its disk"))
    bare = re.findall(r'^tollway_model_providers\{model="([^"]*)"\} 0\.0$', numbers, re.MULTILINE)
    what = "no provider serves it now: all failed, or lost their bids, offers or stakes"
    return found + [_alarm("model_without_provider", f"{model}: {what}", "tollway consumer models") for model in bare]


def _alarm(name: str, message: str, remedy: str) -> dict[str, str]:
    return {"name": name, "message": message, "remedy": remedy}


def _count(numbers: str, limit: str) -> int:
    """How many receipts were stored within so many seconds."""
    found = re.search(rf'^tollway_receipt_log_delay_seconds_bucket\{{le="{re.escape(limit)}"\}} (\S+)$', numbers, re.M)
    return int(float(found[1])) if found else 0
