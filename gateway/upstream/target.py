"""A node's address, parsed once when the catalog is loaded."""

from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import address

TUNNEL = "tunnel"


@dataclass(frozen=True, slots=True)
class Target:
    """A node's root URL: `http(s)://host[:port][/prefix][#model]`, or `tunnel://<provider address>[#model]`.

    The fragment is the node's own name of the model, if that is not the registered one. A final `/v1` of the path is
    dropped, so that an OpenAI base URL can be used as it is.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    served_as: str = ""
    head: bytes = field(default=b"", compare=False)
    """Extra header lines sent with every request, such as an upstream's credentials. Never shown."""
    ours: bool = False
    """Another gateway of the lane: its address comes from the operator and may be private."""
    address: str = ""
    """Where its host was found already, and may be called; empty: it is looked up for each connection."""

    host_header: bytes = field(init=False, repr=False, compare=False)
    """The value of the `Host` header."""

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}.get(self.scheme)
        named = host if self.port == default else f"{host}:{self.port}"
        object.__setattr__(self, "host_header", named.encode())

    def __repr__(self) -> str:
        return f"Target({self.url})"

    @property
    def url(self) -> str:
        """The root, without credentials."""
        return f"{self.scheme}://{self.host}:{self.port}{self.prefix}"


def parse(url: str, head: bytes = b"") -> Target:
    """The target of an offer's URL. Rejected: other schemes, a tunnel of no party, queries, credentials inside it."""
    try:
        if not url.isprintable():
            raise ValueError("it has control characters")
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Rejected(f"{url!r} is not a URL: {error}", url=url) from error
    if parts.scheme not in ("http", "https", TUNNEL) or not parts.hostname:
        raise Rejected(f"{url!r} is not an http, https or tunnel URL", url=url)
    if parts.scheme == TUNNEL:
        address(parts.hostname)
    if parts.username is not None or parts.password is not None or parts.query:
        raise Rejected("a node's URL carries no credentials and no query", url=parts._replace(netloc="…").geturl())
    prefix = quote(parts.path.rstrip("/"), safe="/%:@-._~")
    prefix = prefix.removesuffix("/v1")
    default = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, parts.hostname, port or default, prefix, parts.fragment, head)
