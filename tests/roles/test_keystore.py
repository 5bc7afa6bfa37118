"""Key files: ours and everybody else's are the same."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from pydantic import SecretStr

from ledger.core.values.errors import Rejected
from ledger.core.values.typed_data import Signer
from ledger.keystore import decrypt, encrypt, load
from roles.wallet import home, keystore

SECRET = bytes(range(1, 33))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, with a password in the environment."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    return tmp_path


def test_an_encrypted_key_is_decrypted_with_its_password_only() -> None:
    encrypted = encrypt(SECRET, "right", keystore.LIGHT)
    assert decrypt(encrypted, "right") == SECRET
    with pytest.raises(Rejected, match="wrong password"):
        decrypt(encrypted, "wrong")


def test_eth_account_reads_our_key_files() -> None:
    encrypted = encrypt(SECRET, "right", keystore.LIGHT)
    assert bytes(Account.decrypt(encrypted, "right")) == SECRET


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_we_read_the_key_files_of_eth_account(kdf: str) -> None:
    encrypted = Account.encrypt(SECRET, "right", kdf=kdf, iterations=4096)  # type: ignore[arg-type]
    assert decrypt(dict(json.loads(json.dumps(encrypted))), "right") == SECRET


def test_the_example_of_the_format_is_read() -> None:
    crypto = {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "r": 1,
            "p": 8,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    }
    secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
    for name in ("crypto", "Crypto"):
        assert decrypt({"version": 3, name: crypto}, "testpassword").hex() == secret


def test_a_file_encrypted_in_another_way_is_refused() -> None:
    with pytest.raises(Rejected, match="Web3 Secret Storage"):
        decrypt({"version": 4, "crypto": {}}, "right")


def test_a_process_has_its_key_in_hex_or_in_a_keystore_or_has_none(tmp_path: Path) -> None:
    file, right, wrong = tmp_path / "key.json", SecretStr("right"), SecretStr("wrong")
    file.write_text(json.dumps(encrypt(SECRET, "right", keystore.LIGHT)))
    in_hex, in_file = load(SecretStr("0x" + SECRET.hex()), None, None), load(None, file, right)
    assert in_hex is not None
    assert in_file is not None
    assert in_hex.address == in_file.address == Signer(SECRET).address
    assert load(None, None, right) is None
    for password, said in ((wrong, "key.json: wrong password$"), (None, "key.json: wrong password, none is set$")):
        with pytest.raises(Rejected, match=said):
            load(None, file, password)


def test_a_wallet_is_made_once_and_its_file_is_private(folder: Path) -> None:
    made = keystore.create("alice", strength=keystore.LIGHT)
    assert keystore.address_of("alice") == made == keystore.unlock("alice").address
    assert (home.keystores() / "alice.json").stat().st_mode & 0o777 == 0o600
    before = (home.keystores() / "alice.json").read_bytes()
    with pytest.raises(Rejected, match="already exists"):
        keystore.create("alice", strength=keystore.LIGHT)
    assert (home.keystores() / "alice.json").read_bytes() == before


def test_a_near_miss_of_a_wallets_name_is_told(folder: Path) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    with pytest.raises(Rejected, match="did you mean alice"):
        keystore.unlock("alise")


@pytest.mark.parametrize("name", ["", "Alice", "../x", "a b"])
def test_a_name_that_is_no_file_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(Rejected, match="not a wallet name"):
        keystore.create(name)
    assert not home.keystores().exists()


def test_a_wrong_password_names_the_wallet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    monkeypatch.setenv("TOLLWAY_PASSWORD", "battery staple")
    with pytest.raises(Rejected, match="alice"):
        keystore.unlock("alice")
