"""Every page that is made from the code, by its place in the book. It stands alone: the hooks know no other."""

from __future__ import annotations

from docs.book import chain, commands, failures, forms, routes, settings

MAKERS = (commands, routes, settings, failures, forms, chain)


def pages() -> dict[str, str]:
    """All of them."""
    made: dict[str, str] = {}
    for maker in MAKERS:
        made |= maker.pages()
    return made
