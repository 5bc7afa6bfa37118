"""Batch files are mirrored to a folder: those that the chain has a header for, each once, and nothing else."""

import io
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.core.settlement.batch_file import read
from ledger.core.settlement.batches import Status
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import to_hex
from ledger.store.session import unit_of_work
from ledger.store.settlement import batch_files, batches
from roles.audit.mirror import mirror
from roles.cli import batch as commands
from roles.wallet import transactions
from tests.ledger.chain.conftest import DEPOSIT, Stage, stage
from tests.ledger.flows.test_on_a_chain import Operator

__all__ = ["stage"]


class Gateway:
    """What a gateway says of its batches and their files; `spoilt` are files that it gets wrong."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.served: list[int] = []
        self.spoilt: dict[int, bytes] = {}

    def get(self, path: str, **page: object) -> dict[str, Any]:
        with unit_of_work(self.operator.engine) as session:
            found = batches.with_status(session, self.operator.stage.lane, *Status)
        rows = [{"number": b.number, "status": b.status.value, "header_id": to_hex(b.header.id)} for b in found]
        return {"data": rows, "has_more": False, "before": None}

    def file(self, path: str) -> bytes:
        number = int(path.split("/")[-2])
        self.served.append(number)
        sink = io.BytesIO()
        with unit_of_work(self.operator.engine) as session:
            found = batches.get(session, self.operator.stage.lane, number)
            assert found is not None
            batch_files.write_again(session, sink, self.operator.stage.domain, found)
        return self.spoilt.get(number, sink.getvalue())


@pytest.fixture
def operator(engine: Engine, stage: Stage) -> Operator:
    made = Operator(engine, stage)
    for calls in (3, 2):
        made.serve(calls, leased=0 if made.served else DEPOSIT)
        made.settle()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet. Those above it are: a disk that is not mounted must not be made up for."""
    (tmp_path / "ä b").mkdir()
    return tmp_path / "ä b" / "mirror"


@pytest.fixture
def context(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(transactions, "chain", lambda context: operator.chain)
    lane = {"chain_id": operator.chain.chain_id}
    return SimpleNamespace(
        gateway=Gateway(operator), lane=lane, lane_id=operator.stage.lane, url="http://gate", working=nullcontext
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_batch_on_chain_is_copied_once(context: Any, operator: Operator, folder: Path) -> None:
    first = [(one.number, one.fresh, one.difference) for one in mirror(context, folder)]
    assert first == [(1, True, ""), (2, True, "")]
    copied = files(folder)
    assert [read(body).opening.number for _, body in sorted(copied.items())] == [1, 2]
    assert [(one.number, one.fresh) for one in mirror(context, folder)] == [(1, False), (2, False)]
    assert context.gateway.served == [1, 2], "nothing is downloaded twice"
    assert files(folder) == copied


def test_a_run_that_was_cut_short_goes_on(context: Any, folder: Path) -> None:
    mirror(context, folder)
    whole = files(folder)
    first, second = sorted(folder.iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    assert [one.fresh for one in mirror(context, folder)] == [True, True]
    assert files(folder) == whole


def test_a_file_that_is_not_the_one_on_chain_is_not_kept(
    context: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.gateway.spoilt[1] = context.gateway.file("/v1/settlement/batches/2/file")
    monkeypatch.setattr(commands, "here", lambda: context)
    with pytest.raises(Rejected, match="batch 1 was not mirrored: it is not the file of header 0x"):
        commands.mirror(folder)
    assert [name[:9] for name in files(folder)] == ["00000002-"], "the others are copied"


def test_a_batch_that_the_gateway_hides_is_an_error(
    context: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context.gateway, "get", lambda path, **page: {"data": [], "has_more": False, "before": None})
    with pytest.raises(Unavailable, match="http://gate does not list"):
        mirror(context, folder)
    assert not folder.exists()
