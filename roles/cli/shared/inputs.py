"""A model's input tensors from what a person types, and the words that are typed for an example.

    NAME=VALUE   texts as they are; other tensors as JSON: X=[[5.1,3.5,1.4,0.2]]
    NAME=@FILE   the same from a file: JSON, a text, or an image
    @FILE        all inputs from one file: {"NAME": VALUE, ...}, or a whole request {"inputs": [...]}

An image is decoded, turned upright, made grey or RGB as the tensor has 1 or 3 channels, and resized to its height and
width. Integers are 0 to 255, other numbers 0 to 1; nothing else is done to it.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ledger.core.catalog import tensors
from ledger.core.catalog.tensors import ANY, MAX_VALUES, TEXT, Picture, Tensor, filled, picture
from ledger.core.values.documents import Document, Json
from ledger.core.values.errors import Rejected

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 2**26
EXAMPLE_VALUES = 16
"""An example with more values is read from a file."""


def request(wanted: Sequence[Tensor], words: Sequence[str]) -> Document:
    """The inference request of what was typed. Rejected, with the model's inputs, when it does not fit them."""
    given: dict[str, Json] = {}
    for word in words:
        if word.startswith("@"):
            whole = _json(Path(word[1:]))
            if not isinstance(whole, dict):
                raise Rejected(f"{word[1:]} is not a JSON object of inputs by name", path=word[1:])
            if isinstance(whole.get("inputs"), list):
                return whole
            given |= whole
            continue
        name, equals, text = word.partition("=")
        if not equals:
            raise Rejected(f"{word!r} is not an input: write {_usage(wanted)}", input=word)
        given[name] = _value(_named(wanted, name), text)
    missing = next((one for one in wanted if one.name not in given), None)
    if missing is not None:
        raise Rejected(f"{missing} is missing: write {_usage(wanted)}", tensor=missing.name)
    return {"inputs": [filled(_named(wanted, name), value) for name, value in given.items()]}


def example(wanted: Sequence[Tensor]) -> str:
    """The words of a call that fits, as they can be pasted."""
    return " ".join(shlex.quote(f"{one.name}={_example(one)}") for one in wanted)


def _example(tensor: Tensor) -> str:
    if tensor.datatype == TEXT:
        return "Hello!"
    if picture(tensor):
        return "@image.png"
    sizes = [1 if size == ANY else size for size in tensor.shape]
    if math.prod(sizes) > EXAMPLE_VALUES:
        return f"@{tensor.name}.json"
    value: Json = False if tensor.datatype == tensors.TRUTH else 0
    for size in reversed(sizes):
        value = [value] * size
    return json.dumps(value, separators=(",", ":"))


def _usage(wanted: Sequence[Tensor]) -> str:
    return f"{example(wanted)}   ({'; '.join(map(str, wanted))})" if wanted else "NAME=TEXT"


def _named(wanted: Sequence[Tensor], name: str) -> Tensor:
    """The input of that name; of a model that declares none, a text."""
    found = next((one for one in wanted if one.name == name), None)
    if found is None and wanted:
        raise Rejected(f"this model has no input {name!r}: write {_usage(wanted)}", tensor=name)
    return found or Tensor(name, TEXT, (1,))


def _value(tensor: Tensor, text: str) -> Json:
    if text.startswith("@"):
        return _of_file(tensor, Path(text[1:]))
    return text if tensor.datatype == TEXT else _parsed(text, f"{tensor.name}={text[:40]}", tensor)


def _of_file(tensor: Tensor, path: Path) -> Json:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json(path)
    if tensor.datatype == TEXT:
        return _read(path)
    how = picture(tensor)
    if suffix in IMAGES and how is not None:
        return _pixels(path, tensor, how)
    if suffix in IMAGES:
        raise Rejected(f"{tensor} takes no image: give it JSON, {tensor.name}=@FILE.json", tensor=tensor.name)
    return _parsed(_read(path), str(path), tensor)


def _pixels(path: Path, tensor: Tensor, how: Picture) -> Json:
    """An image as the nested lists of its tensor."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # only images need it

    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise Rejected(f"{path} has more than {MAX_PIXELS} pixels", path=str(path))
            image = ImageOps.exif_transpose(opened).convert("L" if how.channels == 1 else "RGB")
    except (ValueError, SyntaxError, Image.DecompressionBombError, UnidentifiedImageError) as error:
        raise Rejected(f"{path} is no image that can be read: {error}", path=str(path)) from error
    width, height = (
        own if said == ANY else said for said, own in zip((how.width, how.height), image.size, strict=True)
    )
    if width * height * how.channels > MAX_VALUES:
        raise Rejected(f"{path}: more than {MAX_VALUES} values; make it smaller", path=str(path))
    flat: list[Any] = list(image.resize((width, height)).tobytes())
    if tensor.datatype.startswith("FP"):
        flat = [round(value / 255, 6) for value in flat]
    return [_planes(flat, how.channels, width) if how.first else _rows(flat, how.channels, width)]


def _planes(flat: list[Any], channels: int, width: int) -> Json:
    return [_lines(flat[channel::channels], width) for channel in range(channels)]


def _rows(flat: list[Any], channels: int, width: int) -> Json:
    return _lines(_lines(flat, channels), width)


def _lines(flat: list[Any], length: int) -> list[Any]:
    return [flat[at : at + length] for at in range(0, len(flat), length)]


def _json(path: Path) -> Json:
    return _parsed(_read(path), str(path), None)


def _parsed(text: str, where: str, tensor: Tensor | None) -> Json:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        wanted = f": {tensor} is written like {tensor.name}={_example(tensor)}" if tensor else ""
        raise Rejected(f"{where} is not JSON{wanted}", input=where) from error


def _no_number(said: str) -> Json:
    raise ValueError(f"{said} is no number")


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Rejected(f"{path} is longer than {MAX_FILE_BYTES} bytes", path=str(path))
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(f"{path} is no text in UTF-8", path=str(path)) from error


def described(metadata: Mapping[str, Json]) -> list[Tensor]:
    """The inputs in a gateway's metadata of a model."""
    return tensors.tensors(metadata["inputs"])
