"""Capsules: what may be published, what runs when, what a node sees, what it all costs and who pays when it fails."""

import copy
from typing import Any

import pytest

from ledger.core.catalog import capsules, conditions, templates
from ledger.core.catalog.bids import Bid, Line, Role, Terms, ordered
from ledger.core.catalog.capsules import Capsule
from ledger.core.pricing import workflows
from ledger.core.pricing.price import price
from ledger.core.pricing.workflows import Outcome, Status
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.core.values.meters import Units
from tests.ledger.core.examples import a_capsule
from tests.rates import asks

REQUEST = {"messages": [{"content": "first"}, {"content": "my parcel is lost"}], "n": 2}
OK, ERROR, SKIPPED = Status.ok, Status.error, Status.skipped


def changed(**fields: Any) -> Capsule:
    """The example capsule, with some node's fields replaced: `reply={"when": ...}`."""
    document = copy.deepcopy(a_capsule())
    for step in document["steps"]:
        step |= fields.pop(step["id"], {})
    return capsules.capsule(document | fields)


def test_independent_nodes_share_a_level_and_a_fallback_comes_after_its_primary() -> None:
    assert changed().levels == (("emotion", "kb"), ("prompt",), ("reply",), ("reply_small",))
    assert changed().bid == Bid(100_000)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kb": {"input": {"query": "$steps.reply.output"}}}, "the steps kb, prompt, reply wait for each other"),
        ({"kb": {"input": {"query": "$steps.kb.output"}}}, "the steps kb wait for each other"),
        ({"kb": {"input": {"query": "$steps.nobody.output"}}}, "reads 'nobody', which is not a step"),
        ({"kb": {"id": "emotion"}}, "same id"),
        ({"prompt": {"uses": {"glue": "other"}}}, "not in the bundle"),
        ({"reply": {"fallback": "nobody"}}, "'nobody', which is not a step"),
        ({"kb": {"on_error": "fallback"}}, "go together"),
        ({"kb": {"when": "steps.kb.status = 'ok'"}}, "not understood"),
        ({"output": {"choices": "$steps.gone.output"}}, "reads 'gone'"),
        ({"distribution": {"weaver": {"ratio_ppm": 300_000, "ask": {}}, "co_weavers": [
            {"party": "did:pkh:eip155:1:0x" + "11" * 20, "ratio_ppm": 1}]}}, "above 300000"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_not_published(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        changed(**fields)


def test_a_node_sees_only_what_its_author_names() -> None:
    capsule = changed()
    seen = workflows.input_of(capsule, capsule.steps["emotion"], REQUEST, {})
    assert seen == {"text": "my parcel is lost"}
    outcomes = {"emotion": Outcome(OK, {"label": "anger"}), "prompt": Outcome(OK, [1])}
    reply = workflows.input_of(capsule, capsule.steps["reply"], REQUEST, outcomes)
    assert reply == {"messages": [1], "mood": "They are anger."}


def test_what_a_model_answers_is_data_and_never_a_template() -> None:
    capsule = changed()
    outcomes = {
        "emotion": Outcome(OK, {"label": "{$.messages[0].content} $steps.kb.output"}),
        "prompt": Outcome(OK, "$.n"),
    }
    reply = workflows.input_of(capsule, capsule.steps["reply"], REQUEST, outcomes)
    assert reply == {"messages": "$.n", "mood": "They are {$.messages[0].content} $steps.kb.output."}


def test_a_fallback_runs_only_when_its_primary_erred_and_answers_for_it() -> None:
    capsule = changed()
    small = capsule.steps["reply_small"]
    fine = {"reply": Outcome(OK, "hello")}
    assert not workflows.runs(capsule, small, REQUEST, fine)
    assert workflows.output_of(capsule, REQUEST, fine) == {"choices": "hello"}
    erred = {"reply": Outcome(ERROR)}
    assert workflows.runs(capsule, small, REQUEST, erred)
    assert workflows.failed(capsule, erred) is None
    assert workflows.failed(capsule, {**erred, "reply_small": Outcome(ERROR)}) == "reply"
    saved = {**erred, "reply_small": Outcome(OK, "hi")}
    assert workflows.failed(capsule, saved) is None
    assert workflows.output_of(capsule, REQUEST, saved) == {"choices": "hi"}
    assert workflows.failed(capsule, {"emotion": Outcome(ERROR)}) is None
    assert workflows.failed(capsule, {"kb": Outcome(ERROR)}) == "kb"


def a_chain(**last: Any) -> Capsule:
    """`reply`, which falls back to `reply_small`, which falls back to `words`; and `after`, which reads `reply`."""
    uses, given = a_capsule()["steps"][0]["uses"], {"text": "$.n"}
    words = {"id": "words", "uses": uses, "input": given, **last}
    after = {"id": "after", "uses": uses, "input": {"text": "$steps.reply.output"}}
    small = {"on_error": "fallback", "fallback": "words", "when": "true"}
    document = copy.deepcopy(a_capsule())
    document["steps"] = [step | (small if step["id"] == "reply_small" else {}) for step in document["steps"]]
    return capsules.capsule(document | {"steps": [*document["steps"], words, after]})


def test_the_last_fallback_of_a_chain_answers_for_all_before_it() -> None:
    capsule = a_chain()
    tried = {"reply": Outcome(ERROR), "reply_small": Outcome(ERROR)}
    assert workflows.failed(capsule, tried) is None
    assert workflows.runs(capsule, capsule.steps["words"], REQUEST, tried)
    saved = {**tried, "words": Outcome(OK, "hi")}
    assert workflows.failed(capsule, saved) is None
    assert workflows.output_of(capsule, REQUEST, saved) == {"choices": "hi"}
    assert workflows.failed(capsule, {**tried, "words": Outcome(ERROR)}) == "reply"
    assert workflows.failed(a_chain(on_error="skip"), {**tried, "words": Outcome(ERROR)}) is None


def test_a_reader_waits_for_every_fallback_of_what_it_reads() -> None:
    assert a_chain().levels[-3:] == (("reply_small",), ("words",), ("after",))


def test_fallbacks_in_a_circle_are_not_published() -> None:
    with pytest.raises(Rejected, match="wait for each other"):
        a_chain(on_error="fallback", fallback="reply")


def test_what_nobody_serves_fails_as_in_a_run() -> None:
    capsule = a_chain()
    assert workflows.foreseen(capsule, ())["reply_small"].status is SKIPPED
    one = workflows.foreseen(capsule, {"reply", "reply_small"})
    assert {name: one[name].status for name in ("reply", "reply_small", "words", "after")} == {
        "reply": ERROR,
        "reply_small": ERROR,
        "words": OK,
        "after": OK,
    }
    assert workflows.foreseen(capsule, {"reply_small"})["reply_small"].status is SKIPPED


@pytest.mark.parametrize(
    ("when", "request_", "status"),
    [
        ("$.n == 3", REQUEST, SKIPPED),
        ("$.n == 3 && $.x", REQUEST, SKIPPED),
        ("false", REQUEST, SKIPPED),
        ("$.n == 2", REQUEST, ERROR),
        ("$.n == 3", None, ERROR),
        ("$.n == 3 && steps.emotion.output.x", REQUEST, ERROR),
        ("steps.emotion.status == 'error'", REQUEST, ERROR),
    ],
)
def test_what_a_known_request_does_not_run_need_not_be_served(when: str, request_: Any, status: Status) -> None:
    capsule = changed(kb={"when": when})
    outcomes = workflows.foreseen(capsule, {"kb"}, request_)
    assert outcomes["kb"].status is status
    assert workflows.failed(capsule, outcomes) == ("kb" if status is ERROR else None)


def test_a_condition_skips_a_node() -> None:
    capsule = changed(kb={"when": "steps.emotion.output.score_ppm >= 700000 && $.n == 2"})
    step = capsule.steps["kb"]
    assert capsule.levels[:2] == (("emotion",), ("kb",))
    assert workflows.runs(capsule, step, REQUEST, {"emotion": Outcome(OK, {"score_ppm": 700_000})})
    assert not workflows.runs(capsule, step, REQUEST, {"emotion": Outcome(OK, {"score_ppm": 699_999})})
    assert not workflows.runs(capsule, step, REQUEST, {"emotion": Outcome(SKIPPED)})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("steps.a.status == 'ok'", True),
        ("$steps.a.status != 'ok'", False),
        ("steps.a.output.score < 0.7", True),
        ("steps.a.output.score < 0.5 || steps.a.output.label == 'joy'", True),
        ("!(steps.a.output.label == 'joy') && true", False),
        ("steps.a.output.label < 5", False),
        ("steps.a.output.list[-1] == 3", True),
        ("steps.b.output.anything", False),
        ("steps.b.output == null", True),
        ("$.n >= 2 && $.n <= 2 && $.n > -1", True),
        ("false", False),
    ],
)
def test_conditions_compare_and_nothing_else(text: str, holds: bool) -> None:
    steps = {
        "a": {"status": "ok", "output": {"score": 0.6, "label": "joy", "list": [1, 3]}},
        "b": {"status": "skipped", "output": None},
    }
    assert conditions.parse(text).holds(REQUEST, steps) is holds


