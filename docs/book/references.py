"""Every page that is made from the code, by its place in the book. It stands alone: the hooks know no other."""

from __future__ import annotations

from docs.book import chain, commands, documents, failures, routes, settings

MAKERS = (commands, routes, settings, failures, documents, chain)


def pages() -> dict[str, str]:
    """All of them."""
    made: dict[str, str] = {}
    for maker in MAKERS:
        made |= maker.pages()
    return made
