"""Key files: ours and everybody else's are the same."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from ledger.core.values.errors import Rejected
from ledger.core.values.typed_data import Signer
from roles.wallet import encryption, home, keystore

SECRET = bytes(range(1, 33))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, with a password in the environment."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    return tmp_path


def test_a_sealed_key_opens_with_its_password_only() -> None:
    encrypted = encryption.encrypt(SECRET, Signer(SECRET).address, "right", keystore.LIGHT)
    assert encryption.decrypt(encrypted, "right") == SECRET
    with pytest.raises(Rejected, match="not the password"):
        encryption.decrypt(encrypted, "wrong")


def test_eth_account_reads_our_key_files() -> None:
    encrypted = encryption.encrypt(SECRET, Signer(SECRET).address, "right", keystore.LIGHT)
    assert bytes(Account.decrypt(encrypted, "right")) == SECRET


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_we_read_the_key_files_of_eth_account(kdf: str) -> None:
    encrypted = Account.encrypt(SECRET, "right", kdf=kdf, iterations=4096)  # type: ignore[arg-type]
    assert encryption.decrypt(dict(json.loads(json.dumps(encrypted))), "right") == SECRET


def test_a_file_sealed_in_another_way_is_refused() -> None:
    with pytest.raises(Rejected, match="Web3 Secret Storage"):
        encryption.decrypt({"version": 4, "crypto": {}}, "right")


def test_a_wallet_is_made_once_and_its_file_is_private(folder: Path) -> None:
    made = keystore.create("alice", strength=keystore.LIGHT)
    assert keystore.address_of("alice") == made == keystore.unlock("alice").address
    assert (home.keystores() / "alice.json").stat().st_mode & 0o777 == 0o600
    before = (home.keystores() / "alice.json").read_bytes()
    with pytest.raises(Rejected, match="there already"):
        keystore.create("alice", strength=keystore.LIGHT)
    assert (home.keystores() / "alice.json").read_bytes() == before


def test_a_near_miss_of_a_wallets_name_is_told(folder: Path) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    with pytest.raises(Rejected, match="did you mean alice"):
        keystore.unlock("alise")


@pytest.mark.parametrize("name", ["", "Alice", "../x", "a b"])
def test_a_name_that_is_no_file_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(Rejected, match="no wallet name"):
        keystore.create(name)
    assert not home.keystores().exists()


def test_a_wrong_password_names_the_wallet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    monkeypatch.setenv("TOLLWAY_PASSWORD", "battery staple")
    with pytest.raises(Rejected, match="alice"):
        keystore.unlock("alice")
