"""The commands of the book's role pages, for a test that types them as they are written there. Alone, because the
house's tests and the journey's both read it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROLES = Path(__file__).resolve().parent.parent / "docs" / "roles"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = ("make install", "tollway up", "tollway down")
"""What a page says of the network itself, which is running already."""


@dataclass(frozen=True)
class Block:
    """A block of code of a page: its language, whether it belongs into a second terminal, and its lines as typed."""

    language: str
    apart: bool
    text: str

    @property
    def lines(self) -> list[str]:
        """What is typed, one command each."""
        return [line for line in self.text.replace("\\\n", "").splitlines() if line not in BEFORE]


def blocks(page: Path) -> list[Block]:
    """Every block that can be run; one of `text` is for reading."""
    found = [Block(kind, "second terminal" in title, text) for kind, title, text in FENCE.findall(page.read_text())]
    return [block for block in found if block.language in ("sh", "python")]
