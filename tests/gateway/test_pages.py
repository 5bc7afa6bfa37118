"""Lists that grow for ever are read in pages."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ledger.core.settlement.batches import Status
from ledger.core.settlement.header import NO_HEADER, Header, heights_for
from ledger.core.values.ids import PRIVATE_LANE, ZERO_DIGEST
from ledger.core.values.sum_tree import ZERO
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches
from ledger.store.settlement.batches import Batch
from roles.audit import batches as reading
from tests.gateway.world import Running, World

HEADER = Header(NO_HEADER, 1, 1, heights_for(1, 1, 1, 1), ZERO, ZERO, ZERO, ZERO, ZERO, ZERO_DIGEST)
MANY = 205


def test_batches_are_listed_in_pages_that_a_command_joins(world: World, gateway: Running) -> None:
    with unit_of_work(world.engine) as session:
        for number in range(1, MANY + 1):
            header = replace(HEADER, closed_at=number)
            made = Batch(PRIVATE_LANE, number, Status.built, header, 1, number, number, 0, ZERO_DIGEST)
            batches.store(session, made, [], {})
    first = gateway.http.get("/v1/settlement/batches").json()
    assert [row["number"] for row in first["data"]] == list(range(MANY, MANY - 100, -1))
    assert (first["has_more"], first["before"]) == (True, MANY - 99)
    last = gateway.http.get("/v1/settlement/batches?before=6&limit=5").json()
    assert [row["number"] for row in last["data"]] == [5, 4, 3, 2, 1]
    assert (last["has_more"], last["before"]) == (False, None)
    assert gateway.http.get("/v1/settlement/batches?limit=1001").status_code == 422
    pages = list[dict[str, str]]()

    def get(path: str, **query: Any) -> Any:
        pages.append(query)
        query["limit"] = "50"
        return gateway.http.get(path, params={name: one for name, one in query.items() if one is not None}).json()

    here: Any = SimpleNamespace(gateway=SimpleNamespace(get=get))
    assert [int(row["number"]) for row in reading.every(here)] == list(range(MANY, 0, -1))
    assert len(pages) == 5
