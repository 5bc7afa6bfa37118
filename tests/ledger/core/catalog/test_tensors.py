"""Values that a person writes become the tensors that a model takes; a document promises what its graph can serve."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.catalog.tensors import (
    MAX_DIMENSIONS,
    Picture,
    Tensor,
    check_promise,
    filled,
    picture,
    task_of,
)
from ledger.core.values.errors import Rejected

ROWS = Tensor("X", "FP32", (-1, 4))


def shape_of(tensor: Tensor, value: Any) -> list[int]:
    shape: list[int] = filled(tensor, value)["shape"]
    return shape


@pytest.mark.parametrize(
    ("shape", "value", "sent"),
    [
        ((-1, 4), [[1, 2, 3, 4]], [1, 4]),
        ((-1, 4), [[1, 2, 3, 4], [5, 6, 7, 8]], [2, 4]),
        ((-1, 4), [1, 2, 3, 4], [1, 4]),
        ((-1, 4), [1, 2, 3, 4, 5, 6, 7, 8], [2, 4]),
        ((-1, -1), [1, 2, 3], [1, 3]),
        ((-1,), 7, [1]),
        ((1, 1), 7, [1, 1]),
        ((), 7, []),
        ((1, 1, 2, 2), [1, 2, 3, 4], [1, 1, 2, 2]),
        ((-1, 1, 2, 2), [[1, 2], [3, 4]], [1, 1, 2, 2]),
        ((-1, 0), [[]], [1, 0]),
    ],
)
def test_a_value_is_sent_in_the_shape_that_the_tensor_has(shape: tuple[int, ...], value: Any, sent: list[int]) -> None:
    assert shape_of(Tensor("X", "FP32", shape), value) == sent


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (ROWS, [[1, 2, 3]]),
        (ROWS, [1, 2, 3]),
        (ROWS, [[1, 2, 3, 4], [5, 6, 7]]),
        (ROWS, [[1, 2, 3, 4], 5]),
        (ROWS, [[1, 2, 3, None]]),
        (ROWS, [[1, 2, 3, True]]),
        (ROWS, [[[1, 2, 3, 4]]]),
        (ROWS, "1,2,3,4"),
        (ROWS, {"a": 1}),
        (ROWS, None),
        (ROWS, []),
        (Tensor("n", "INT64", (1,)), 1.5),
        (Tensor("b", "BOOL", (1,)), 1),
        (Tensor("t", "BYTES", (1,)), 1),
        (Tensor("t", "BYTES", (1,)), ["a", "b"]),
        (ROWS, [[[[[[[[[[[1]]]]]]]]]]]),
    ],
)
def test_what_does_not_fit_is_refused(tensor: Tensor, value: Any) -> None:
    with pytest.raises(Rejected, match=tensor.name):
        filled(tensor, value)


@given(st.lists(st.integers(1, 3), max_size=MAX_DIMENSIONS), st.data())
def test_lists_in_lists_are_sent_as_they_are(sizes: list[int], data: st.DataObject) -> None:
    def nested(left: list[int]) -> Any:
        return [nested(left[1:]) for _ in range(left[0])] if left else data.draw(st.integers(0, 9))

    def again(shape: list[int], flat: list[int]) -> Any:
        if not shape:
            return flat[0]
        part = len(flat) // shape[0]
        return [again(shape[1:], flat[place * part : (place + 1) * part]) for place in range(shape[0])]

    value = nested(sizes[:4])
    sent = filled(Tensor("X", "INT64", (-1,) * len(sizes[:4])), value)
    assert again(sent["shape"], sent["data"]) == value


def test_an_image_is_a_tensor_with_one_or_three_channels() -> None:
    assert picture(Tensor("i", "FP32", (-1, 3, 32, 24))) == Picture(3, 32, 24, True)
    assert picture(Tensor("i", "UINT8", (1, -1, -1, 1))) == Picture(1, -1, -1, False)
    for other in ((-1, 4, 32, 32), (3, 32, 32), (2, 3, 8, 8), (-1, 4)):
        assert picture(Tensor("i", "FP32", other)) is None
    assert picture(Tensor("i", "BYTES", (-1, 3, 8, 8))) is None


@pytest.mark.parametrize(
    ("taken", "given", "task"),
    [
        (("FP32", (-1, 4)), ("INT64", (-1,)), "tabular-classification"),
        (("FP32", (-1, 4)), ("FP32", (-1, 1)), "tabular-regression"),
        (("BYTES", (-1, 1)), ("BYTES", (-1,)), "text-classification"),
        (("BYTES", (-1, 1)), ("FP32", (-1, 8)), "feature-extraction"),
        (("FP32", (-1, 3, 8, 8)), ("FP32", (-1, 10)), "image-classification"),
        (("FP32", (-1, 3, 8, 8)), ("FP32", (-1, 3, 8, 8)), "image-to-image"),
    ],
)
def test_tensors_speak_of_a_task(
    taken: tuple[str, tuple[int, ...]], given: tuple[str, tuple[int, ...]], task: str
) -> None:
    assert task_of([Tensor("in", *taken)], [Tensor("out", *given)]) == task


LABEL, SCORES = Tensor("label", "INT64", (-1,)), Tensor("scores", "FP32", (-1, 3))


def promise(inputs: list[Tensor], outputs: list[Tensor]) -> dict[str, Any]:
    sides = {"inputs": inputs, "outputs": outputs}
    return {"protocol": "oip/2", **{side: [one.document for one in some] for side, some in sides.items()}}


def test_a_promise_that_the_graph_keeps() -> None:
    check_promise(promise([ROWS], [LABEL, SCORES]), [ROWS], [LABEL, SCORES])
    check_promise(promise([Tensor("X", "FP32", (1, 4))], [SCORES]), [ROWS], [LABEL, SCORES])


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([Tensor("x", "FP32", (-1, 4))], [LABEL], "takes"),
        ([ROWS, LABEL], [LABEL], "takes"),
        ([Tensor("X", "FP64", (-1, 4))], [LABEL], "takes"),
        ([Tensor("X", "FP32", (-1, -1))], [LABEL], "takes"),
        ([Tensor("X", "FP32", (4,))], [LABEL], "takes"),
        ([ROWS], [Tensor("class", "INT64", (-1,))], "gives"),
        ([ROWS], [Tensor("label", "BYTES", (-1,))], "gives"),
        ([ROWS], [Tensor("scores", "FP32", (-1, 4))], "gives"),
    ],
)
def test_a_promise_that_the_graph_breaks(inputs: list[Tensor], outputs: list[Tensor], said: str) -> None:
    with pytest.raises(Rejected, match=f"its document says that it {said}"):
        check_promise(promise(inputs, outputs), [ROWS], [LABEL, SCORES])


@pytest.mark.parametrize(("name", "shape"), [("", (1,)), ("a\x1b", (1,)), ("x" * 129, (1,)), ("x", (1,) * 9)])
def test_names_and_dimensions_are_bounded(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(Rejected):
        Tensor(name, "FP32", shape)
