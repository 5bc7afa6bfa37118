"""`tollway operator credit` and a preview, typed at a private grid: no chain stands anywhere near."""

from pathlib import Path

import pytest

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from roles.cli.main import ask as run
from roles.wallet import keystore
from tests.gateway.test_private_grid import work
from tests.gateway.world import OPERATOR, Running, World


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with the operator's wallet and a consumer's."""
    for name in ("TOLLWAY_GATEWAY", "TOLLWAY_RPC_URL", "TOLLWAY_WALLET", "TOLLWAY_API_KEY", "TOLLWAY_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    assert keystore.create("olga", keccak256(b"test", b"operator"), strength=keystore.LIGHT) == OPERATOR.address
    keystore.create("alice", strength=keystore.LIGHT)


def test_an_operator_credits_once_by_reference(gateway: Running, world: World) -> None:
    typed = f"operator credit alice 5 --reference 'invoice 7' --gateway {gateway.url}"
    first = run(f"{typed} --wallet olga")
    assert run(f"{typed} --wallet olga")["id"] == first["id"]
    work(world)
    assert world.balance(keystore.address_of("alice")) == 5 * 10**9
    with pytest.raises(Rejected):
        run(f"{typed.replace('7', '8')} --wallet alice")


def test_a_grid_without_a_chain_says_so(gateway: Running) -> None:
    with pytest.raises(Rejected, match="no chain to talk to"):
        run(f"wallet balance alice --gateway {gateway.url}")
