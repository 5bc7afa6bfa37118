"""An OCI image layout that holds model artifacts: blobs by digest, an index, and the chunks of each file."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ledger.core.values.errors import Conflict, Rejected
from roles.node.artifacts.chunking import Chunk
from roles.node.artifacts.manifest import (
    ARTIFACT,
    CHUNKS,
    FILEPATH,
    MANIFEST,
    Descriptor,
    Json,
    described,
    file_digest,
    manifest,
    packed,
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A file of the model, and its chunks."""

    descriptor: Descriptor
    filepath: str
    chunks: tuple[Chunk, ...]


class Layout:
    """A folder in OCI layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.partial = root / "partial"
        self.index = root / "index.json"
        self.blobs.mkdir(parents=True, exist_ok=True)
        marker = root / "oci-layout"
        if not marker.exists():
            marker.write_text('{"imageLayoutVersion":"1.0.0"}')

    def pack(self, path: Path) -> Descriptor:
        """Add a model folder or an .onnx file. A model document names it by the digest of the returned descriptor."""
        made = manifest(path)
        for file, layer in made.files:
            self._add_file(file, layer.digest)
        for body, media_type in made.small:
            self.add(body, media_type)
        whole = self.add(made.body, MANIFEST)
        self.publish(whole, path.name)
        return whole

    def publish(self, manifest: Descriptor, name: str) -> None:
        """Add a complete artifact to the index under a name. The newest artifact of a name comes last."""
        found = [row for row in self.manifests() if row["digest"] != manifest.digest]
        annotations = {"org.opencontainers.image.ref.name": name}
        row = manifest.as_json() | {"artifactType": ARTIFACT, "annotations": annotations}
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [*found, row]}
        _replace(self.index, packed(index))

    def manifests(self) -> list[Json]:
        rows: list[Json] = json.loads(self.index.read_bytes())["manifests"] if self.index.exists() else []
        return rows

    def changed_at(self) -> int:
        """When the index last changed, in ns since the epoch; 0 without an index."""
        return self.index.stat().st_mtime_ns if self.index.exists() else 0

    def add(self, body: bytes, media_type: str) -> Descriptor:
        made = described(body, media_type)
        if not self.path(made.digest).exists():
            _replace(self.path(made.digest), body)
        return made

    def path(self, digest: str) -> Path:
        """The path of a blob, whether it exists or not. Rejected when `digest` is not a digest."""
        kind, _, name = digest.partition(":")
        if kind != "sha256" or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise Rejected(f"{digest!r} is not sha256: and 64 hex digits", digest=digest)
        return self.blobs / name

    def layers(self, manifest: bytes) -> list[Layer]:
        """The files of an artifact whose manifest and chunk list the layout has."""
        rows = _manifest(manifest)["layers"]
        lists = [row["digest"] for row in rows if row["mediaType"] == CHUNKS]
        if len(lists) != 1:
            raise Rejected("the manifest names no list of chunks", media_type=CHUNKS)
        listed = {row["layer"]: row["chunks"] for row in json.loads(self.path(lists[0]).read_bytes())["layers"]}
        return [_layer(row, listed) for row in rows if row["mediaType"] != CHUNKS]

    def held_chunks(self) -> dict[str, tuple[Path, Chunk]]:
        """Every chunk of every complete artifact, with the file and position of its bytes."""
        held: dict[str, tuple[Path, Chunk]] = {}
        for row in self.manifests():
            for layer in self.layers(self.path(row["digest"]).read_bytes()):
                path = self.path(layer.descriptor.digest)
                held.update((chunk.digest, (path, chunk)) for chunk in layer.chunks)
        return held

    def unpack(self, digest: str, folder: Path) -> None:
        """Write an artifact's files to a folder. Conflict when a blob does not match its digest."""
        for layer in self.layers(self.path(digest).read_bytes()):
            source, target = self.path(layer.descriptor.digest), folder / layer.filepath
            if f"sha256:{file_digest(source)}" != layer.descriptor.digest:
                raise Conflict(f"{source} does not match its digest", digest=layer.descriptor.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def _add_file(self, path: Path, digest: str) -> None:
        kept = self.path(digest)
        if not kept.exists():
            staged = self.blobs / f".{kept.name}.{os.getpid()}"
            shutil.copyfile(path, staged)
            staged.replace(kept)


def read_chunk(path: Path, chunk: Chunk) -> bytes:
    """A chunk's bytes from a file that has them at `chunk.offset`."""
    with path.open("rb") as file:
        return os.pread(file.fileno(), chunk.size, chunk.offset)


def wanted(manifest: bytes) -> Iterator[Descriptor]:
    """The small blobs needed before the layers of a manifest: config and chunk list."""
    said = _manifest(manifest)
    for row in [said["config"], *(row for row in said["layers"] if row["mediaType"] == CHUNKS)]:
        yield Descriptor(row["mediaType"], row["digest"], row["size"])


def _manifest(body: bytes) -> Json:
    try:
        said: Json = json.loads(body)
        if said["artifactType"] == ARTIFACT and said["layers"] and said["config"]:
            return said
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(f"not a model manifest: {error}") from error
    raise Rejected("not a manifest of a model", artifact_type=ARTIFACT)


def _layer(row: Json, listed: dict[str, list[tuple[str, int]]]) -> Layer:
    filepath = str(row.get("annotations", {}).get(FILEPATH, ""))
    if not filepath or filepath.startswith("/") or ".." in Path(filepath).parts:
        raise Rejected(f"a layer's path {filepath!r} leads out of its folder", filepath=filepath)
    made, offset = [], 0
    for digest, size in listed.get(row["digest"], []):
        made.append(Chunk(digest, offset, size))
        offset += size
    if offset != row["size"]:
        raise Rejected(f"the chunks of {filepath} are {offset} bytes, the layer is {row['size']}", filepath=filepath)
    return Layer(Descriptor(row["mediaType"], row["digest"], row["size"]), filepath, tuple(made))


def _replace(path: Path, body: bytes) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_bytes(body)
    staged.replace(path)
