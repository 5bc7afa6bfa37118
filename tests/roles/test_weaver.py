"""A weaver's first minutes: a file to start from, what is wrong in it, and its picture."""

import json
import shutil
from pathlib import Path

import pytest

from ledger.core.catalog import patterns
from roles.cli import main
from roles.cli.output import mode
from roles.cli.shared import bundles
from tests import book

GOOD = ["@acme/a", "@acme/b"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home and folder, and nothing from the environment."""
    for name in ("TOLLWAY_GATEWAY", "TOLLWAY_RPC_URL", "TOLLWAY_WALLET", "TOLLWAY_API_KEY", "TOLLWAY_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mode, "json", False)
    monkeypatch.setattr(mode, "yes", False)
    return tmp_path


def test_a_new_capsule_checks_and_is_drawn_with_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["weaver", "new", "@me/flow", "--model", GOOD[0], "--model", GOOD[1], "--to", "my flow.json"]) == 0
    assert "tollway weaver check 'my flow.json'" in capsys.readouterr().err
    assert main.run(["weaver", "check", "my flow.json"]) == 0
    assert "were not looked up" in capsys.readouterr().err
    assert main.run(["weaver", "show", "my flow.json"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in GOOD)
    assert "0x000" not in shown


def test_the_books_step_of_glue_fits_a_capsule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsule = patterns.start("@me/flow", GOOD, patterns.Pattern.serial)
    page = json.loads("{" + book.shown("docs/glue.md", '"export": "longest"').text.replace("[ ...,", "[") + "}")
    whole = {**capsule, "steps": [*capsule["steps"], *page["steps"]], "glue": page["glue"]}
    (folder / "capsule.json").write_text(json.dumps(whole))
    assert main.run(["weaver", "check", "capsule.json"]) == 1
    assert "glue.wasm" in capsys.readouterr().err, "the file that the page names has to be there"
    shutil.copy(Path(__file__).parents[2] / "deploy" / "demo" / "glue" / "glue.wasm", folder)
    assert main.run(["weaver", "check", "capsule.json"]) == 0


def test_a_file_that_is_there_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "capsule.json").write_text("mine")
    assert main.run(["weaver", "new", "@me/flow"]) == 1
    assert "capsule.json: file exists" in capsys.readouterr().err
    assert (folder / "capsule.json").read_text() == "mine"


def test_a_name_that_cannot_be_published_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["weaver", "new", "flow"]) == 1
    assert "$.name: 'flow' does not match ^@[a-z0-9-]+/[a-z0-9._-]+$" in capsys.readouterr().err
    assert not list(folder.iterdir())


@pytest.mark.parametrize("command", [["check"], ["publish", "--yes"], ["show"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "a JSON object"),
        ('{"[/x]": 1}', "$.[/x]: unknown field"),
        ('{"steps": [], "[x]": 1.5}', "1.5"),
    ],
)
def test_a_file_that_is_no_capsule_is_named_with_all_that_is_wrong(
    command: list[str], text: str | None, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (folder / "bad.json").write_text(text)
    assert main.run(["weaver", command[0], "bad.json", *command[1:]]) == 1
    printed = capsys.readouterr().err
    assert "bad.json" in printed
    assert said in printed


def test_mistakes_are_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.json").write_text(json.dumps(patterns.start("me/flow", []) | {"failure": "never"}))
    assert main.run(["weaver", "check", "bad.json", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["mistakes"]
    assert sorted(row["place"] for row in rows) == ["$.failure", "$.name"]


def test_the_schema_is_printed_for_an_editor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["weaver", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == bundles.schema()
