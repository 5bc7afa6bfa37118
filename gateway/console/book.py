"""GET /help: the book, as `make docs` has built it. Its files are read once, when the gateway starts, and kept: so no
request reads a disk or waits for a thread, and no path leads out of the folder.
"""

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from gateway.console.assets import Asset
from gateway.errors import Refusal
from ledger.core.values.errors import Rejected

PATH = "/help"
BUILT = Path(__file__).parents[2] / "build" / "book"
"""Where `make docs` of this clone puts it."""
MOST_FILES, MOST_BYTES = 2_000, 64 * 2**20
FIRST, ABSENT = "index.html", "404.html"
HEADERS = {
    # A page loads the book's own files and nothing else. Its style sheets have small pictures in them: `data:`.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",  # asked again each time, and answered with 304
}

router = APIRouter(include_in_schema=False)


Book = dict[str, Asset]
"""The files of the book by their path in it. Empty: it is not built."""


def read(folder: Path | None) -> Book:
    """The book of a folder, or of this clone. Rejected: a named folder without one, and more than a book can have."""
    root = folder or BUILT
    if not (root / FIRST).is_file():
        if folder is not None:
            raise Rejected(f"GATEWAY_HELP names {folder}, where there is no {FIRST}: make docs builds {BUILT}")
        return {}
    book: Book = {}
    size = 0
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink():
            body = file.read_bytes()
            size += len(body)
            media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            book[file.relative_to(root).as_posix()] = Asset(body, media_type)
        if len(book) > MOST_FILES or size > MOST_BYTES:
            raise Rejected(f"{root} is no book: more than {MOST_FILES} files or {MOST_BYTES} bytes are in it")
    return book


@router.get(PATH)
async def first() -> Response:
    """To the first page: links in it are relative to the folder."""
    return RedirectResponse(f"{PATH}/")


@router.get(PATH + "/{path:path}")
async def page(request: Request, path: str) -> Response:
    """A file of the book; the book's own page for what is not there."""
    book: Book = getattr(request.app.state, "book", {})
    if not book:
        raise Refusal(
            404,
            "no_book",
            "the book is not built here: make docs builds it into build/book, for the gateway's next start",
        )
    if (found := book.get(path or FIRST)) is not None:
        return found.answer(request, HEADERS)
    if (absent := book.get(ABSENT)) is not None:
        return Response(absent.body, 404, HEADERS, media_type=absent.media_type)
    raise Refusal(404, "no_such_page", "the book has no such page: begin at /help/")
