"""The keys that a wallet keeps: one file a key, never overwritten; a dead one locks nobody out."""

import stat
from pathlib import Path

import pytest

from ledger.core.values.errors import Rejected
from roles.client.gateway import segment
from roles.wallet import api_keys, keystore
from roles.wallet.context import Context


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.delenv("TOLLWAY_API_KEY", raising=False)
    return tmp_path


def test_each_key_has_a_file_that_only_its_owner_can_read() -> None:
    first, second = api_keys.keep("alice", "key_1", "tw_one"), api_keys.keep("alice", "key_2", "tw_two")
    assert (first.read_text(), second.read_text()) == ("tw_one", "tw_two")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert api_keys.ids("alice") == ["key_1", "key_2"]
    assert api_keys.ids("bob") == []


def test_calls_are_sent_with_the_one_that_is_in_use() -> None:
    keystore.create("alice", strength=keystore.LIGHT)
    api_keys.keep("alice", "key_1", "tw_one")
    api_keys.keep("alice", "key_2", "tw_two")
    assert Context("alice").api_key is None
    for id, secret in (("key_1", "tw_one"), ("key_2", "tw_two")):
        assert api_keys.use("alice", id).read_text() == secret
        assert (Context("alice").key_id, Context("alice").api_key) == (id, secret)
    api_keys.drop("alice", "key_1")
    assert api_keys.current("alice") == "key_2"
    api_keys.drop("alice", "key_2")
    assert Context("alice").api_key is None
    assert api_keys.secret("alice", "key_2") == "tw_two"


@pytest.mark.parametrize("id", ["key_3", "current", "", "../bob/key_1", "key_1/"])
def test_only_a_key_that_is_kept_is_used(id: str) -> None:
    api_keys.keep("alice", "key_1", "tw_one")
    api_keys.keep("bob", "key_1", "tw_bob")
    with pytest.raises(Rejected, match="there are key_1"):
        api_keys.use("alice", id)


def test_the_one_key_that_earlier_versions_kept_is_still_in_use(home: Path) -> None:
    (home / "keys").mkdir()
    (home / "keys" / "alice").write_text("tw_old\n")
    assert api_keys.secret("alice") == "tw_old"
    [id] = api_keys.ids("alice")
    api_keys.keep("alice", "key_1", "tw_new")
    assert api_keys.secret("alice", id) == "tw_old"


def test_no_key_is_sent_but_for_calls() -> None:
    """So that one that was revoked stops nothing else."""
    keystore.create("alice", strength=keystore.LIGHT)
    api_keys.use("alice", api_keys.keep("alice", "key_1", "tw_one").name)
    here = Context("alice", "http://127.0.0.1:9")
    assert here.gateway._headers == {}
    assert here.key_gateway._headers == {"Authorization": "Bearer tw_one"}


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("@a/b", "@a/b"),
        ("key_1", "key_1"),
        ("../balance", "%2E%2E/balance"),
        ("a?b#c", "a%3Fb%23c"),
        ("", "%20"),
        ("ü[x]", "%C3%BC%5Bx%5D"),
    ],
)
def test_what_is_typed_stays_within_its_route(typed: str, sent: str) -> None:
    assert segment(typed) == sent
