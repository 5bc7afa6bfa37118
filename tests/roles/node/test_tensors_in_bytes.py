"""Binary tensors of the Open Inference Protocol at a node: what comes back is what JSON says, and what does not fit is
refused. The stock clients are in `tests/gateway/clients`.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from ledger.core.values.errors import Rejected
from roles.node.models.model import Tensor
from roles.node.models.tensors import DATATYPES
from roles.node.protocols import binary
from tests.roles.node.conftest import RunningNode

TEXTS = b"\x02\x00\x00\x00hi\x06\x00\x00\x00gr\xc3\xbc\xc3\x9f"
LENGTH = "Inference-Header-Content-Length"


def send(node: RunningNode, head: dict[str, Any], rest: bytes, length: str | None = None) -> httpx.Response:
    """An inference of `emotion`."""
    said = json.dumps(head).encode()
    headers = {LENGTH: length if length is not None else str(len(said))}
    return httpx.post(f"{node.url}/v2/models/emotion/infer", content=said + rest, headers=headers)


def text(size: int, shape: int = 2, **more: Any) -> dict[str, Any]:
    given = {"name": "text", "datatype": "BYTES", "shape": [shape], "parameters": {"binary_data_size": size}}
    return {"inputs": [{**given, **more}]}


@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_a_tensor_is_the_same_after_its_bytes(datatype: str) -> None:
    data: NDArray[Any] = np.arange(6).astype(DATATYPES[datatype]).reshape(2, 3)
    found = binary.read("x", datatype, (2, 3), binary.written(Tensor("x", datatype, (2, 3), data)))
    assert isinstance(found.data, np.ndarray)
    assert (found.data.dtype, found.data.tolist()) == (data.dtype, data.tolist())


def test_texts_are_the_same_after_their_bytes() -> None:
    assert binary.read("x", "BYTES", (2,), TEXTS) == Tensor("x", "BYTES", (2,), ["hi", "grüß"])
    assert binary.written(Tensor("x", "BYTES", (2,), ["hi", "grüß"])) == TEXTS


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("FP32", (2,), b"\0" * 7),
        ("FP32", (-2, -1), b"\0" * 8),
        ("FP32", (2**40, 2**40), b""),
        ("BF16", (1,), b"\0\0"),
        ("BYTES", (1,), b"\x03\x00\x00\x00hi"),
        ("BYTES", (1,), b"\xff\xff\xff\xffhi"),
        ("BYTES", (1,), b"\x01\x00"),
        ("BYTES", (1,), b"\x01\x00\x00\x00\xff"),
        ("BYTES", (-1,), TEXTS),
        ("BYTES", (3,), TEXTS),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype: str, shape: tuple[int, ...], raw: bytes) -> None:
    with pytest.raises(Rejected):
        binary.read("x", datatype, shape, raw)


def test_a_node_answers_in_bytes_what_it_answers_in_json(node: RunningNode) -> None:
    plain = send(node, text(len(TEXTS)), TEXTS)
    assert LENGTH not in plain.headers
    wanted = {"outputs": [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "label"}]}
    mixed = send(node, {**text(len(TEXTS)), **wanted}, TEXTS)
    length = int(mixed.headers[LENGTH])
    scores, label = json.loads(mixed.content[:length])["outputs"]
    assert scores["parameters"]["binary_data_size"] == len(mixed.content) - length == 2 * 6 * 4
    by_name = {one["name"]: one for one in plain.json()["outputs"]}
    assert np.frombuffer(mixed.content[length:], "<f4").tolist() == pytest.approx(by_name["scores"]["data"])
    assert label == by_name["label"]
    everything = send(node, {**text(len(TEXTS)), "parameters": {"binary_data_output": True}}, TEXTS)
    rows = json.loads(everything.content[: int(everything.headers[LENGTH])])["outputs"]
    assert ["data" in row for row in rows] == [False] * 3


def test_a_body_that_does_not_fit_its_head_is_refused(node: RunningNode) -> None:
    good = text(len(TEXTS))
    for answer in (
        send(node, text(len(TEXTS) + 1), TEXTS),
        send(node, text(-1), TEXTS),
        send(node, good, TEXTS + b"x"),
        send(node, text(len(TEXTS), data=["hi", "ho"]), TEXTS),
        send(node, {**good, "outputs": [{"name": "none"}]}, TEXTS),
        send(node, {**good, "outputs": [{"name": "label", "parameters": {"classification": 1}}]}, TEXTS),
        *(send(node, good, TEXTS, length) for length in ("0", "-1", "x", "9" * 400, "99999999")),
    ):
        assert (answer.status_code, type(answer.json()["error"])) == (400, str), answer.text


def test_a_version_is_one_that_the_node_has(node: RunningNode) -> None:
    for path, status in (("1.0.0", 200), ("1.0.0/ready", 200), ("2", 404), ("2/ready", 404)):
        assert httpx.get(f"{node.url}/v2/models/kb/versions/{path}").status_code == status, path
