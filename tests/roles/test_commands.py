"""The command line: help, JSON answers, errors with a remedy; a mistake moves no money."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer import rich_utils

from ledger.core.values.meters import Meter
from roles.cli import main, maker
from roles.cli.output import mode
from roles.wallet import keystore

ROOT = Path(__file__).resolve().parents[2]
VECTORS = Path(__file__).resolve().parent.parent / "vectors"
GROUPS = list(main.GROUPS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home, and nothing from the environment."""
    for name in ("TOLLWAY_GATEWAY", "TOLLWAY_RPC_URL", "TOLLWAY_WALLET", "TOLLWAY_API_KEY", "TOLLWAY_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.setattr(mode, "json", False)
    monkeypatch.setattr(mode, "yes", False)
    return tmp_path


def test_help_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*GROUPS, "demo", "up", "down"))


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([group, "--help"]) == 0
    assert "Commands" in capsys.readouterr().out


@pytest.mark.parametrize("typed", [*([group, "--help"] for group in GROUPS), ["wallet", "list"]], ids=" ".join)
def test_what_is_slow_to_import_waits_until_it_is_needed(typed: list[str]) -> None:
    slow = ("numpy", "numba", "web3", "eth_abi", "httpx", "aiohttp", "onnxruntime", "wasmtime", "Crypto")
    program = f"import sys; from roles.cli.main import run; run({typed}); print(sorted({{*{slow}}} & {{*sys.modules}}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_who_registers_and_who_derives_describes_a_model_by_the_same_options() -> None:
    group = typer.main.get_command(main.build())
    options = {}
    for line in (("maker", "register"), ("oem", "derive")):
        command: Any = group
        for word in line:
            command = command.commands[word]
        options[line] = {
            one.name: (
                one.opts,
                one.default,
                one.nargs,
                one.multiple if one.opts[0].startswith("-") else False,
                one.help,
            )
            for one in command.params
        }
        assert "described" not in options[line]
    fields = [one.name for one in dataclasses.fields(maker.Description)]
    registering, deriving = ([several[name] for name in fields] for several in options.values())
    assert registering == deriving


def every_command(root: Any) -> Iterator[tuple[list[str], Any]]:
    """Each command line that has help, and its command."""
    waiting: list[tuple[list[str], Any]] = [([], root)]
    while waiting:
        line, command = waiting.pop()
        yield line, command
        waiting += [([*line, name], one) for name, one in getattr(command, "commands", {}).items()]


def test_paragraphs_of_help_are_as_wide_as_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", 2_000)
    root = typer.main.get_command(main.build())
    for line, command in every_command(root):
        root([*line, "--help"], standalone_mode=False)
        shown = {" ".join(one.split()) for one in capsys.readouterr().out.splitlines()}
        told = re.sub(r"\[/?[a-z]*\]", "", command.help)
        for paragraph in told.strip().split("\n\n"):
            lines = [" ".join(one.split()) for one in paragraph.splitlines()]
            assert {*lines} <= shown, f"tollway {' '.join(line)}: {paragraph}"
            assert not any(len(one) > 70 for one in lines[:-1]), f"tollway {' '.join(line)}: {paragraph}"


def test_an_answer_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["wallet", "create", "alice", "--light", "--json"]) == 0
    created = json.loads(capsys.readouterr().out)
    assert main.run(["wallet", "show", "alice", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == created


def test_an_error_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["wallet", "show", "nobody", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["kind"] == "rejected"
    assert "nobody" in answer["error"]


def test_without_a_gateway_the_error_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["consumer", "balance"]) == 1
    assert "tollway up" in capsys.readouterr().err


def test_an_unreachable_gateway_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["consumer", "models", "--gateway", "http://127.0.0.1:9"]) == 4
    assert "no gateway answers" in capsys.readouterr().err


def test_an_amount_is_not_read_where_no_chain_says_what_its_token_is(capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["wallet", "send", "0x" + "11" * 20, "1", "--yes", "--rpc", "http://127.0.0.1:9"]) == 4
    assert "no chain answers" in capsys.readouterr().err


def test_money_does_not_move_without_a_confirmation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    to = "0x" + "11" * 20
    assert main.run(["wallet", "send", to, "1"]) == 1
    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize("amount", ["1.2.3", "-5", "lots"])
def test_a_mistyped_amount_is_refused_before_anything_else(amount: str, capsys: pytest.CaptureFixture[str]) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    assert main.run(["wallet", "send", "0x" + "11" * 20, "--yes", "--", amount]) == 1
    assert "is not an amount" in capsys.readouterr().err


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
def test_a_file_without_vectors_is_refused(content: str, home: Path) -> None:
    (home / "odd.json").write_text(content)
    assert main.run(["auditor", "check-vectors", str(home / "odd.json")]) == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["walet", "list"], "Did you mean 'wallet'"),
        (["wallet", "lst"], "Did you mean 'list'"),
        (["wallet", "show"], "Missing parameter: name"),
        (["wallet", "list", "--jsn"], "o such option"),
    ],
)
def test_a_mistyped_command_is_an_error_with_the_nearest_name(
    typed: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(typed) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def commands() -> list[tuple[str, Any]]:
    """Every command there is."""
    tree: Any = typer.main.get_command(main.build())
    top = [(name, one) for name, one in tree.commands.items() if not hasattr(one, "commands")]
    return top + [
        (f"{group} {name}", one)
        for group, inside in tree.commands.items()
        for name, one in getattr(inside, "commands", {}).items()
    ]


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help_and_json_and_takes_no_secret(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert command.help, f"tollway {name} does not say what it does"
    assert "--json" in options
    assert not [option for option in options if "password" in option or "private" in option or "secret" in option]
    assert len(command.help.splitlines()[0]) < 160


def test_the_commands_are_those_of_the_help() -> None:
    assert {name.split()[0] for name, _ in commands()} == {*GROUPS, "up", "down", "demo"}


@pytest.mark.parametrize("command", ["provider bid", "maker bid", "provider deliver", "weaver preview"])
def test_the_help_of_an_ask_lists_every_meter_with_its_unit(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([*command.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(Meter.__members__) in shown
    assert "per million tokens or fuel" in shown


def test_up_works_without_the_openai_client_and_the_demo_names_the_remedy() -> None:
    program = """
import sys

class NoOpenAI:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "openai":
            raise ModuleNotFoundError("No module named 'openai'", name="openai")

sys.meta_path.insert(0, NoOpenAI())
from roles.local import actors, control, demo, network, scenario, supervisor
from roles.cli import main
print(main.run(["demo", "--calls", "8"]))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.split() == ["4"]
    assert "pip install 'tollway[local]'" in ended.stderr
