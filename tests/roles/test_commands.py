"""The command line: it tours, it explains itself, it answers programs, and a mistake moves nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from roles.cli import main
from roles.cli.output import speech
from roles.wallet import keystore

ROOT = Path(__file__).resolve().parents[2]
VECTORS = Path(__file__).resolve().parent.parent / "vectors"
GROUPS = [name for name, _ in main.GROUPS]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, and nothing from the environment."""
    for name in ("TOLLWAY_GATEWAY", "TOLLWAY_RPC_URL", "TOLLWAY_WALLET", "TOLLWAY_API_KEY", "TOLLWAY_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.setattr(speech, "json", False)
    monkeypatch.setattr(speech, "yes", False)
    return tmp_path


def test_help_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*GROUPS, "demo", "up", "down"))


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_explains_itself(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([group, "--help"]) == 0
    assert "Commands" in capsys.readouterr().out


@pytest.mark.parametrize("typed", [*([group, "--help"] for group in GROUPS), ["wallet", "list"]], ids=" ".join)
def test_what_is_slow_to_import_waits_until_it_is_needed(typed: list[str]) -> None:
    slow = ("numpy", "numba", "web3", "eth_abi", "httpx", "aiohttp", "onnxruntime", "wasmtime", "Crypto")
    told = f"import sys; from roles.cli.main import run; run({typed}); print(sorted({{*{slow}}} & {{*sys.modules}}))"
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_every_command_answers_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["wallet", "create", "alice", "--light", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main.run(["wallet", "show", "alice", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made


def test_an_error_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["wallet", "show", "nobody", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["kind"] == "rejected"
    assert "nobody" in said["error"]


def test_without_a_gateway_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["consumer", "balance"]) == 1
    assert "tollway up" in capsys.readouterr().err


def test_a_gateway_that_is_not_there_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["consumer", "models", "--gateway", "http://127.0.0.1:9"]) == 4
    assert "no gateway answers" in capsys.readouterr().err


def test_money_does_not_move_unasked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    to = "0x" + "11" * 20
    assert main.run(["wallet", "send", to, "1", "--rpc", "http://127.0.0.1:9"]) == 1
    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize("amount", ["1.2.3", "-5", "lots"])
def test_a_mistyped_amount_is_refused_before_anything_else(amount: str, capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["wallet", "send", "0x" + "11" * 20, "--yes", "--", amount]) == 1
    assert "is no amount" in capsys.readouterr().err


def test_the_vectors_agree(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(VECTORS / name) for name in ("mechanism.json", "mechanism_random.json", "sumtree.json")]
    assert main.run(["auditor", "check-vectors", *files, "--json"]) == 0
    assert [row["mismatches"] for row in json.loads(capsys.readouterr().out)] == [0, 0, 0]


def test_a_false_vector_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((VECTORS / "mechanism.json").read_text())
    document["vectors"][0]["price"] += 1
    (home / "false.json").write_text(json.dumps(document))
    assert main.run(["auditor", "check-vectors", str(home / "false.json")]) == 1
    assert "price says 1473, computed 1472" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", '{"vectors": []}'])
def test_a_file_that_is_no_vector_file_is_refused(content: str, home: Path) -> None:
    (home / "odd.json").write_text(content)
    assert main.run(["auditor", "check-vectors", str(home / "odd.json")]) == 1


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["walet", "list"], "Did you mean 'wallet'"),
        (["wallet", "lst"], "Did you mean 'list'"),
        (["wallet", "show"], "Missing parameter: name"),
        (["wallet", "list", "--jsn"], "o such option"),
    ],
)
def test_a_mistyped_command_is_told_with_what_is_near(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(typed) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def commands() -> list[tuple[str, Any]]:
    """Every command there is."""
    tree: Any = typer.main.get_command(main.build())
    found = [(name, one) for name, one in tree.commands.items() if not hasattr(one, "commands")]
    return found + [
        (f"{group} {name}", one)
        for group, inside in tree.commands.items()
        for name, one in getattr(inside, "commands", {}).items()
    ]


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_explains_itself_answers_programs_and_takes_no_secret(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert command.help, f"tollway {name} does not say what it does"
    assert "--json" in options
    assert not [option for option in options if "password" in option or "private" in option or "secret" in option]
    assert len(command.help.splitlines()[0]) < 160


def test_the_commands_are_those_of_the_tour() -> None:
    assert {name.split()[0] for name, _ in commands()} == {*GROUPS, "up", "down", "demo"}
