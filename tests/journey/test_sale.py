"""A maker sells a model on a running network: the title, the price, and from the next open epoch the royalties pass."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import cid, to_hex
from roles.audit import verification
from roles.cli import context, main
from roles.cli.main import ask as run
from roles.cli.output import wait_until
from roles.local import actors, network
from roles.local.actors import BASE, EMOTION
from roles.wallet import keystore, transactions
from tests.journey.conftest import Person, settled_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DAY = 86_400
TEXT = "my parcel is lost and nobody answers"
PRICE = 5 * 10**9


@pytest.fixture(scope="module")
def young(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A network of its own, in which everything was registered just now."""
    with settled_in(tmp_path_factory.mktemp("sale") / "home") as person:
        yield person


@pytest.fixture(scope="module")
def market(young: Person) -> Person:
    """The same, a day old: what its makers registered is final. Atlas asks anew for the OEM's child."""
    with network.living_in(young.home):
        network.advance(DAY)
        run(f"provider bid {EMOTION} --ask call=2000 --wallet atlas")
        to_the_middle_of_an_epoch(1)
        run("wallet faucet 10 --wallet delta")
        until_callable(EMOTION)
    return young


@pytest.fixture(autouse=True)
def at_home(young: Person) -> Iterator[None]:
    """Commands run in this process, in the network's home."""
    with network.living_in(young.home):
        yield


