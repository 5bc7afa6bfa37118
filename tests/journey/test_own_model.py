"""A newcomer's own model, from its file to the first paid call: five commands, and less than five minutes."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import book
from tests.journey.conftest import ROOT, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAKERS = Path(os.environ.get("MAKERS_PYTHON") or ROOT / ".venv" / "makers" / "bin" / "python")
FIVE_MINUTES = 300


@dataclass
class Terminal:
    """A newcomer's terminal, in the folder of the models: what was typed there, and when the first of it was."""

    person: Person
    folder: Path
    typed: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def types(self, command: str) -> str:
        """Type a command that must succeed; what it answers."""
        self.typed.append(command)
        ended = self.person.types(*shlex.split(command)[1:], folder=self.folder)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    @contextmanager
    def leaves_running(self, command: str, until: str) -> Iterator[None]:
        """Type a command in a second terminal, and read there until it says something."""
        self.typed.append(command)
        process = subprocess.Popen(
            [sys.executable, "-m", "roles.cli.main", *shlex.split(command)[1:]],
            env=self.person.environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if until in line:
                    break
            else:
                pytest.fail(f"{command} ended: {''.join(said)}")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newcomer's models, made with skl2onnx and onnx in their own environment."""
    if not MAKERS.exists():
        pytest.skip(f"{MAKERS} is not there: make test-slow installs it")
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([MAKERS, Path(__file__).with_name("makers.py"), folder], check=True, timeout=600)
    return folder


@pytest.mark.parametrize(
    ("wallet", "file", "typed", "answers"),
    [
        ("ida", "iris.onnx", "'X=[[5.1,3.5,1.4,0.2]]'", ("label", "0")),
        ("pia", "digits.onnx", "image=@three.png", ("digit", "3")),
        ("theo", "reviews", "'review=it works, and I am happy'", ("label", "good")),
    ],
    ids=["table", "image", "text"],
)
def test_a_models_file_is_five_commands_and_five_minutes_from_its_first_paid_call(
    settled: Person, models: Path, wallet: str, file: str, typed: str, answers: tuple[str, str]
) -> None:
    newcomer = Terminal(settled, models)
    name = f"@{wallet}/{Path(file).stem}"
    readme = book.typed("README.md", "tollway maker register iris.onnx").with_({"'X=[[5.1,3.5,1.4,0.2]]'": typed})
    own = {"iris.onnx=@ida/iris": f"{file}={name}", "iris.onnx": file, "@ida/iris": name, "ida": wallet}
    create, register, serve, advance, infer = (
        re.sub("|".join(map(re.escape, own)), lambda found: own[found[0]], line) for line in readme.lines
    )
    newcomer.types(create)
    said = newcomer.types(f"{register} --yes")
    assert f"tollway provider bid {name} --ask call=1000 -w {wallet}" in said, "what is next can be pasted"
    with newcomer.leaves_running(f"{serve} --yes", until=f"next     {advance}"):
        newcomer.types(advance)
        answer = newcomer.types(infer)
        lasted = time.monotonic() - newcomer.began
    facts = dict(line.split(maxsplit=1) for line in answer.splitlines())
    assert facts[answers[0]].strip() == answers[1]
    assert facts["charge"].strip().endswith("atoms"), "it was paid"
    assert len(newcomer.typed) == 5
    assert lasted < FIVE_MINUTES


def test_what_cannot_be_called_is_not_registered(settled: Person, models: Path) -> None:
    before = {row["id"] for row in settled.asks("maker", "versions", "@")}
    refused = settled.types("maker", "register", "@penny/zipmap", str(models / "zipmap.onnx"), "-w", "penny", "--yes")
    assert refused.returncode == 1
    assert "zipmap': False" in refused.stderr
    assert {row["id"] for row in settled.asks("maker", "versions", "@")} == before


def test_another_graph_is_not_served_in_a_models_place(settled: Person, models: Path) -> None:
    settled.asks("wallet", "create", "otto", "--faucet", "100")
    settled.asks("maker", "register", "@otto/iris", str(models / "iris.onnx"), "-w", "otto", "--yes")
    refused = settled.types("provider", "serve", f"{models / 'digits.onnx'}=@otto/iris", "-w", "otto", seconds=120)
    assert refused.returncode == 1
    assert "is not what @otto/iris was registered with" in refused.stderr
