"""Putting the story on: as `tollway demo` plays it once and checks it, and as `tollway up` leaves it standing."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from ledger.core.values.errors import Rejected
from roles.local import actors, control, network
from roles.local.console import DemoConsole
from roles.local.demo import Tour, upstream_of
from roles.local.folder import NetworkFolder
from roles.wallet import home, transactions

UP_PACE = network.Pace(batch_seconds=10, window_seconds=60)


def play(
    folder: Path, calls: int, upstream: str | None, upstream_model: str | None, *, keep: bool, json_file: Path | None
) -> None:
    """Tell the whole story in a folder of its own. Rejected, with the failed checks, unless all of them held."""
    console, url = DemoConsole(), upstream_of(upstream, upstream_model)
    with network.living_in(folder) as here:
        story = Tour(here, console, calls, url)
        try:
            story.tell()
            keep = keep or bool(console.failed)
        except BaseException:
            keep = True
            raise
        finally:
            control.stop(here)
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                console.console.print(f"\nits data and logs are kept in {folder}")
    if json_file:
        json_file.write_text(json.dumps(story.facts, indent=2) + "\n")
    if console.failed:
        raise Rejected(f"{len(console.failed)} checks failed: {', '.join(check.name for check in console.failed)}")
    facts = story.facts
    console.console.print(
        f"\ndemo: ok, {facts['calls']} calls, {facts['payees']} payees, {facts['settled_atoms']} atoms settled, "
        "ledger and chain agree",
        soft_wrap=True,
    )


def bring_up(upstream: str | None, upstream_model: str | None, *, quiet: bool) -> None:
    """The network of this home: as it was left, or, the first time, with everybody on the market and money in it."""
    url = upstream_of(upstream, upstream_model)
    with network.living_in(home.home()) as folder:
        if (folder.path / "settled_in").exists():
            control.start(folder)
            control.wait(folder, network.SERVERS)
            network.contracts(folder)  # looks for the code at every address, and would put it there
            control.wait(folder, folder.wanted())
        else:
            _settle_in(DemoConsole(quiet=quiet), folder, url)


def _settle_in(console: DemoConsole, folder: NetworkFolder, upstream: str | None) -> None:
    """What the first `up` does. Interrupted, it is done again from the start: every step finds what is there."""
    story = Tour(folder, console, 0, upstream, UP_PACE)
    story.components()
    story.market()
    behind = int(time.time()) - transactions.now()
    if behind > 0:
        network.advance(behind)
    story.nodes()
    console.run(f"consumer deposit 20 --wallet {actors.CONSUMER}", "deposit status")
    console.run(f"consumer key --label playing --wallet {actors.CONSUMER}", "id spends_at_most")
    home.write_private(folder.path / "settled_in", "")
