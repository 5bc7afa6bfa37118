"""The book on a running network: what each role's first hour says is typed there in its order, and so are the commands
of the other pages and of the READMEs.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import split
from types import SimpleNamespace
from unittest.mock import patch

import httpx
import pytest
from typer import Exit

from docs.book.routes import EXAMPLES
from ledger.core.values.errors import Rejected
from roles.cli import auditor, context
from roles.cli.main import ask
from roles.cli.output import wait_until
from roles.local import network
from roles.local.folder import ROOT
from roles.wallet import api_keys
from tests import book
from tests.book import Block
from tests.gateway.nodes import chat
from tests.journey.conftest import Person
from tests.roles.model_servers import chats, locked, paths, serving, tensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PAGES = book.typed_pages("docs/roles/*.md")
TYPED = re.compile(r"((?:[A-Z_]+=\S* )*)tollway (.*?)(?: > (\S+))?")
"""A command: settings before it, its words, the file that takes what it prints."""
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
    values: Mapping[str, str] = field(default_factory=dict)
    """What stands with this reader where the page has an example, such as `http://HOST:PORT`."""
    printed: dict[str, str] = field(default_factory=dict)

    def reads(self, block: Block, terminals: ExitStack) -> None:
        """Do what a block says."""
        if block.language == "python":
            exec(self._filled(block.text), {"KEY_FILE": self._key_file})
        elif block.apart:
            terminals.enter_context(self.leaves_running(block.lines[0]))
        elif "curl" in block.text:
            said = self._filled(block.text.replace("KEY_FILE", f"'{self._key_file}'"))
            ended = subprocess.run(["bash", "-ec", said], capture_output=True, text=True, check=True)
            assert json.loads(ended.stdout)["choices"], ended.stdout
        else:
            for line in block.lines:
                self._types(self._filled(line))

    def _types(self, line: str) -> None:
        """Type a command that must succeed, with the settings before it; what it prints goes into a file behind it."""
        typed = TYPED.fullmatch(line)
        assert typed is not None, line
        settings, command, file = typed.groups()
        with patch.dict(os.environ, dict(one.split("=", 1) for one in settings.split())):
            answer = self._asks(command)
        if file:
            Path(file).write_text(json.dumps(answer))

    def _asks(self, command: str) -> object:
        if command.startswith(("consumer verify", "batch show")):
            assert wait_until(lambda: self._is_batched(command), 120, 1), "no batch came on chain"
        answer = ask(command)
        if isinstance(answer, dict):
            self.printed |= {name.upper(): answer[name] for name in PRINTED if isinstance(answer.get(name), str)}
        return answer

    @staticmethod
    def _is_batched(command: str) -> bool:
        rows = ask("batch list")
        if not rows:
            return False
        return "verify" not in command or ask(command).get("batch") is not None

    def _filled(self, text: str) -> str:
        """A text with what was printed before in the place of its words in capitals."""
        for example, value in ({"http://127.0.0.1:PORT": context.here().url} | {**self.values}).items():
            text = text.replace(example, value)
        return re.sub(r"\b(RECEIPT|TOKEN)\b", lambda match: self.printed[match[1]], text)

    @property
    def _key_file(self) -> Path:
        return api_keys.current_file(self.wallet)

    @contextmanager
    def leaves_running(self, command: str) -> Iterator[None]:
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
    with ExitStack() as terminals:
        own = terminals.enter_context(serving(paths(chats("my-model"))))
        reader = Reader(settled, found[1], {"http://HOST:PORT": own.url})
        for block in book.blocks(page):
            reader.reads(block, terminals)


def test_every_example_of_the_reference_of_http_is_answered(folder: Path) -> None:
    key = ask("consumer key --manage --delegate --label reader -w alice")["key"]
    with httpx.Client(base_url=context.here().url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for (method, path), body in EXAMPLES.items():
            answer = client.request(method, path, json=body)
            assert answer.is_success, f"{method} {path}: {answer.text}"


def test_the_readmes_first_call_is_answered(settled: Person, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = book.typed("README.md", "from openai import OpenAI")
    with ExitStack() as terminals:
        Reader(settled, "alice").reads(first, terminals)
    assert capsys.readouterr().out.strip()


@pytest.fixture
def me(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The wallet that the other pages call `me`, with test money. Commands that name no wallet are its."""
    if "me" not in {row["wallet"] for row in ask("wallet list")}:
        ask("wallet create me --light --faucet 300")
    monkeypatch.setenv("TOLLWAY_WALLET", "me")
    return "me"


