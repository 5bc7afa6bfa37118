"""Putting the story on: as `tollway demo` plays it once and checks it, and as `tollway up` leaves it standing."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from ledger.core.values.errors import Rejected
from roles.local import actors, control, network
from roles.local.console import Teller
from roles.local.demo import Tour, upstream_of
from roles.local.folder import Place
from roles.wallet import home, transactions

UP_PACE = network.Pace(batch_seconds=10, window_seconds=60)


def play(
    folder: Path, calls: int, upstream: str | None, upstream_model: str | None, *, keep: bool, json_file: Path | None
) -> None:
    """Tell the whole story in a folder of its own. Rejected, with the failed checks, unless all of them held."""
    teller, url = Teller(), upstream_of(upstream, upstream_model)
    with network.living_in(folder) as place:
        story = Tour(place, teller, calls, url)
        try:
            story.tell()
            keep = keep or bool(teller.failed)
        except BaseException:
            keep = True
            raise
        finally:
            control.stop(place)
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                teller.console.print(f"\nits data and logs are kept in {folder}")
    if json_file:
        json_file.write_text(json.dumps(story.facts, indent=2) + "\n")
    if teller.failed:
        raise Rejected(f"{len(teller.failed)} checks failed: {', '.join(check.name for check in teller.failed)}")
    told = story.facts
    teller.console.print(
        f"\ndemo: ok, {told['calls']} calls, {told['payees']} payees, {told['settled_atoms']} atoms settled, "
        "ledger and chain agree",
        soft_wrap=True,
    )


def bring_up(upstream: str | None, upstream_model: str | None, *, quiet: bool) -> None:
    """The network of this home: as it was left, or, the first time, with everybody on the market and money in it."""
    url = upstream_of(upstream, upstream_model)
    with network.living_in(home.home()) as place:
        if (place.folder / "settled_in").exists():
            control.start(place)
            control.wait(place, network.SERVERS)
            network.contracts(place)  # looks for the code at every address, and would put it there
            control.wait(place, place.wanted())
        else:
            _settle_in(Teller(quiet=quiet), place, url)


def _settle_in(teller: Teller, place: Place, upstream: str | None) -> None:
    """What the first `up` does. Interrupted, it is done again from the start: every step finds what is there."""
    story = Tour(place, teller, 0, upstream, UP_PACE)
    story.components()
    story.market()
    behind = int(time.time()) - transactions.now()
    if behind > 0:
        network.advance(behind)
    story.nodes()
    teller.run(f"consumer deposit 20 --wallet {actors.CONSUMER}", "deposit status")
    teller.run(f"consumer key --label playing --wallet {actors.CONSUMER}", "id spends_at_most")
    home.write_private(place.folder / "settled_in", "")
