"""What a workflow's step may ask of a model: only what can be compared with a model's document."""

from typing import Any

import pytest

from ledger.core.catalog.capsules import capsule
from ledger.core.catalog.models import model
from ledger.core.pricing.eligibility import lacking
from ledger.core.values.errors import Rejected
from tests.ledger.core.examples import a_capsule, a_model


def asking(**wanted: Any) -> dict[str, Any]:
    """A capsule whose last step asks for that capability."""
    document = a_capsule()
    document["steps"][-1]["uses"] = {"capability": wanted}
    return document


@pytest.mark.parametrize("name", ["languages", "input_modes", "output_modes", "features", "tiers", "require"])
@pytest.mark.parametrize("wanted", [5, "en", [5], [["en"]], None])
def test_a_list_of_texts_is_nothing_else(name: str, wanted: Any) -> None:
    with pytest.raises(Rejected, match=rf"capability\.{name}"):
        capsule(asking(**{name: wanted}))


@pytest.mark.parametrize(("name", "wanted"), [("task", 5), ("max_memory_mb", "64"), ("max_memory_mb", 0)])
def test_a_task_is_a_text_and_memory_a_number(name: str, wanted: Any) -> None:
    with pytest.raises(Rejected, match=rf"capability\.{name}"):
        capsule(asking(**{name: wanted}))


def test_a_step_may_ask_for_what_fits_in_so_much_memory() -> None:
    made = capsule(asking(task="text-classification", max_memory_mb=16, tiers=["edge"]))
    wanted = made.steps["reply_small"].capability
    assert wanted is not None
    assert lacking(model(a_model()), wanted) == ["a need of 16 MB of memory at most (it has 17)"]
