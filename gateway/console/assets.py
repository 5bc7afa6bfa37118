"""Files that are read once and sent from memory: the console's styles and scripts, under names that change with their
content, and the book's (`book`).

Nothing is fetched from elsewhere, so the pages work without the internet.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.errors import Refusal

FOLDER: Final = Path(__file__).parent / "static"
URL: Final = "/static/"
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".json": "application/json"}
FOR_EVER: Final = "public, max-age=31536000, immutable"
"""For a request that names the content by its hash. Without it the reader asks again, by the etag."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, their media type, and the same packed by gzip, if it is sent so."""

    body: bytes
    media_type: str
    packed: bytes = b""
    hash: str = field(init=False)
    """Of the bytes: what a browser asks again by."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", sha256(self.body).hexdigest()[:32])

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """The file, with these headers; 304 for who has it already."""
        headers = {"etag": f'"{self.hash}"', "x-content-type-options": "nosniff", **headers}
        if self.packed:
            headers["vary"] = "accept-encoding"
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if self.packed and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, headers=headers | {"content-encoding": "gzip"}, media_type=self.media_type)
        return Response(self.body, headers=headers, media_type=self.media_type)


def read(folder: Path = FOLDER) -> Mapping[str, Asset]:
    """Every file of the folder whose kind is known, by its name."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.suffix in TYPES:
            body = file.read_bytes()
            found[file.name] = Asset(body, f"{TYPES[file.suffix]}; charset=utf-8", gzip.compress(body, mtime=0))
    return MappingProxyType(found)


ASSETS: Final = read()


def url(name: str) -> str:
    """Where a file is: another URL as soon as its content is another."""
    return f"{URL}{name}?v={ASSETS[name].hash}"


@router.get(URL + "{name}")
async def asset(name: str, request: Request) -> Response:
    """One file of the console."""
    found = ASSETS.get(name)
    if found is None:
        raise Refusal(404, "no_such_file", f"there is no file {name!r}")
    named = request.query_params.get("v") == found.hash
    return found.answer(request, {"cache-control": FOR_EVER if named else "no-cache"})
