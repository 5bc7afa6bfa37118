"""Bundles: the capsule file that a weaver writes, turned into the document that is published.

In the file a model may be `@org/name` or a placeholder `model:NAME`, `weaver` may be empty, and glue is a file beside
it, `{"file": "weave.wat", "fuel": 200000}`: text or binary WebAssembly. In the document all of them are ids.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ledger.core.catalog import capsules
from ledger.core.values import documents
from ledger.core.values.documents import Document, Json, Mistake
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, cid, did
from roles.cli.shared.publication import read_file

MAGIC = b"\0asm"
NAME = "bafkrei[a-z2-7]{52}|@[a-z0-9-]+/[a-z0-9._-]+|model:.+"
NAMES_ARE = "@org/name, an id, or model:NAME, a placeholder that --use NAME=@org/name fills"


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
    """The document of a file, and its glue. Rejected, with all that is wrong, when the file is no capsule."""
    return _bundle(sound(path), path.parent, names)


def sound(path: Path, more: Callable[[Document], list[Mistake]] = lambda _: []) -> Document:
    """A file's content. Rejected with all that is wrong in it: each mistake with its place, and `more` if there are
    none.
    """
    document, found = check(path)
    found = found or more(document)
    if found:
        said = "\n".join(f"  {place}: {reason}" for place, reason in found)
        rows = [one._asdict() for one in found]
        raise Rejected(f"{path} has {len(found)} mistake{'s' * (len(found) > 1)}:\n{said}", mistakes=rows)
    return document


def check(path: Path) -> tuple[Document, list[Mistake]]:
    """A file's content, and all that is wrong in it, without a network. Rejected when it is no JSON object."""
    document = read_file(path)
    found = documents.mistakes(document, schema())
    found += capsules.mistakes(document, found)
    for name, row in document.get("glue", {}).items() if not found else ():
        try:
            assemble(path.parent / row["file"]) if "file" in row else None
        except Rejected as rejected:
            found.append(Mistake(f"$.glue.{name}.file", rejected.message))
    return document, found


def schema() -> Document:
    """The JSON Schema of a weaver's file: that of a capsule, where names may stand for ids, and files for glue."""
    whole: Document = json.loads(json.dumps(documents.schema("capsule")))
    whole |= {"$id": "urn:tollway:schema:capsule-file/1", "title": "capsule.json, as `tollway weaver publish` reads it"}
    whole["required"].remove("weaver")
    fields = whole["properties"]
    fields["$schema"] = {"type": "string", "description": "for your editor; not published"}
    fields["weaver"] = {"anyOf": [{"const": ""}, fields["weaver"]], "description": "left empty: whoever publishes it"}
    for form in fields["steps"]["items"]["properties"]["uses"]["oneOf"]:
        for kind in {"model", "capsule"} & {*form["properties"]}:
            form["properties"][kind] |= {"pattern": f"^({NAME})$", "description": NAMES_ARE}
    row = fields["glue"]["additionalProperties"]
    row["required"] = ["fuel"]
    row["properties"]["file"] = {"type": "string", "description": "WebAssembly beside this file, text or binary"}
    row["anyOf"] = [{"required": ["file"]}, {"required": ["digest", "size"]}]
    return whole


def sketch(path: Path) -> tuple[Document, dict[str, str]]:
    """A document to draw from a file, without a network: a name that is not an id yet is replaced by its hash. With
    the names by these ids.
    """
    document = sound(path)
    texts = [str(use[kind]) for use in uses(document) for kind in ("model", "capsule") if kind in use]
    ids = {text: cid(hashlib.sha256(text.encode()).digest()) for text in texts if not text.startswith("bafkrei")}
    names = Names(did(0, ZERO_ADDRESS), ids.__getitem__, ids)
    return read(path, names).document, {id: text for text, id in ids.items()}


def placeholders(document: Document) -> list[str]:
    """The NAMEs of `model:NAME` in a file, which `--use NAME=@org/name` gives a meaning."""
    texts = [str(use.get(kind, "")) for use in uses(document) for kind in ("model", "capsule")]
    return sorted({text.removeprefix("model:") for text in texts if text.startswith("model:")})


def uses(document: Document) -> list[Json]:
    """What each step uses, in order."""
    return [step.get("uses", {}) for step in document.get("steps", [])]


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
    document = {key: value for key, value in document.items() if key != "$schema"}
    complete = {**document, "weaver": document.get("weaver") or names.weaver, "steps": steps}
    return Bundle(complete | {"glue": glue} if glue else complete, tuple(modules))
