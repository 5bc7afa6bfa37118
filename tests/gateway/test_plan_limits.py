"""How deep and how wide a workflow may nest, seen from its plan alone: no server, no provider."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.catalog.catalog import CapsuleEntry, Catalog
from gateway.errors import Refusal
from gateway.workflow.plan import Scope, fetch_glue, plan
from ledger.core.catalog.bids import Line, Role, Terms
from ledger.core.catalog.capsules import MAX_DEPTH, MAX_STEPS, Capsule, Step, capsule
from ledger.core.pricing.eligibility import ANY
from ledger.core.pricing.price import compile_terms
from ledger.core.receipts.receipt import MAX_SUBCALLS
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from tests.ledger.core.examples import a_capsule

TERMS = compile_terms(Terms(Digest(bytes(32)), (Line(Address(bytes(20)), Role.weaver),)))
SETTINGS = SimpleNamespace(step_input_bytes=10, metered_answer_bytes=10)


def scope_of(entries: Mapping[Digest, CapsuleEntry]) -> Scope:
    """The scope of a gateway that has these workflows."""
    gateway: Any = SimpleNamespace(settings=SETTINGS)
    return Scope(gateway, Catalog(1, Digest(bytes(32)), entries, {}), ANY)


def nested(levels: int, width: int = 1) -> tuple[Scope, CapsuleEntry]:
    """A gateway with workflows that nest `levels` deep below the root, which names the first `width` times."""
    entries: dict[Digest, CapsuleEntry] = {}
    below: Digest | None = None
    for level in range(levels + 1):
        count = 0 if below is None else width if level == levels else 1
        steps = {f"s{n}": Step(f"s{n}", {}, capsule=below) for n in range(count)}
        known: dict[str, Any] = {"id": Digest(keccak256(b"level", bytes((level,)))), "steps": steps}
        made: Capsule = replace(capsule(a_capsule()), **known, levels=(tuple(steps),))
        entries[made.id] = CapsuleEntry(made, made.name, made.weaver, TERMS, TERMS)
        below = made.id
    assert below is not None
    return scope_of(entries), entries[below]


def test_workflows_nest_six_levels_below_their_root() -> None:
    assert plan(*nested(MAX_DEPTH), None, 0).price == 0
    with pytest.raises(Refusal, match="nests more than 6 deep") as refused:
        plan(*nested(MAX_DEPTH + 1), None, 0)
    assert refused.value.code == "workflow_too_deep"


def test_a_workflow_makes_63_calls_with_those_of_its_sub_workflows() -> None:
    most = MAX_SUBCALLS // 2
    assert len(plan(*nested(2, width=most), None, 0).steps) == most
    with pytest.raises(Refusal, match="more than 63 calls") as refused:
        plan(*nested(2, width=most + 1), None, 0)
    assert refused.value.code == "workflow_too_large"


def test_a_workflow_has_64_steps_with_those_of_its_sub_workflows() -> None:
    with pytest.raises(Refusal, match="more than 64 steps") as refused:
        plan(*nested(2, width=MAX_STEPS // 2 + 1), None, 0)
    assert refused.value.code == "workflow_too_large"


class Counted(dict[Digest, CapsuleEntry]):
    """A catalog that counts what is looked up in it, and ends the test when that is too much."""

    looks = 0

    def get(self, key: Digest, default: Any = None) -> Any:
        self.looks += 1
        assert self.looks <= 10 * MAX_STEPS, "a workflow that is too large is looked up without end"
        return super().get(key, default)


def test_what_nests_without_end_is_refused_before_it_is_looked_up() -> None:
    """64 steps, each a workflow of 64 steps, six levels down: 64^7 steps."""
    entries = Counted()
    below: Digest | None = None
    for level in range(MAX_DEPTH + 1):
        steps = {f"s{n}": Step(f"s{n}", {}, capsule=below) for n in range(MAX_STEPS)} if below else {}
        made = replace(capsule(a_capsule()), id=Digest(keccak256(b"wide", bytes((level,)))), steps=steps, glue={})
        entries[made.id] = CapsuleEntry(made, made.name, made.weaver, TERMS, TERMS)
        below = made.id
    assert below is not None
    with pytest.raises(Refusal, match="more than 64 steps"):
        asyncio.run(fetch_glue(scope_of(entries), entries[below]))