def test_each_kind_of_server_is_sold_as_its_page_says(settled: Person, me: str) -> None:
    says = {"/v1/chat/completions": chat("from a server")}
    named = {path: said for path, said in tensors("flowers").items() if "repository" not in path}
    with ExitStack() as running:
        url = {
            name: running.enter_context(serving(behaviour)).url
            for name, behaviour in {
                "any": paths(chats("any") | says),
                "ollama": paths(chats("llama3.2:latest") | says),
                "vllm": locked("sk-vllm", chats("qwen3-8b") | says),
                "litellm": locked("sk-...", chats("my-model", "another") | says),
                "triton": paths(tensors("densenet")),
                "openvino": paths(named | {"/v2": {"name": "ovms"}}),
                "media": paths(chats("sdxl", "kokoro", "whisper-1")),
            }.items()
        }
        ollama = {"http://127.0.0.1:11434": url["ollama"]}
        for block, values in (
            (book.typed("docs/servers.md", "http://HOST:PORT"), {"http://HOST:PORT": url["any"]}),
            (book.typed("docs/servers.md", "ollama pull"), ollama),
            (book.typed("docs/servers.md", "vllm serve"), {"http://HOST:8000": url["vllm"], "$KEY": "sk-vllm"}),
            (book.typed("docs/servers.md", "litellm --config"), {"http://HOST:4000": url["litellm"]}),
            (book.typed("docs/servers.md", "nvidia/tritonserver"), {"http://HOST:8000": url["triton"]}),
            (book.typed("docs/servers.md", "openvino/model_server"), {"http://HOST:8000": url["openvino"]}),
            (book.typed("docs/servers.md", "openai.images/1"), {"http://HOST:8080": url["media"]}),
        ):
            Reader(settled, me, values).reads(block, running)
        network.advance(network.EPOCH_SECONDS)
        (serve,) = book.typed("docs/servers.md", "tollway provider serve --upstream").with_(ollama).lines
        running.enter_context(Reader(settled, me).leaves_running(serve))
        sold = {"@acme/any", "@acme/llama3.2-latest", "@acme/qwen3-8b", "@acme/my-model"}
        assert wait_until(lambda: sold <= {row["model"] for row in ask("consumer models")}, 180, 0.5), sold
        for name in sorted(sold):
            assert ask(f"consumer call {name} hello --max-tokens 8 -w alice")["answer"] == "from a server"
    registered = {row["model"]: row for name in ("densenet", "flowers") for row in ask(f"maker versions @acme/{name}")}
    assert len(registered) == 2


def test_what_the_pages_of_capsules_say_is_typed(settled: Person, me: str) -> None:
    reader = Reader(settled, me, {"@acme/dialog": "@delta/dialog", "WALLET": me})
    if not api_keys.current_file(me).exists():  # `weaver try` is paid
        ask(f"consumer deposit 2 -w {me}")
        ask(f"consumer key -w {me}")
    with ExitStack() as terminals:
        reader.reads(book.typed("docs/capsules.md", "tollway weaver new"), terminals)
        reader.reads(book.typed("docs/console.md", "tollway weaver publish"), terminals)
    assert json.loads(Path("capsule.schema.json").read_text())["$schema"]
    paid = {row["what"].strip() for row in ask("weaver run @me/flow 'Where is my parcel?' -w alice")}
    assert {"@me/flow", "@delta/dialog", "· weaver"} <= paid


def test_the_watcher_of_the_page_of_disputes_looks_and_then_waits(
    settled: Person, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "ada" not in {row["wallet"] for row in ask("wallet list")}:
        ask("wallet create ada --light --faucet 5")
    waited: list[float] = []

    def until_it_waits(seconds: float) -> None:
        waited.append(seconds)
        raise Exit

    monkeypatch.setattr(auditor, "time", SimpleNamespace(sleep=until_it_waits))
    with ExitStack() as terminals:
        Reader(settled, "ada").reads(book.typed("docs/how/disputes.md", "tollway auditor watch"), terminals)
    assert waited == [15]


def test_what_the_runbook_says_at_a_network_that_runs_is_typed(
    settled: Person, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_WALLET", "olga")
    ask("wallet create gateway-1 --light")
    ask("operator add-gateway gateway-1")
    values = {"FOLDER": "files", "[--gateway URL]": f"--gateway {context.here().url}", " [--json]": ""}
    reader = Reader(settled, "olga", values)
    with ExitStack() as terminals:
        reader.reads(book.typed("docs/runbook.md", "tollway batch mirror"), terminals)
        reader.reads(book.typed("docs/runbook.md", "tollway operator revoke-gateway gateway-1"), terminals)
        reader.reads(book.typed("docs/runbook.md", "tollway operator poster"), terminals)
        reader.reads(book.typed("docs/runbook.md", "tollway operator alarms --clear"), terminals)
    assert [*Path("files").iterdir()]
    with pytest.raises(Rejected, match="give the gateway a new key"):
        ask("operator add-gateway gateway-1")
