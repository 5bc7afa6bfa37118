"""Model servers, asked before something of them is described or offered: what a server calls a model need not be typed.

Alone: makers, OEMs and providers share it.
"""

from collections.abc import Callable
from dataclasses import replace
from shlex import quote as shell
from typing import TYPE_CHECKING, TypeVar

from ledger.core.catalog.protocols import LISTED, Protocol
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid
from roles.cli import output
from roles.cli.context import here
from roles.client import model_server
from roles.client.model_server import Away, Locked, ModelServer, Served
from roles.wallet import home

if TYPE_CHECKING:
    from roles.node.serve import Terms

T = TypeVar("T")


def asked(url: str, ask: Callable[[ModelServer], T]) -> tuple[ModelServer, T]:
    """What a server answers. It is shown the API key of TOLLWAY_UPSTREAM_KEY only when it wants one."""
    server = ModelServer.typed(url)
    try:
        return server, ask(server)
    except Locked:
        key = home.upstream_key()
        if key is None:
            raise
        server = replace(server, key=key)
        return server, ask(server)


def find(url: str, wanted: str, protocol: str = "") -> tuple[ModelServer, Served]:
    """The server at URL[#MODEL], and its model that is sold as `wanted`, a Tollway name.

    With #MODEL a server that nobody reaches from here is taken at its word, with a warning: gateways may reach it.
    """

    def ask(server: ModelServer) -> Served:
        if not server.named:
            return model_server.choose(server, server.listed(protocol), wanted)
        found = server.described(server.named, protocol)
        if found is None:
            raise model_server.unknown(server, listed(server, protocol))
        return found

    try:
        return asked(url, ask)
    except Away as away:
        server = ModelServer.typed(url)
        if not server.named:
            named = shell(f"{server.root}#MODEL")
            raise Away(f"{away.message}; or, if only gateways reach it, say what it calls the model: {named}") from away
        output.warn(f"{away.message}. That it calls the model {server.named!r} is taken from you")
        return server, Served(server.named, protocol or Protocol.chat)


def listed(server: ModelServer, protocol: str) -> list[Served]:
    """A server's models; none if it lists none."""
    try:
        return server.listed(protocol)
    except Rejected:
        return []


def serving(url: str, subject: Digest, text: str, realm: str) -> tuple[ModelServer, Served]:
    """The server at a URL, and what it calls a published model. Rejected when it cannot be called as published."""
    document = published(subject, realm)
    declared = {row["protocol"]: row for row in document.get("interfaces", [])}
    protocol = next((one for one in (Protocol.tensors, *sorted(LISTED)) if one in declared), "")
    server, served = find(url, str(document.get("name", text)), protocol)
    if why := model_server.misfit(served, declared.get(Protocol.tensors, {})):
        remedy = "register what it serves under a version of its own: tollway maker register --version"
        raise Rejected(f"{served.name!r} at {server.root} is not {text}: {why}. {remedy}")
    return server, served


def published(subject: Digest, realm: str) -> Document:
    """A model's document; an empty one where this wallet may not see it, or none is published."""
    try:
        return dict(here().gateway_in(realm).get(f"/v1/documents/{cid(subject)}"))
    except Rejected:
        return {}


def offer(subject: Digest, server: ModelServer, served: Served, terms: "Terms") -> dict[str, object]:
    """Offer a model at a server, as this wallet. An API key that the server wants goes to the gateway: who calls this
    has asked.
    """
    from roles.node import serve

    url = server.url_of(served.name)
    signed = serve.offer(here(), subject, url, terms, server.key)
    return {"url": server.root, "served_as": served.name, **here().gateway.post("/v1/offers", signed)}


def key_is_given(server: ModelServer) -> str:
    """What is asked of somebody whose server wants an API key."""
    return f"give the API key of {server.root} to the gateway {here().url}, which calls it with that"
