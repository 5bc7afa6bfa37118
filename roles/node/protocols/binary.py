"""Binary tensors of the Open Inference Protocol: after the JSON come the elements, row by row, little-endian.

A text among BYTES is its length in four bytes, and then itself.
"""

import math
import struct

import numpy as np

from ledger.core.values.errors import Rejected
from roles.node.models.model import Tensor
from roles.node.models.tensors import DATATYPES

LENGTH = struct.Struct("<I")


def read(name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> Tensor:
    """A tensor from its bytes. Rejected when they do not fit its type and shape."""
    if datatype == "BYTES":
        data = _texts(name, raw)
        if any(side < 0 for side in shape) or len(data) != math.prod(shape):
            raise _misfit(name, shape, len(data))
        return Tensor(name, datatype, shape, data)
    if datatype not in DATATYPES:
        raise Rejected(f"{name}: unknown datatype {datatype!r}", tensor=name)
    kind = np.dtype(DATATYPES[datatype]).newbyteorder("<")
    if any(side < 0 for side in shape) or math.prod(shape) * kind.itemsize != len(raw):
        raise _misfit(name, shape, len(raw) // kind.itemsize)
    elements = np.frombuffer(raw, np.uint8) != 0 if datatype == "BOOL" else np.frombuffer(raw, kind)
    return Tensor(name, datatype, shape, elements.astype(DATATYPES[datatype]).reshape(shape))


def written(tensor: Tensor) -> bytes:
    """The bytes of a tensor."""
    if isinstance(tensor.data, list):
        texts = [text.encode() for text in tensor.data]
        return b"".join([part for text in texts for part in (LENGTH.pack(len(text)), text)])
    kind = np.dtype(DATATYPES[tensor.datatype]).newbyteorder("<")
    return np.ascontiguousarray(tensor.data).astype(kind).tobytes()


def _texts(name: str, raw: bytes) -> list[str]:
    texts, at = list[str](), 0
    while at < len(raw):
        begin = at + LENGTH.size
        if begin > len(raw) or begin + LENGTH.unpack_from(raw, at)[0] > len(raw):
            raise Rejected(f"{name}: its texts end before their lengths say", tensor=name)
        at = begin + LENGTH.unpack_from(raw, begin - LENGTH.size)[0]
        try:
            texts.append(raw[begin:at].decode())
        except UnicodeDecodeError as error:
            raise Rejected(f"{name}: BYTES are texts in UTF-8: {error}", tensor=name) from error
    return texts


def _misfit(name: str, shape: tuple[int, ...], elements: int) -> Rejected:
    return Rejected(f"{name}: shape {list(shape)} does not hold {elements} values", tensor=name)