@pytest.mark.parametrize(
    "text",
    ["", "steps.a ==", "a == 1", "(true", "true)", "1 < 2 < 3", "steps.a.b()", "'open", "!" * 40 + "1", "$.a[x]"],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        conditions.parse(text)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("$.messages[-1].content", "my parcel is lost"),
        ("$.messages[0]", {"content": "first"}),
        ("n is {$.n}, {$.messages[0]}", 'n is 2, {"content":"first"}'),
        ("$$5 {$.n}", "$5 {$.n}"),
        ("{plain} text", "{plain} text"),
        ({"a": ["$.n", 7, None]}, {"a": [2, 7, None]}),
        ("$", REQUEST),
    ],
)
def test_templates(template: Any, value: Any) -> None:
    assert templates.resolve(template, REQUEST, {}) == value


@pytest.mark.parametrize(
    "template", ["$.gone", "$.messages[9].content", "$.n.x", "$.messages.content", "$messages", "$.", "x{$.a b}"]
)
def test_templates_that_point_nowhere(template: str) -> None:
    with pytest.raises(Rejected):
        templates.resolve(template, REQUEST, {})


def terms(*claims: tuple[Role, int, int]) -> Terms:
    """Terms of (role, ratio, atoms a call), each of its own party."""
    lines = [
        Line(Address(bytes((n,)) * 20), role, ratio, asks(call=ask)) for n, (role, ratio, ask) in enumerate(claims)
    ]
    return Terms(ZERO_DIGEST, ordered(lines))


