"""Bundles: a capsule as its weaver writes it, made into the document that is published.

In the file a model may be `@org/name` or a placeholder `model:NAME`, the weaver may be left empty, and glue is named by
a file beside it, `{"file": "weave.wat", "fuel": 200000}`: text or binary WebAssembly. In the document all are ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ledger.core.values.documents import Document, parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, cid, did

MAGIC = b"\0asm"


class Bundle(NamedTuple):
    """A capsule's document, and the modules it names by digest."""

    document: Document
    modules: tuple[bytes, ...]


def read(path: Path, weaver: str, resolve: Callable[[str], str], known: Mapping[str, str]) -> Bundle:
    """The bundle of a file. `resolve` gives a model's or capsule's CID by name; `known` what placeholders stand for."""
    return pinned(parse(path.read_bytes()), path.parent, weaver, resolve, known)


def sketch(path: Path) -> Document:
    """A document to draw from a file, without a network: whatever is not an id yet gets one made of its name."""
    document = parse(path.read_bytes())
    uses = [dict(step.get("uses", {})) for step in document.get("nodes", [])]
    names = {str(does[kind]) for does in uses for kind in ("model", "capsule") if kind in does}
    known = {name: cid(hashlib.sha256(name.encode()).digest()) for name in names if not name.startswith("bafkrei")}
    nobody = did(0, ZERO_ADDRESS)
    return pinned(document, path.parent, nobody, known.__getitem__, known).document


def pinned(
    document: Document, folder: Path, weaver: str, resolve: Callable[[str], str], known: Mapping[str, str]
) -> Bundle:
    """The document with the weaver's did, with names replaced by ids and files by digests."""
    steps = []
    for step in document.get("nodes", []):
        does = dict(step.get("uses", {}))
        for kind in ("model", "capsule"):
            named = known.get(str(does.get(kind)), str(does.get(kind, "")))
            if named.startswith("model:"):
                raise Rejected(
                    f"node {step.get('id')}: say what {named} is: --use {named[6:]}=@org/name", step=step.get("id")
                )
            if named.startswith("@"):
                does[kind] = resolve(named)
            elif named:
                does[kind] = named
        steps.append({**step, "uses": does})
    modules, glue = [], {}
    for name, row in document.get("glue", {}).items():
        if "file" in row:
            body = module(folder / str(row["file"]))
            modules.append(body)
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            row = {**{key: value for key, value in row.items() if key != "file"}, "digest": digest, "size": len(body)}
        glue[name] = row
    made = {**document, "weaver": document.get("weaver") or weaver, "nodes": steps}
    return Bundle(made | {"glue": glue} if glue else made, tuple(modules))


def module(path: Path) -> bytes:
    """A WebAssembly module from its file: binary as it is, text assembled."""
    if not path.is_file():
        raise Rejected(f"there is no glue at {path}", path=str(path))
    body = path.read_bytes()
    if body.startswith(MAGIC):
        return body
    from wasmtime import WasmtimeError, wat2wasm  # only who publishes glue waits for it

    try:
        return bytes(wat2wasm(body.decode()))
    except (WasmtimeError, UnicodeDecodeError) as error:
        raise Rejected(f"{path} is not WebAssembly: {error}", path=str(path)) from error
