"""Who belongs to a realm: its owner, the accounts on its list, and the holders of tokens until these end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.catalog import realms
from ledger.core.catalog.capsules import capsule
from ledger.core.catalog.realms import Members, Token, belongs, is_listed
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import Domain, Signer, signing_digest

DOMAIN, ELSEWHERE = Domain(31337, Address(b"\x51" * 20)), Domain(1, Address(b"\x51" * 20))
OWNER, OTHER = (Signer(keccak256(b"test", name)) for name in (b"owner", b"other"))
ALICE, BOB = Address(b"\xa1" * 20), Address(b"\xb0" * 20)
REALM = f"{to_hex(OWNER.address)}/clinic"
NOW = 1_000_000


def a_token(account: Address = ALICE, until: int = NOW + 1, realm: str = REALM) -> Token:
    return Token(realm, account, until, b"")


def a_list(signer: Signer = OWNER, domain: Domain = DOMAIN, **chosen: Any) -> dict[str, Any]:
    """A signed list, as it is sent."""
    body = {"schema": "tollway/realm/1", "realm": REALM, "members": [to_hex(ALICE)], "expelled": [], "nonce": 1}
    body |= {"chain_id": domain.chain_id} | chosen
    return {**body, "signature": to_hex(signer.sign(signing_digest(domain, realms.list_hash(body))))}


@pytest.mark.parametrize(
    ("members", "token", "account", "in_it"),
    [
        (None, None, OWNER.address, True),
        (Members(REALM, expelled=frozenset({OWNER.address})), None, OWNER.address, True),
        (None, None, ALICE, False),
        (Members(REALM, frozenset({ALICE})), None, ALICE, True),
        (Members(REALM, frozenset({ALICE})), None, BOB, False),
        (None, a_token(), ALICE, True),
        (Members(REALM), a_token(), ALICE, True),
        (Members(REALM), a_token(), BOB, False),
        (Members(REALM), a_token(until=NOW), ALICE, False),
        (Members(REALM), a_token(until=NOW + 1), ALICE, True),
        (Members(REALM), a_token(realm=f"{to_hex(OWNER.address)}/lab"), ALICE, False),
        (Members(REALM, expelled=frozenset({ALICE})), a_token(), ALICE, False),
        (Members(REALM, expelled=frozenset({BOB})), a_token(), ALICE, True),
        (Members(REALM, frozenset({ALICE}), frozenset({ALICE})), None, ALICE, True),
    ],
)
def test_who_belongs(members: Members | None, token: Token | None, account: Address, in_it: bool) -> None:
    assert belongs(REALM, members, account, NOW, token) is in_it
    assert is_listed(REALM, members, account) is belongs(REALM, members, account, NOW), "a list knows no time"


@given(
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**63 - 1),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True),
)
def test_a_token_is_read_as_it_was_signed_and_only_where_it_was(account: bytes, until: int, name: str) -> None:
    text = realms.sign_token(OWNER, DOMAIN, name, Address(account), until)
    token = realms.read_token(text)
    assert (token.realm, token.account, token.until) == (f"{to_hex(OWNER.address)}/{name}", account, until)
    assert realms.check_token(token, DOMAIN)
    assert not realms.check_token(token, ELSEWHERE)


def test_a_token_says_what_its_owner_signed() -> None:
    token = realms.read_token(realms.sign_token(OWNER, DOMAIN, "clinic", ALICE, NOW))
    theirs = realms.read_token(realms.sign_token(OTHER, DOMAIN, "clinic", ALICE, NOW))
    changed = (
        Token(token.realm, BOB, token.until, token.signature),
        Token(token.realm, ALICE, NOW + 1, token.signature),
        Token(f"{to_hex(OWNER.address)}/lab", ALICE, NOW, token.signature),
        Token(token.realm, ALICE, NOW, theirs.signature),
        Token(token.realm, ALICE, NOW, b""),
    )
    assert [realms.check_token(one, DOMAIN) for one in changed] == [False] * 5


@pytest.mark.parametrize("text", ["", "tm_", "tm_zzz", "tm_" + "A" * 400, "tm_" + "A" * 200, REALM])
def test_what_is_no_token_is_said(text: str) -> None:
    with pytest.raises(Rejected, match="tollway realm token"):
        realms.read_token(text)


@pytest.mark.parametrize("text", ["clinic", "@acme/clinic", REALM.upper(), f"{REALM}/x", f"{REALM} ", "0x12/clinic"])
def test_a_realm_is_named_by_its_owner(text: str) -> None:
    with pytest.raises(Rejected, match="0xOWNER/NAME"):
        realms.owner_of(text)
    assert realms.owner_of(REALM) == OWNER.address


def test_a_list_counts_if_its_owner_signed_it_for_this_chain() -> None:
    assert realms.members(a_list(), DOMAIN) == Members(REALM, frozenset({ALICE}), frozenset(), 1)
    changed = a_list() | {"members": [to_hex(BOB)]}
    for refused in (a_list(OTHER), a_list(domain=ELSEWHERE), changed, a_list(realm="clinic"), a_list(more=1)):
        with pytest.raises(Rejected):
            realms.members(refused, DOMAIN)


def test_tier_enterprise_needs_a_realm() -> None:
    with pytest.raises(Rejected, match="tollway realm make"):
        realms.check_tier("enterprise", "")
    for tier, realm in (("enterprise", REALM), ("center", ""), ("edge", REALM)):
        realms.check_tier(tier, realm)


def test_a_capsule_names_one_realm_at_most() -> None:
    def flow(*named: str) -> dict[str, Any]:
        steps = [
            {"id": f"s{place}", "uses": {"capability": {}} | ({"realm": realm} if realm else {}), "input": {}}
            for place, realm in enumerate(named)
        ]
        weaver = f"did:pkh:eip155:0:{to_hex(ALICE)}"
        head = {"schema": "tollway/capsule/1", "name": "@a/b", "version": "1", "weaver": weaver, "output": {}}
        return {**head, "steps": steps, "distribution": {"weaver": {"ratio_ppm": 0, "ask": {}}}}

    assert capsule(flow("", REALM, REALM)).realm == REALM
    assert capsule(flow("", "")).realm == ""
    with pytest.raises(Rejected, match="two realms"):
        capsule(flow(REALM, f"{to_hex(OTHER.address)}/clinic"))
