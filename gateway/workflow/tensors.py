"""Plain values to and from the Open Inference Protocol's tensors, as a model's document declares them."""

import math
from typing import Any

from ledger.core.catalog.models import Model
from ledger.core.values.errors import Rejected


def request(model: Model, values: Any) -> dict[str, Any]:
    """An inference request from named values. Rejected when an input is missing or does not fit its shape."""
    interface = next(one for one in model.document["interfaces"] if one["protocol"] == "oip/2")
    if not isinstance(values, dict):
        raise Rejected(f"the input of {model.name} is an object of named values")
    inputs = []
    for declared in interface["inputs"]:
        name = declared["name"]
        if name not in values:
            raise Rejected(f"{model.name} needs the input {name!r}", input=name)
        data = _flat(values[name])
        if declared["datatype"] == "BYTES":
            data = [item if isinstance(item, str) else str(item) for item in data]
        inputs.append(
            {"name": name, "datatype": declared["datatype"], "shape": _shape(declared["shape"], data), "data": data}
        )
    return {"inputs": inputs}


def values(answer: Any) -> dict[str, Any]:
    """Named values from an inference response: the element of a tensor that has one, a flat list of others."""
    named: dict[str, Any] = {}
    for tensor in answer["outputs"]:
        data = _flat(tensor.get("data", []))
        named[tensor["name"]] = data[0] if len(data) == 1 and math.prod(tensor["shape"]) == 1 else data
    return named


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [item for part in value for item in _flat(part)]
    return [value]


def _shape(declared: list[int], data: list[Any]) -> list[int]:
    """The declared shape, with its free dimension (if any) computed. Rejected when the data do not fit."""
    known = math.prod(size for size in declared if size > 0)
    free = len(data) // known if known else len(data)
    shape = [size if size > 0 else free for size in declared]
    if math.prod(shape) != len(data):
        raise Rejected(f"{len(data)} values do not fit the shape {declared}")
    return shape
