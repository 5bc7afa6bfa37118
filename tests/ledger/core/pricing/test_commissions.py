"""Referral tokens: signed, bound to one subject, and worth nothing where they should not be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.pricing.commissions import PREFIX, Referral, Sponsor, idle, read, token, window
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest
from ledger.core.values.typed_data import Domain, Signer
from tests.builders import ALICE, DOMAIN

CURATOR = Signer(b"\x0c" * 32)
SUBJECT = Digest(b"\x51" * 32)
REFERRAL = Referral(CURATOR.address, SUBJECT, keep_ppm=600_000, window_calls=100, valid_until=10_000, nonce=7)
SPONSOR = Sponsor(line=0, offer_ppm=300_000, window_calls=50)


@given(st.integers(0, 1_000_000), st.integers(1, 2**32 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_token_says_what_was_signed(keep_ppm: int, window_calls: int, valid_until: int, nonce: int) -> None:
    referral = Referral(CURATOR.address, SUBJECT, keep_ppm, window_calls, valid_until, nonce)
    assert read(token(referral, CURATOR, DOMAIN), DOMAIN) == referral


def test_nobody_signs_for_another_curator() -> None:
    with pytest.raises(Rejected, match="not signed by its curator"):
        read(token(REFERRAL, Signer(b"\x0d" * 32), DOMAIN), DOMAIN)


def test_a_token_counts_in_its_own_domain_only() -> None:
    with pytest.raises(Rejected, match="not signed by its curator"):
        read(token(REFERRAL, CURATOR, DOMAIN), Domain(1))


@pytest.mark.parametrize("change", [{"keep_ppm": 1_000_000}, {"window_calls": 9}, {"subject": Digest(bytes(32))}])
def test_a_changed_token_is_no_token(change: dict[str, int | bytes]) -> None:
    forged, genuine = token(replace(REFERRAL, **change), CURATOR, DOMAIN), token(REFERRAL, CURATOR, DOMAIN)  # type: ignore[arg-type]
    mixed = forged[: -len("x" * 88)] + genuine[-88:]
    with pytest.raises(Rejected):
        read(mixed, DOMAIN)


@given(st.text(max_size=300))
def test_noise_is_refused(text: str) -> None:
    for candidate in (text, PREFIX + text):
        with pytest.raises(Rejected):
            read(candidate, DOMAIN)


def test_one_token_has_one_spelling() -> None:
    spelled = token(REFERRAL, CURATOR, DOMAIN)
    for other in (
        spelled + "=",
        spelled.removeprefix(PREFIX),
        spelled + "\n",
        spelled[:-1] + chr(ord(spelled[-1]) + 1),
    ):
        with pytest.raises(Rejected):
            read(other, DOMAIN)


def test_why_a_true_token_earns_nothing() -> None:
    assert idle(REFERRAL, SUBJECT, ALICE, SPONSOR, 9_999) == ""
    assert idle(REFERRAL, Digest(bytes(32)), ALICE, SPONSOR, 0) == "it recommends another model"
    assert idle(REFERRAL, SUBJECT, CURATOR.address, SPONSOR, 0) == "a curator cannot refer itself"
    assert idle(REFERRAL, SUBJECT, ALICE, SPONSOR, 10_000) == "it has expired"
    assert idle(REFERRAL, SUBJECT, ALICE, None, 0) == "no sponsor offers curators a commission"
    assert idle(REFERRAL, SUBJECT, ALICE, replace(SPONSOR, offer_ppm=0), 0) == "no sponsor offers curators a commission"


def test_the_shorter_window_counts() -> None:
    assert window(REFERRAL, SPONSOR) == 50
    assert window(replace(REFERRAL, window_calls=3), SPONSOR) == 3
