"""The commands that `docs/runbook.md` tells an operator to type, for tests that run them as they are written there."""

import re
from pathlib import Path
from textwrap import dedent

RUNBOOK = Path(__file__).resolve().parent.parent / "docs" / "runbook.md"


def commands(section: str) -> list[str]:
    """The indented blocks of a section, in order."""
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"the runbook has no section {section!r}"
    return [dedent(block) for block in re.findall(r"(?:^(?: {4}.*)?\n)*^ {4}.+\n", found[1], re.MULTILINE)]
