"""The console's routes together, and which paths are its pages. Alone, because every page imports what they share."""

from typing import Final

from fastapi import APIRouter

from gateway.console import assets, book, entries, explorer, listing, overview, own
from gateway.console.rendering import SECTIONS

MODULES: Final = (assets, book, overview, listing, entries, explorer, own)
PAGES: Final = frozenset(path.removeprefix("/") for path, _ in SECTIONS.values())
"""What paths of pages begin with."""

router = APIRouter(include_in_schema=False)
for _module in MODULES:
    router.include_router(_module.router)


def is_page(path: str) -> bool:
    """Whether a path is a page's, which costs a reading and a rendering."""
    return path.removeprefix("/").partition("/")[0] in PAGES
