"""Documents: canonical bytes, ids, and schema errors that name the field; equal to the jsonschema package."""

import copy
import json
import sys
from importlib.resources import files
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ledger.core.catalog import lineage, models
from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.lineage import Parent, Royalty
from ledger.core.values import documents
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid_digest
from tests.ledger.core import strategies as some
from tests.ledger.core.examples import DOMAIN, PROVIDER, a_base, a_capsule, a_model, an_offer, signed
from tests.rates import asks

SCHEMAS = files("ledger.core").joinpath("schemas")

quick = settings(max_examples=120, deadline=None, database=None, derandomize=True)
WHOLE = st.characters(exclude_categories=["Cs"])
"""Characters without unpaired surrogates."""
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(WHOLE, max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(WHOLE, max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@quick
@given(jsons)
def test_canonical_bytes_keep_the_value_and_are_canonical_again(value: Any) -> None:
    body = documents.canonical({"value": value})
    assert documents.canonical(json.loads(body)) == body
    assert json.loads(body) == {"value": value}


def test_keys_are_sorted_by_utf16_as_rfc_8785_requires() -> None:
    keys = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}
    assert list(json.loads(documents.canonical(keys))) == ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]
    assert documents.canonical({"a": '\x0f\n"\\/é'}) == b'{"a":"\\u000f\\n\\"\\\\/\xc3\xa9"}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"a":1,"a":2}', "twice"),
        ('{"a":1.0}', "floats"),
        ('{"a":NaN}', "floats"),
        ("[1]", "object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
    ],
)
def test_invalid_documents_are_refused(body: str | bytes, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        documents.parse(body)


def test_nesting_is_bounded_whatever_the_interpreter_allows() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as some libraries do on import; the C parser then overflows its stack
    try:
        with pytest.raises(Rejected, match="at most 64 levels"):
            documents.parse('{"a":' + "[" * 100_000)
        assert documents.parse('{"a":"[[[\\"' + "[" * 1000 + '"}')
    finally:
        sys.setrecursionlimit(before)


def test_integers_above_2_to_53_must_be_strings() -> None:
    with pytest.raises(Rejected, match=r"\$\.a\[1\]: an integer above"):
        documents.canonical({"a": [1, 2**53]})


def test_an_unpaired_surrogate_is_refused() -> None:
    with pytest.raises(Rejected, match="surrogate"):
        documents.canonical({"a": "\ud800"})


def test_changing_any_byte_changes_the_id() -> None:
    document = a_model()
    assert cid_digest(documents.document_id(document)) == documents.digest(document)
    other = {**document, "version": "1.0.1"}
    assert documents.document_id(other) != documents.document_id(document)


@pytest.mark.parametrize(
    ("make", "path", "value", "field"),
    [
        (an_offer, ["bid", "ask", "call"], 200, "$.bid.ask.call"),
        (an_offer, ["bid", "ask", "call"], "0200", "$.bid.ask.call"),
        (an_offer, ["bid", "ask", "tokens"], "5", "$.bid.ask.tokens"),
        (an_offer, ["bid", "ratio_ppm"], 1_000_001, "$.bid.ratio_ppm"),
        (an_offer, ["serve", "tier"], "moon", "$.serve.tier"),
        (an_offer, ["nonce"], True, "$.nonce"),
        (a_model, ["owner"], "0x12", "$.owner"),
        (a_model, ["kind"], "thing", "$.kind"),
        (a_model, ["interfaces"], [{"protocol": "openai.chat/1", "url": "x"}], "$.interfaces[0].url"),
        (a_capsule, ["steps"], [], "$.steps"),
        (a_capsule, ["distribution", "weaver", "ratio_ppm"], 300_001, "$.distribution.weaver.ratio_ppm"),
        (a_capsule, ["failure"], "never", "$.failure"),
        (a_capsule, ["schema"], "tollway/capsule/2", "$.schema"),
    ],
)
def test_the_field_that_does_not_fit_is_named(make: Any, path: list[str], value: Any, field: str) -> None:
    document = copy.deepcopy(make())
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    with pytest.raises(Rejected) as refused:
        documents.validate(document)
    assert refused.value.facts["field"] == field


def test_a_missing_field_and_another_kind_are_named() -> None:
    document = a_model()
    del document["owner"]
    with pytest.raises(Rejected, match=r"\$\.owner: is missing"):
        documents.validate(document)
    with pytest.raises(Rejected, match="expected a offer"):
        documents.validate(a_model(), "offer")
    document = a_model()
    del document["artifact"]
    with pytest.raises(Rejected, match=r"\$\.artifact: is missing"):
        documents.validate(document)


@quick
@given(st.sampled_from([a_model, a_base, an_offer, a_capsule]), some.chances)
def test_the_checker_agrees_with_jsonschema(make: Any, chance: Random) -> None:
    document = copy.deepcopy(make())
    places: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        holder = stack.pop()
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            places.append((holder, key))
            stack += [value] if isinstance(value, dict | list) else []
    for _ in range(chance.randint(0, 2)):
        holder, key = chance.choice(places)
        action = chance.randrange(3)
        if action == 0 and key in (holder if isinstance(holder, dict) else ()):
            del holder[key]
        elif action == 1:
            holder[key] = chance.choice(
                [0, -1, 5, 10**7, "5", "", True, None, [], {}, ["x"], {"x": 1}, "all-or-nothing"]
            )
        elif isinstance(holder, dict):
            holder["extra"] = 1
    kind = document["schema"].split("/")[1] if _named(document) else "model"
    theirs = Draft202012Validator(documents.schema(kind)).is_valid(document)
    try:
        documents.check(document, kind)
        ours = True
    except Rejected:
        ours = False
    assert ours == theirs


def _named(document: Any) -> bool:
    return document.get("schema") in {f"tollway/{kind}/1" for kind in documents.KINDS}


@pytest.mark.parametrize("kind", documents.KINDS)
def test_schemas_are_schemas(kind: str) -> None:
    documents.parse((SCHEMAS / f"{kind}.json").read_text("utf-8"))  # no field is said twice
    Draft202012Validator.check_schema(documents.schema(kind))


def test_a_model_is_read_with_its_lineage() -> None:
    base, child = models.model(a_base()), models.model(a_model())
    assert base.owner_role is Role.maker
    assert child.owner_role is Role.oem
    assert child.parents == (Parent(base.id, Royalty(120_000, asks(call=40))),)
    assert child.tasks == {"text-classification"}


def test_an_offer_counts_when_its_party_signed_it_for_this_chain() -> None:
    offer = models.offer(an_offer(), DOMAIN)
    assert (offer.party, offer.role, offer.bid) == (PROVIDER.address, Role.compute, Bid(0, asks(call=200)))
    assert offer.serving is not None
    assert offer.serving.capacity == 2
    with pytest.raises(Rejected, match=r"\$\.signature"):
        models.offer({**an_offer(), "nonce": 4}, DOMAIN)
    with pytest.raises(Rejected, match=r"\$\.chain_id"):
        models.offer(signed({**an_offer(), "chain_id": 1}), DOMAIN)


def test_lineage_pays_every_ancestor_once_at_the_maximum_and_refuses_knots() -> None:
    ids = [Digest(bytes((number,)) * 32) for number in range(20)]
    diamond = {
        ids[0]: (Parent(ids[1], Royalty(10)), Parent(ids[2], Royalty(20))),
        ids[1]: (Parent(ids[3], Royalty(30, asks(call=5))),),
        ids[2]: (Parent(ids[3], Royalty(40, asks(input_token=7))),),
        ids[3]: (),
    }
    assert lineage.ancestors(ids[0], diamond)[ids[3]] == Royalty(40, asks(call=5, input_token=7))
    with pytest.raises(Rejected, match="cycle"):
        lineage.ancestors(ids[0], {**diamond, ids[3]: (Parent(ids[0], Royalty()),)})
    with pytest.raises(Rejected, match="unknown ancestor"):
        lineage.ancestors(ids[0], {ids[0]: (Parent(ids[1], Royalty()),)})
    line = {one: (Parent(other, Royalty(1)),) for one, other in pairwise(ids)} | {ids[-1]: ()}
    with pytest.raises(Rejected, match="more than 10 ancestors"):
        lineage.ancestors(ids[0], line)
    with pytest.raises(Rejected, match="royalty stack"):
        lineage.ancestors(ids[0], {**diamond, ids[3]: (Parent(ids[4], Royalty(499_999)),), ids[4]: ()})
    five = tuple(Parent(one, Royalty()) for one in ids[1:6])
    with pytest.raises(Rejected, match="at most 4 parents"):
        lineage.ancestors(ids[0], {ids[0]: five, **dict.fromkeys(ids[1:], ())})
