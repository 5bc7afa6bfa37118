"""The manifest of a model's files: its digest is what a model document names, a layout holds, and a peer is asked for.

One manifest of the ModelPack kind: a config, a raw layer for each file, and a layer that lists every other layer's
chunks. It is made of the files and their names alone, so the same model has the same digest for its maker, a node and a
layout, whatever its folder is called. An .onnx file has that of a folder with nothing else in it. Hidden files are no
part of a model.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG = "application/vnd.cncf.model.weight.config.v1.raw"
CHUNKS = "application/vnd.tollway.model.chunks.v1+json"
FILEPATH = "org.cncf.model.filepath"
WEIGHTS = (".onnx", ".npy", ".bin", ".data", ".safetensors")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob: its media type, digest (`sha256:` and hex) and size in bytes."""

    media_type: str
    digest: str
    size: int

    def as_json(self) -> Json:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, and what it names: small blobs, and the files by their digests."""

    body: bytes
    small: tuple[tuple[bytes, str], ...]
    """Each with its media type."""
    files: tuple[tuple[Path, Descriptor], ...]

    @property
    def descriptor(self) -> Descriptor:
        return described(self.body, MANIFEST)

    @property
    def artifact(self) -> Document:
        """As a model document names it. Its size is that of the files together."""
        size = sum(file.size for _, file in self.files)
        return {**self.descriptor.as_json(), "artifactType": ARTIFACT, "size": size}


def manifest(path: Path) -> Manifest:
    """The manifest of a model folder or an .onnx file. Rejected when there is no .onnx file."""
    from roles.node.artifacts.chunking import chunks  # numpy, which the command line does without

    path.stat()  # says which file is missing
    folder = path if path.is_dir() else path.parent
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    named = [(one, one.relative_to(folder)) for one in found if one.is_file()]
    named = [(one, name) for one, name in named if not any(part.startswith(".") for part in name.parts)]
    if not any(one.suffix == ".onnx" for one, _ in named):
        raise Rejected(f"there is no .onnx file in {path}", path=str(path))
    layers, listed, files = list[Json](), list[Json](), list[tuple[Path, Descriptor]]()
    for one, name in named:
        kind = WEIGHT if one.suffix in WEIGHTS else WEIGHT_CONFIG
        file = Descriptor(kind, f"sha256:{file_digest(one)}", one.stat().st_size)
        files.append((one, file))
        layers.append(file.as_json() | {"annotations": {FILEPATH: name.as_posix()}})
        listed.append({"layer": file.digest, "chunks": [[chunk.digest, chunk.size] for chunk in chunks(one)]})
    chunk_list = packed({"layers": listed})
    layers.append(described(chunk_list, CHUNKS).as_json())
    config = packed(
        {
            "descriptor": {},
            "config": {"format": "onnx"},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
    )
    whole = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": described(config, CONFIG).as_json(),
        "layers": layers,
    }
    return Manifest(packed(whole), ((chunk_list, CHUNKS), (config, CONFIG)), tuple(files))


def artifact(path: Path) -> Document:
    """The artifact of a model folder or an .onnx file: any changed byte makes another one."""
    return manifest(path).artifact


def check_artifact(document: Document, path: Path) -> None:
    """Rejected unless a folder is what a model document names, and as large as that says. A document of a server
    behind a URL names no artifact.
    """
    named, name = document.get("artifact"), document["name"]
    if named is None:
        return
    found = artifact(path)
    if found["digest"] != named["digest"]:
        message = (
            f"{path} is not what {name} was registered with: its files are {found['digest']}, the document names "
            f"{named['digest']}. Serve those files, or register these: tollway maker register {name} --version NEW"
        )
        raise Rejected(message, path=str(path))
    if found["size"] != named["size"]:
        message = (
            f"the document of {name} says {named['size']:,} bytes, its files have {found['size']:,}: "
            f"its maker registers a true one (tollway maker register {name} --version NEW)"
        )
        raise Rejected(message, path=str(path))


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(body: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type, f"sha256:{hashlib.sha256(body).hexdigest()}", len(body))


def packed(value: Json) -> bytes:
    """JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
