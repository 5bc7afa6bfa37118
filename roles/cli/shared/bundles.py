"""Bundles: the capsule file that a weaver writes, turned into the document that is published.

In the file a model may be `@org/name` or a placeholder `model:NAME`, `weaver` may be empty, and glue is a file beside
it, `{"file": "weave.wat", "fuel": 200000}`: text or binary WebAssembly. In the document all of them are ids.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, cid, did
from roles.cli.shared import documents

MAGIC = b"\0asm"


class Bundle(NamedTuple):
    """A capsule's document, and the modules it names by digest."""

    document: Document
    modules: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """The values of the names in a file: the weaver's DID, placeholders by name, and `@org/name` by look-up."""

    weaver: str
    resolve: Callable[[str], str]
    placeholders: Mapping[str, str]

    def replace(self, step: Mapping[str, Any]) -> Document:
        """A step with its model or capsule named by id. Rejected when a placeholder has no meaning."""
        uses = dict(step.get("uses", {}))
        for kind in ("model", "capsule"):
            name = self.placeholders.get(str(uses.get(kind)), str(uses.get(kind, "")))
            if name.startswith("model:"):
                raise Rejected(
                    f"step {step.get('id')}: no {name} given: use --use {name[6:]}=@org/name", step=step.get("id")
                )
            if name:
                uses[kind] = self.resolve(name) if name.startswith("@") else name
        return {**step, "uses": uses}


def read(path: Path, names: Names) -> Bundle:
    return _bundle(documents.read(path), path.parent, names)


def sketch(path: Path) -> Document:
    """A document to draw from a file, without a network: a name that is not an id yet is replaced by its hash."""
    document = documents.read(path)
    uses = [dict(step.get("uses", {})) for step in document.get("steps", [])]
    texts = {str(use[kind]) for use in uses for kind in ("model", "capsule") if kind in use}
    ids = {text: cid(hashlib.sha256(text.encode()).digest()) for text in texts if not text.startswith("bafkrei")}
    return _bundle(document, path.parent, Names(did(0, ZERO_ADDRESS), ids.__getitem__, ids)).document


def assemble(path: Path) -> bytes:
    """A WebAssembly module from its file: binary as it is, text assembled."""
    if not path.is_file():
        raise Rejected(f"there is no glue file at {path}", path=str(path))
    body = path.read_bytes()
    if body.startswith(MAGIC):
        return body
    from wasmtime import WasmtimeError, wat2wasm  # slow to import, and only glue needs it

    try:
        return bytes(wat2wasm(body.decode()))
    except (WasmtimeError, UnicodeDecodeError) as error:
        raise Rejected(f"{path} is not WebAssembly: {error}", path=str(path)) from error


def _bundle(document: Document, folder: Path, names: Names) -> Bundle:
    steps = [names.replace(step) for step in document.get("steps", [])]
    modules, glue = [], {}
    for name, row in document.get("glue", {}).items():
        if "file" in row:
            body = assemble(folder / str(row["file"]))
            modules.append(body)
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            row = {**{key: value for key, value in row.items() if key != "file"}, "digest": digest, "size": len(body)}
        glue[name] = row
    complete = {**document, "weaver": document.get("weaver") or names.weaver, "steps": steps}
    return Bundle(complete | {"glue": glue} if glue else complete, tuple(modules))