EMOTION = terms((Role.maker, 120_000, 40), (Role.oem, 150_000, 0), (Role.compute, 0, 200))
KB = terms((Role.maker, 200_000, 0), (Role.compute, 0, 300), (Role.delivery, 0, 120))
REPLY = terms((Role.maker, 250_000, 800), (Role.oem, 100_000, 0), (Role.compute, 0, 3_000))
ROOT = terms((Role.weaver, 100_000, 0), (Role.gateway, 10_000, 0), (Role.compute, 0, 50), (Role.protocol, 20_000, 0))


def test_the_customer_service_workflow_costs_7763_depth_first() -> None:
    subs = [price(sub, Units(1)) for sub in (EMOTION, KB, REPLY)]
    assert [sub.price for sub in subs] == [330, 525, 5_847]
    whole = price(ROOT, Units(1), sum(sub.price for sub in subs))
    assert whole.price == 7_763
    assert sum(sub.charge for sub in subs) + whole.charge == 7_763
    assert dict(zip((line.role.name for line in ROOT.lines), whole.amounts, strict=True)) == {
        "weaver": 777,
        "gateway": 78,
        "compute": 50,
        "protocol": 156,
    }


def test_a_node_that_did_not_run_is_not_priced() -> None:
    whole, less = price(ROOT, Units(1), 330 + 525 + 5_847), price(ROOT, Units(1), 330 + 525)
    assert less.price < whole.price
    assert all(a <= b for a, b in zip(less.amounts, whole.amounts, strict=True))


def test_a_bond_pays_the_sub_calls_of_a_failed_workflow_up_to_its_cap() -> None:
    prices = [330, 525, 100]
    paid = workflows.covered(prices, bond_cap=500)
    assert paid == [0, 2]
    assert sum(prices[place] for place in paid) == 430
    assert workflows.covered(prices, bond_cap=955) == [0, 1, 2]


def test_partial_ok_leaves_a_root_without_weaver_lines() -> None:
    rest = workflows.without(ROOT, Role.weaver)
    assert rest is not None
    assert Role.weaver not in {line.role for line in rest.lines}
    assert len(rest.lines) == len(ROOT.lines) - 1
    assert workflows.without(terms((Role.weaver, 1, 1)), Role.weaver) is None
