"""The artifact that a model document names: the digest of a manifest over every file of the model, and their size.

Its maker's command makes it, and a node checks it before it serves. Both read the files and nothing else.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
LAYER = "application/vnd.cncf.model.weight.v1.raw"


def artifact(path: Path) -> Document:
    """The artifact of a model folder or an .onnx file: any changed byte makes another one."""
    path.stat()  # says which file is missing
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    blobs = [file for file in files if file.is_file() and not file.name.startswith(".")]
    if not any(file.suffix == ".onnx" for file in blobs):
        raise Rejected(f"there is no .onnx file in {path}", path=str(path))
    layers = [_layer(file) for file in blobs]
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "layers": layers,
    }
    packed = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    return {
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "digest": "sha256:" + hashlib.sha256(packed).hexdigest(),
        "size": sum(layer["size"] for layer in layers),
    }


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


def _layer(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "mediaType": LAYER,
        "digest": f"sha256:{digest}",
        "size": file.stat().st_size,
        "annotations": {"org.opencontainers.image.title": file.name},
    }
