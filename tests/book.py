"""The blocks of code of the documents, for tests that type them as they are written there. Alone, because the house's
tests, the journey's and those of the rooms all read it.

A test takes a block from its document: `typed("README.md", "tollway batch verify")`, and runs what it says, or
`shown("docs/webhooks.md", "balance.low")`, and holds what it shows to a schema. `tests/house/test_snippets.py` reads
these calls, and fails when a block is taken by none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
ROLES = ROOT / "docs" / "roles"
DOCUMENTS = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/*.md")]
    if not {"node_modules", ".venv"} & set(page.relative_to(ROOT).parts)
)
BEFORE = ("make install", "tollway up", "tollway down")
"""What a role's page says of the network itself, which is running already."""
READ = "text"
"""The language of what is read and not typed: drawings, formulas."""
SHELL = "sh"

INDEX = "it needs an index of packages: tests/house/test_parts.py installs each part from what is here"
SERVER = "it is a model server that is not installed here; one that answers as it does stands in its place"
LONG = "it takes minutes to hours, and is a target of its own"
CLUSTER, IMAGES = "it needs a cluster of Kubernetes", "it needs a container engine and images from a registry"
ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("gateway/README.md", "pip install"): INDEX,
    ("ledger/README.md", "pip install"): INDEX,
    ("roles/README.md", "pip install"): INDEX,
    ("roles/node/README.md", "pip install"): INDEX,
    ("docs/servers.md", "ollama pull"): SERVER,
    ("docs/servers.md", "vllm serve"): SERVER,
    ("docs/servers.md", "litellm --config"): SERVER,
    ("docs/servers.md", "docker run"): SERVER,
    ("docs/servers.md", "pip install mlserver"): INDEX,
    ("docs/exports.md", "docker build"): IMAGES,
    ("docs/verify-receipt.md", "npm install viem"): INDEX,
    ("deploy/README.md", "docker compose build"): "`make deploy-test` builds images of two versions by itself",
    ("deploy/README.md", "kubectl"): CLUSTER,
    ("deploy/demo/README.md", "python3 -m pip"): INDEX,
    (
        "deploy/demo/README.md",
        ".venv/bin/python -m deploy.demo.train",
    ): "it needs PyTorch, and minutes of two processors",
    (
        "docs/glue.md",
        "rustup target add",
    ): "it needs Rust's own servers; what is built with it is built where it is there",
    ("contracts/README.md", "make fuzz-contracts"): LONG,
    ("contracts/README.md", "make symbolic"): LONG,
    ("contracts/README.md", "make mutants"): LONG,
    ("contracts/README.md", "make lint-contracts"): LONG,
    ("contracts/README.md", "make ganache"): "it installs 180 MB; the same life is run on Anvil",
    ("contracts/README.md", "make contracts"): "it writes what tests/ledger/chain/test_build.py compiles and compares",
    ("contracts/README.md", "make gas"): "it writes what tests/ledger/chain/test_gas.py measures and compares",
    ("docs/battery.md", "make battery"): LONG,
    ("docs/exports.md", "kubectl create"): CLUSTER,
}
"""Commands that no test types, by their document and how they begin, with the reason."""


@dataclass(frozen=True)
class Block:
    """A block of code of a document: where it is, its language, whether it belongs into a second terminal, its text."""

    page: str
    line: int
    language: str
    apart: bool
    text: str

    @property
    def commands(self) -> list[str]:
        """Its commands, one each, without what a comment says of them. Only a shell's block has commands."""
        if self.language != SHELL:
            return []
        written = [re.sub(r"(^|\s+)# .*$", "", line) for line in self.text.replace("\\\n", " ").splitlines()]
        return [re.sub(r"\s+", " ", line) if "'" not in line else line for line in written if line.strip()]

    @property
    def lines(self) -> list[str]:
        """What is typed: its commands but those that no test types."""
        return [line for line in self.commands if line not in BEFORE and not self.why_not(line)]

    def why_not(self, command: str) -> str:
        """Why no test types this command, or nothing."""
        found = [why for (page, begins), why in ELSEWHERE.items() if page == self.page and command.startswith(begins)]
        return found[0] if found else ""

    def with_(self, values: Mapping[str, str]) -> "Block":
        """The block with a reader's own values in the place of the document's examples, each of which it must have."""
        text = self.text
        for example, value in values.items():
            assert example in text, f"{self.page}:{self.line} has no {example}"
            text = text.replace(example, value)
        return replace(self, text=text)


@cache
def blocks_of(page: Path) -> list[Block]:
    """Every block of a document. One that is indented is a shell's; a fence without a language has none."""
    found = [one for one in MarkdownIt("commonmark").parse(page.read_text()) if one.type in ("fence", "code_block")]
    return [
        Block(
            page.relative_to(ROOT).as_posix(),
            one.map[0] + 1 if one.map else 0,
            one.info.partition(" ")[0] if one.type == "fence" else SHELL,
            "second terminal" in one.info,
            one.content,
        )
        for one in found
    ]


def blocks(page: Path) -> list[Block]:
    """Every block that can be run."""
    return [block for block in blocks_of(page) if block.language in (SHELL, "python")]


def holding(page: str, words: str) -> list[Block]:
    """The blocks of a document, named from the root, that have these words; or the one that has nothing else."""
    found = [block for block in blocks_of(ROOT / page) if words in block.text]
    return [block for block in found if block.text.strip() == words] or found


def typed(page: str, words: str) -> Block:
    """The one block of a document that has these words: whoever asks for it runs it."""
    (found,) = holding(page, words)
    return found


def shown(page: str, words: str) -> Block:
    """The same: whoever asks for it holds it to the schema, the model or the values of what it shows."""
    return typed(page, words)


def typed_pages(pattern: str) -> list[Path]:
    """The documents of a pattern: whoever asks for them types all their blocks that can be run."""
    return sorted(ROOT.glob(pattern))
