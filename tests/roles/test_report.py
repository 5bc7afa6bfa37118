"""Who earned what is made again from a folder of batch files and the chain: no gateway, no database."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger.core.settlement import batch_file, earnings
from ledger.core.settlement.cumulatives import NOTHING
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, to_hex
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches
from roles.audit.mirror import mirror
from roles.audit.report import Report, Wanted, _difference, report
from roles.cli import batch as commands
from roles.cli import output
from tests.ledger.chain.conftest import stage
from tests.ledger.flows.test_on_a_chain import Operator
from tests.roles.test_mirror import context, folder, operator

__all__ = ["context", "folder", "operator", "stage"]


@pytest.fixture
def files(context: Any, folder: Path) -> Path:
    """The mirrored files of two batches; from then on no gateway answers."""
    mirror(context, folder)
    context.gateway, context.lane = SimpleNamespace(), None
    return folder


def made(context: Any, files: Path, wanted: Wanted = Wanted()) -> Report:  # noqa: B008
    return report(context, files, wanted)


def test_what_each_payee_earned_is_what_the_ledger_says_by_payee_and_role(
    context: Any, operator: Operator, files: Path
) -> None:
    found = made(context, files)
    assert [(one.number, one.status in ("posted", "final"), one.difference) for one in found.batches] == [
        (1, True, ""),
        (2, True, ""),
    ]
    ours: Counter[tuple[str, str]] = Counter()
    for row in found.rows:
        ours[str(row["payee"]), str(row["role"])] += int(str(row["earned"]))
    stored: Counter[tuple[str, str]] = Counter()
    with unit_of_work(operator.engine) as session:
        for number in (1, 2):
            for (payee, role), amount in batches.earned(session, operator.stage.lane, number).items():
                stored[to_hex(payee), role.name] += amount
    assert ours == stored
    assert sum(one.charged for one in found.batches) == sum(stored.values())
    assert {str(row["model"])[:7] for row in found.rows} == {"bafkrei"}


def test_epochs_and_a_payee_choose_what_is_added_up(context: Any, files: Path) -> None:
    found = made(context, files)
    epochs = {source.epoch for source in found.amounts}
    assert made(context, files, Wanted(first=max(epochs) + 1)).rows == []
    assert made(context, files, Wanted(min(epochs), max(epochs))).rows == found.rows
    payee = Address(bytes.fromhex(str(found.rows[0]["payee"])[2:]))
    assert {row["payee"] for row in made(context, files, Wanted(payee=payee)).rows} == {to_hex(payee)}


def test_a_file_that_is_not_of_a_header_on_chain_is_named_and_left_out(
    context: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted(files.iterdir())
    body = bytearray(second.read_bytes())
    body[-1] ^= 1  # of a root: the form of the file is sound
    second.write_bytes(body)
    found = made(context, files)
    assert [(one.number, bool(one.difference)) for one in found.batches] == [(1, False), (2, True), (0, True)]
    assert found.amounts == earnings.of_file(batch_file.read(first.read_bytes())).amounts
    monkeypatch.setattr(commands, "here", lambda: context)
    monkeypatch.setattr(output.mode, "json", True)
    with pytest.raises(Rejected, match="is left out: the chain has no batch with this header"):
        commands.report(files)


def test_a_batch_whose_file_is_missing_is_named(context: Any, files: Path) -> None:
    first, _ = sorted(files.iterdir())
    first.unlink()
    found = made(context, files)
    assert [(one.number, one.difference[:30]) for one in found.batches] == [
        (2, "the file of the batch before i"),
        (0, f"its file is not in {files}"[:30]),
    ]
    assert found.rows == []


def test_an_empty_folder_says_what_fills_it(tmp_path: Path) -> None:
    for empty in (tmp_path, tmp_path / "none"):
        with pytest.raises(Rejected, match="tollway batch mirror"):
            made(SimpleNamespace(), empty)


def test_receipts_hash_to_the_root_and_pay_what_payouts_grew_by_and_what_does_not_is_named(files: Path) -> None:
    first, second = (batch_file.read(path.read_bytes()) for path in sorted(files.iterdir()))
    for file, before in ((first, NOTHING), (second, first.payouts)):
        found = earnings.of_file(file)
        assert found.receipts_root == file.roots.receipts
        assert found.by_payee == earnings.growth(file, before)
        assert {source.epoch for source in found.amounts} <= {one.epoch for one in file.receipts}
    assert _difference(second, found, (first.header.id, first.payouts)) == ""
    assert "its payouts grew by" in _difference(second, found, (first.header.id, NOTHING))
    assert "its receipts hash to" in _difference(second, earnings.of_file(first), (first.header.id, first.payouts))
