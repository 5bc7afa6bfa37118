"""The book's first hours: what each role's page says to type is typed on a running network, in the page's order."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import split

import httpx
import pytest

from docs.book.routes import EXAMPLES
from roles.cli import context
from roles.cli.main import ask
from roles.cli.output import wait_until
from roles.local import network
from roles.local.folder import ROOT
from roles.wallet import api_keys
from tests import book
from tests.book import Block
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PAGES = sorted(book.ROLES.glob("*.md"))
PRINTED = ("receipt", "token")
"""What a command printed and a later one of the page repeats, as `RECEIPT` and `TOKEN`."""


@pytest.fixture
def folder(settled: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what a clone has, where files may be left; commands run in this process, in the network's home."""
    for name in ("deploy", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    with network.living_in(settled.home):
        yield tmp_path


@dataclass
class Reader:
    """Somebody who types what a page says, and has what was printed in mind."""

    person: Person
    wallet: str
    printed: dict[str, str] = field(default_factory=dict)

    def reads(self, block: Block, terminals: ExitStack) -> None:
        """Do what a block says."""
        if block.language == "python":
            exec(self._filled(block.text), {"KEY_FILE": self._key_file})
        elif block.apart:
            terminals.enter_context(self._leaves_running(block.lines[0]))
        elif "curl" in block.text:
            said = self._filled(block.text.replace("KEY_FILE", f"'{self._key_file}'"))
            ended = subprocess.run(["bash", "-ec", said], capture_output=True, text=True, check=True)
            assert json.loads(ended.stdout)["choices"], ended.stdout
        else:
            for line in block.lines:
                self._types(self._filled(line).removeprefix("tollway "))

    def _types(self, command: str) -> None:
        """Type a command that must succeed."""
        if command.startswith(("consumer verify", "batch show")):
            assert wait_until(lambda: self._is_batched(command), 120, 1), "no batch came on chain"
        answer = ask(command)
        if isinstance(answer, dict):
            self.printed |= {name.upper(): answer[name] for name in PRINTED if isinstance(answer.get(name), str)}

    @staticmethod
    def _is_batched(command: str) -> bool:
        rows = ask("batch list")
        if not rows:
            return False
        return "verify" not in command or ask(command).get("batch") is not None

    def _filled(self, text: str) -> str:
        """A text with what was printed before in the place of its words in capitals."""
        text = text.replace("http://127.0.0.1:PORT", context.here().url)
        return re.sub(r"\b(RECEIPT|TOKEN)\b", lambda match: self.printed[match[1]], text)

    @property
    def _key_file(self) -> Path:
        return api_keys.current_file(self.wallet)

    @contextmanager
    def _leaves_running(self, command: str) -> Iterator[None]:
        process = subprocess.Popen(
            [sys.executable, "-m", "roles.cli.main", *split(command)[1:]],
            env=self.person.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.lstrip().startswith("next"):
                    break
            else:
                pytest.fail(f"{command} ended: {''.join(said)}")
            yield
        finally:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_roles_page_says_can_be_typed_in_its_order(settled: Person, folder: Path, page: Path) -> None:
    found = re.search(r"wallet create (\w+)", page.read_text())
    assert found is not None
    reader = Reader(settled, found[1])
    with ExitStack() as terminals:
        for block in book.blocks(page):
            reader.reads(block, terminals)


def test_every_example_of_the_reference_of_http_is_answered(folder: Path) -> None:
    key = ask("consumer key --manage --delegate --label reader -w alice")["key"]
    with httpx.Client(base_url=context.here().url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for (method, path), body in EXAMPLES.items():
            answer = client.request(method, path, json=body)
            assert answer.is_success, f"{method} {path}: {answer.text}"


def test_the_readmes_first_call_is_answered(settled: Person, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [first] = [block for block in book.blocks(ROOT / "README.md") if block.text.startswith("from openai")]
    with ExitStack() as terminals:
        Reader(settled, "alice").reads(first, terminals)
    assert capsys.readouterr().out.strip()
