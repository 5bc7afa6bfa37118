"""The commands that `docs/runbook.md` tells an operator to type, for tests that run them as they are written there."""

import re
from pathlib import Path
from textwrap import dedent

RUNBOOK = Path(__file__).resolve().parent.parent / "docs" / "runbook.md"


def commands(holding: str) -> str:
    """The one indented block that has these words."""
    blocks = [dedent(block) for block in re.findall(r"(?:^ {4}.*\n)+", RUNBOOK.read_text(), re.MULTILINE)]
    (found,) = (block for block in blocks if holding in block)
    return found
