"""The console's routes together, and which paths are its pages. Alone, because every page imports what they share."""

from typing import Final

from fastapi import APIRouter

from gateway.console import assets, entries, explorer, listing, overview, own

MODULES: Final = (assets, overview, listing, entries, explorer, own)
SECTIONS: Final = frozenset(("", "models", "capsules", "explorer", "activity", "keys", "money", "operator"))
"""Where paths of pages begin. Files are sent from memory, and are not among them."""

router = APIRouter(include_in_schema=False)
for _module in MODULES:
    router.include_router(_module.router)


def is_page(path: str) -> bool:
    """Whether a path is a page's, which costs a reading and a rendering."""
    return path.removeprefix("/").partition("/")[0] in SECTIONS
