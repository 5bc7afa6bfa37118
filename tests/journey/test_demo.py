"""`tollway demo`: all checks hold, and the last line says so."""

import json
from pathlib import Path

import pytest

from roles.local import isolation
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CALLS = 24


def test_the_demo_holds_and_says_so_in_its_last_line(person: Person, tmp_path: Path) -> None:
    facts_file = tmp_path / "facts.json"
    ended = person.types("demo", "--calls", str(CALLS), "--json", str(facts_file))
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-3000:]
    facts = json.loads(facts_file.read_text())
    last = ended.stdout.strip().splitlines()[-1]
    assert last == (
        f"demo: ok, {facts['calls']} calls, {facts['payees']} payees, {facts['settled_atoms']} atoms settled, "
        "ledger and chain agree"
    )
    assert facts["calls"] == CALLS
    assert all(check["held"] for check in facts["checks"])
    assert sum(int(row["atoms"]) for row in facts["earned"]) == int(facts["settled_atoms"])
    roles = {row["role"] for row in facts["earned"]}
    assert roles >= {"maker", "oem", "compute", "delivery", "weaver", "gateway", "protocol"}
    assert not person.home.exists(), "a demo has its own folder, not the home"
    why_not = isolation.why_not()
    assert ("casa is back" in {check["name"] for check in facts["checks"]}) == (why_not is None)
    assert (f"SKIPPED: no home can be put behind NAT here: {why_not}" in ended.stdout) == (why_not is not None)
    if why_not is not None:
        pytest.skip(f"THE HOME BEHIND NAT WAS NOT TRIED: {why_not}")