def to_the_middle_of_an_epoch(further: int) -> None:
    """Move the chain's clock to the middle of a later epoch, so that nothing here crosses a border."""
    now, epoch = transactions.now(context.here()), network.EPOCH_SECONDS
    network.advance((now // epoch + further) * epoch + epoch // 2 - now)


def until_callable(name: str) -> None:
    """Wait until the gateway lists it in the chain's epoch: its node's offer of the one before may have ended."""

    def is_listed() -> bool:
        epoch = transactions.now(context.here()) // network.EPOCH_SECONDS
        known = context.here().gateway.get("/v1/lane")["epoch"] == epoch
        return known and name in {row["model"] for row in run("consumer models")}

    assert wait_until(is_listed, 180, 0.5), name


def address_of(wallet: str) -> str:
    return to_hex(keystore.address_of(wallet))


def earned(wallet: str) -> int:
    return int(run(f"maker earnings --wallet {wallet}")["earned"])


def has_earned(wallet: str, atoms: int) -> bool:
    return earned(wallet) >= atoms


def claimed(wallet: str) -> int:
    return int(run(f"maker earnings --wallet {wallet}")["claimed"])


def held(wallet: str) -> int:
    """AIC in a wallet, in atoms."""
    return transactions.chain(context.here()).balance(keystore.address_of(wallet))


def call() -> tuple[int, Counter[str]]:
    """One call of the OEM's child: the epoch of its receipt, and what it pays to each party."""
    id = run(f"consumer infer {EMOTION} 'text={TEXT}' --wallet alice")["receipt"]
    gateway = replace(context.here(), wallet_name="alice").account_gateway
    receipt = gateway.get(f"/v1/receipts/{id}")["receipt"]
    paid = Counter[str]()
    for row in verification.lines(gateway, id):
        if row["party"]:
            paid[row["party"]] += int(row["atoms"])
    assert paid.total() == int(receipt["price"])
    return int(receipt["epoch"]), paid


def claim_everything(wallet: str) -> None:
    """Claim until nothing is left: what a wallet earned becomes final batch by batch."""

    def is_claimed() -> bool:
        network.advance(30)
        run(f"maker claim --wallet {wallet}")
        return claimed(wallet) == earned(wallet)

    assert wait_until(is_claimed, 300, 2), run(f"maker earnings --wallet {wallet}")


def test_a_seller_is_told_from_when_on_the_model_can_be_bought(
    young: Person, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = transactions.now(context.here())
    monkeypatch.setattr(transactions, "send", lambda *_: pytest.fail("it is said before the transaction"))
    capsys.readouterr()
    with pytest.raises(pytest.fail.Exception):
        main.run(["maker", "sell", BASE, "--price", "5", "--wallet", "north", "--yes"])
    said = " ".join(capsys.readouterr().err.split())
    told = re.search(r"can be bought from (\S+ \S+) UTC on", said)
    assert told is not None, said
    from_when = datetime.fromisoformat(told[1] + "+00:00").timestamp()
    assert now < from_when <= now + DAY
    monkeypatch.undo()
    with network.living_in(young.home):
        assert run(f"maker sell {BASE} --price 5 --wallet north")["from"] == told[1]
        with pytest.raises(Rejected, match=told[1]):
            run(f"maker buy {BASE} --at-most 5 --wallet delta")


def test_north_sells_a_model_to_delta_and_its_descendants_pay_the_new_owner(market: Person) -> None:
    assert "from" not in run(f"maker sell {BASE} --price 5 --to delta --wallet north"), "a day has passed"
    with pytest.raises(Rejected, match="above --at-most"):
        run(f"maker buy {BASE} --at-most 4 --wallet delta")
    with pytest.raises(Rejected, match="alone"):
        run(f"maker buy {BASE} --at-most 5 --wallet kappa")

    before = {wallet: (held(wallet), earned(wallet), claimed(wallet)) for wallet in ("north", "delta")}
    bought = run(f"maker buy {BASE} --at-most 5 --wallet delta")
    assert (before["delta"][0] - held("delta"), bought["atoms"]) == (PRICE, str(PRICE))
    assert run("maker collect --wallet north")["collected"] == str(PRICE)
    assert held("north") - before["north"][0] == PRICE

    epoch, paid = call()
    assert epoch < bought["pays_you_from_epoch"]
    royalty = paid[address_of("north")]
    assert royalty > 0
    assert address_of("delta") not in paid

    to_the_middle_of_an_epoch(1)
    until_callable(EMOTION)
    epoch, paid = call()
    assert epoch >= bought["pays_you_from_epoch"]
    assert (paid[address_of("delta")], paid[address_of("north")]) == (royalty, 0), "the same child, the new owner"

    for wallet, price in (("north", PRICE), ("delta", -PRICE)):
        money, had, taken = before[wallet]
        wait_until(partial(has_earned, wallet, had + royalty), 60, 0.5)
        assert earned(wallet) == had + royalty
        claim_everything(wallet)
        assert held(wallet) == money + price + had + royalty - taken, "both claim to the atom"


def test_a_sold_model_keeps_its_name_and_may_have_one_of_its_new_owners(market: Person) -> None:
    (row,) = run(f"maker versions {BASE}")
    assert (row["called"], row["by"]) == (True, address_of("delta"))
    run(f"maker name {BASE} @delta/emotion-base@1.0.0 --wallet delta")
    named = wait_until(lambda: resolved("@delta/emotion-base@1.0.0"), 60, 0.5)
    assert named == row["id"] == resolved(f"{BASE}@1.0.0")


def resolved(name: str) -> str | None:
    """What the gateway knows by a name."""
    try:
        return cid(context.here().resolve(name))
    except Rejected:
        return None


def test_a_name_is_its_organisations_and_a_version_one_document(market: Person) -> None:
    folder = f"'{actors.MODELS}/emotion-base'"
    with pytest.raises(Rejected, match="another document already, for ever"):
        run(f"maker register {BASE} {folder} --royalty 1% --wallet north")
    with pytest.raises(Rejected, match="does not speak for @north"):
        run(f"maker register @north/other {folder} --wallet kappa")
    run("maker organisation north --add-key kappa --wallet north")
    run(f"maker register @north/other {folder} --wallet kappa")
    second = run(f"maker register @north/other {folder} --version 2.0.0 --wallet north")
    assert second["next"].startswith("tollway maker bid @north/other --ask"), "which is the newest, while none is sold"

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = run("maker versions @north/other")
        return sorted(found, key=lambda row: str(row["version"]))

    wait_until(lambda: len(rows()) == 2, 60, 0.5)
    first, second = rows()
    assert [first["called"], second["called"]] == [False, True], "neither is on sale: the newest"
    assert (first["by"], second["by"]) == (address_of("kappa"), address_of("north"))
    assert (first["callable"], first["why"].split(",")[0]) == (False, "missing: owner's bid")
    assert first["next"] == "tollway maker bid @north/other@1.0.0 --ask call=200 -w kappa"
