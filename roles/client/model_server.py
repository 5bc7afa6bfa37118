"""A model server that somebody runs: which models it says it has, and what they take.

It is asked as its own clients ask it: OpenAI's list of models, or the Open Inference Protocol's metadata and Triton's
and MLServer's index of a repository. Whoever runs it is a stranger: bytes, time, models, tensors and names are bounded
here, redirects are not followed, and nothing it says is taken for more than a name or a shape.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote as shell
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ledger.core.catalog import names
from ledger.core.catalog.protocols import LISTED, Protocol
from ledger.core.catalog.tensors import MAX_TENSORS, Tensor
from ledger.core.values.documents import check_depth
from ledger.core.values.errors import Rejected, Unavailable
from roles.client.gateway import checked_url, segment

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Json = Any

MAX_ANSWER_BYTES = 4 << 20
"""Of one answer: the longest public lists of models have a tenth of it."""
MAX_SECONDS = 20
"""Of all questions together, however slowly each byte comes."""
MAX_MODELS = 1_000
MAX_NAME = 200
MAX_SIZE = 2**53 - 1
"""Of one dimension of a tensor, which JSON must hold exactly."""
SHOWN = 5
"""Names of models that an error lists."""
MAX_AT_ONCE = 8

# fmt: off
DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)
# fmt: on
LOCKED = (401, 403, 407)
KEY = "TOLLWAY_UPSTREAM_KEY"


class Away(Unavailable):
    """Nobody answers there."""


class Locked(Rejected):
    """The server wants an API key, or another one."""


class Odd(Rejected):
    """The server describes a model in a way that no document can repeat."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model of a server: its name there, and what it is called by. Only tensors have inputs and outputs."""

    name: str
    protocol: str
    inputs: Sequence[Mapping[str, Json]] = ()
    outputs: Sequence[Mapping[str, Json]] = ()
    why: str = ""
    """Why no document can describe it; empty if one can."""

    @property
    def interface(self) -> dict[str, Json]:
        """The interface of a model document."""
        if self.protocol != Protocol.tensors:
            return {"protocol": self.protocol}
        return {"protocol": self.protocol, "inputs": list(self.inputs), "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server by its root URL. `named`: the name of a model that stood behind `#`, if one did."""

    root: str
    named: str = ""
    key: str | None = field(default=None, repr=False)

    @classmethod
    def typed(cls, text: str, key: str | None = None) -> ModelServer:
        """Parse URL[#MODEL]; a final /v1 is dropped, as gateways do. Rejected: credentials or a query in it."""
        url, _, named = text.partition("#")
        root = checked_url(url).removesuffix("/v1")
        parts = urlsplit(root)
        if parts.username is not None or parts.password is not None or parts.query:
            raise Rejected(f"a server's URL carries no credentials and no query: set {KEY} to its API key")
        if named and not _is_name(named):
            raise Rejected(f"what stands behind # is not a model's name of 1 to {MAX_NAME} printable characters")
        return cls(root, named, key)

    def url_of(self, served_as: str) -> str:
        """The URL of an offer of a model that the server calls so."""
        return f"{self.root}#{served_as}"

    def listed(self, protocol: str = "") -> list[Served]:
        """Its models, of one protocol if one is said, with inputs and outputs as far as it says them.

        Away, Locked; Rejected when it speaks neither protocol, lists nothing, or says more than anybody reads.
        """
        return self._asked(lambda questions: questions.listed(protocol))

    def described(self, name: str, protocol: str = "") -> Served | None:
        """One model by its name there. None if it has none of that name."""
        return self._asked(lambda questions: questions.described(name, protocol))

    def _asked(self, ask: Callable[[_Questions], Awaitable[T]]) -> T:
        async def within() -> T:
            import httpx

            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            if self.key:
                headers["Authorization"] = f"Bearer {self.key}"
            async with asyncio.timeout(MAX_SECONDS), httpx.AsyncClient(headers=headers, timeout=MAX_SECONDS) as http:
                return await ask(_Questions(self.root, http))

        try:
            return asyncio.run(within())
        except TimeoutError as error:
            raise Away(f"the server at {self.root} did not answer within {MAX_SECONDS} seconds") from error


@dataclass(frozen=True, slots=True)
class _Questions:
    """The questions of one conversation."""

    root: str
    http: httpx.AsyncClient

    async def listed(self, protocol: str) -> list[Served]:
        if protocol != Protocol.tensors and (known := await self._openai()) is not None:
            return [Served(name, protocol or Protocol.chat) for name in self._some(known)]
        if protocol not in LISTED and (known := await self._repository()) is not None:
            limit = asyncio.Semaphore(MAX_AT_ONCE)

            async def described(name: str) -> Served | None:
                async with limit:
                    try:
                        return await self._tensors(name)
                    except Odd as odd:  # one such model keeps nobody from selling the others
                        return Served(name, Protocol.tensors, why=odd.message)

            found = await asyncio.gather(*(described(name) for name in self._some(known)))
            return [one for one in found if one is not None]
        raise self._neither(protocol)

    async def described(self, name: str, protocol: str) -> Served | None:
        if protocol not in LISTED and (found := await self._tensors(name)) is not None:
            return found
        if protocol != Protocol.tensors and name in (await self._openai() or ()):
            return Served(name, protocol or Protocol.chat)
        return None

    async def _openai(self) -> list[str] | None:
        """OpenAI's list of models; None where there is none."""
        said = await self._ask("GET", "/v1/models")
        rows = said.get("data") if isinstance(said, dict) else None
        return _names(row.get("id") for row in rows if isinstance(row, dict)) if isinstance(rows, list) else None

    async def _repository(self) -> list[str] | None:
        """The names of an Open Inference Protocol server's models that are loaded.

        The protocol itself lists none: this is Triton's extension, which MLServer has too, or KServe's own list. A node
        of ours lists all of its models as OpenAI does.
        """
        rows = await self._ask("POST", "/v2/repository/index", {"ready": True})
        if isinstance(rows, list):
            loaded = [row for row in rows if isinstance(row, dict) and row.get("state", "READY") in ("READY", "")]
            return _names(row.get("name") for row in loaded)
        said = await self._ask("GET", "/v2/models")
        if isinstance(said, dict) and isinstance(said.get("models"), list):
            return _names(said["models"])
        return await self._openai() if await self._ask("GET", "/v2") is not None else None

    async def _tensors(self, name: str) -> Served | None:
        """A model's metadata, if it has a model of that name and it is ready."""
        path = f"/v2/models/{segment(name)}"
        said = await self._ask("GET", path)
        if not isinstance(said, dict) or not {"inputs", "outputs"} & said.keys():
            return None
        if await self._ask("GET", f"{path}/ready") is None:
            return None
        return Served(name, Protocol.tensors, _shapes(said.get("inputs")), _shapes(said.get("outputs")))

    def _some(self, known: list[str]) -> list[str]:
        if not known:
            raise Rejected(f"the server at {self.root} has no model: load one into it, then do this again")
        return known

    def _neither(self, protocol: str) -> Rejected:
        what = "lists its models by neither OpenAI's API nor the Open Inference Protocol"
        if protocol:
            kind = "an OpenAI" if protocol in LISTED else "an Open Inference Protocol"
            what = f"does not list models as {kind} server does"
        hint = f"if it has the model all the same, say {shell(self.root + '#MODEL')}; docs/servers.md has each server"
        return Rejected(f"the server at {self.root} {what}: {hint}")

    async def _ask(self, method: str, path: str, body: Json = None) -> Json | None:
        """The JSON of a good answer, or True for one without any; None where the server has no such thing."""
        import httpx

        try:
            async with self.http.stream(method, self.root + path, json=body) as answer:
                status, raw = answer.status_code, await _whole(answer, self.root + path)
        except httpx.InvalidURL as error:
            raise Rejected(f"{self.root!r} is not a URL") from error
        except httpx.RequestError as error:
            raise Away(f"no server answers at {self.root}: start it, then do this again") from error
        if status in LOCKED:
            raise Locked(f"the server at {self.root} wants an API key: set {KEY} to one that it takes")
        if 300 <= status < 400:
            raise Rejected(f"{self.root}{path} leads elsewhere, and nobody follows it: give the URL where it ends")
        if status in (429, 503) and not path.endswith("/ready"):
            raise Away(f"the server at {self.root} is busy or not ready: it answered {status}")
        if status >= 400:
            return None
        return _json(raw) if raw else True


async def _whole(answer: httpx.Response, url: str) -> bytes:
    """The body as it came. Rejected when it is packed, which could hide its size, or too long."""
    if answer.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise Rejected(f"{url} answered in {answer.headers['Content-Encoding'][:20]!r}, which it was not asked for")
    parts = bytearray()
    async for part in answer.aiter_raw():
        parts += part
        if len(parts) > MAX_ANSWER_BYTES:
            raise Rejected(f"{url} answered with more than {MAX_ANSWER_BYTES} bytes: is it a model server?")
    return bytes(parts)


def _json(raw: bytes) -> Json | None:
    """The JSON of an answer. None when it is none, or so deep that reading it would end this process."""
    try:
        text = raw.decode()
        check_depth(text)
        return json.loads(text)
    except (ValueError, Rejected):
        return None


def _names(said: Any) -> list[str]:
    """The names that can be said in an offer, each once. Rejected when there are more than anybody sells."""
    found = list(dict.fromkeys(name for name in said if _is_name(name)))
    if len(found) > MAX_MODELS:
        raise Rejected(f"the server lists more than {MAX_MODELS} models: say which one with #MODEL behind its URL")
    return found


def _is_name(said: Json) -> bool:
    return isinstance(said, str) and 0 < len(said) <= MAX_NAME and said.isprintable() and said == said.strip()


def _shapes(said: Json) -> list[dict[str, Json]]:
    """Inputs or outputs as a model document says them. Odd when it could not."""
    rows = said if isinstance(said, list) else []
    if len(rows) > MAX_TENSORS:
        raise Odd(f"a model with more than {MAX_TENSORS} tensors on a side cannot be described")
    return [_shape(row) for row in rows]


def _shape(row: Json) -> dict[str, Json]:
    tensor = row if isinstance(row, dict) else {}
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if not isinstance(name, str):
        raise Odd("the server names a tensor by something that is no name")
    if datatype not in DATATYPES:
        raise Odd(f"the tensor {name[:40]!r} has a type that is none of {', '.join(DATATYPES)}")
    if not isinstance(shape, list) or not all(type(size) is int and -1 <= size <= MAX_SIZE for size in shape):
        raise Odd(f"the shape of the tensor {name[:40]!r} is not a list of sizes")
    try:
        return Tensor(name, datatype, tuple(shape)).document
    except Rejected as rejected:
        raise Odd(rejected.message) from rejected


def choose(server: ModelServer, known: Sequence[Served], wanted: str) -> Served:
    """Which of a server's models is sold as `wanted`: the one of that name, else of a like one, else the only one.

    Rejected, with the names to choose from, when none or several could be meant.
    """
    last = wanted.rpartition("/")[2].partition("@")[0]
    for fits in (
        lambda one: one.name == wanted,
        lambda one: one.name == last,
        lambda one: names.part_of(one.name) == last,
        lambda one: True,
    ):
        alike = [one for one in known if fits(one)]
        if len(alike) == 1:
            return sound(alike[0])
        if alike:
            break
    if not alike:
        raise Rejected(f"the server at {server.root} has no model that is ready: load one into it")
    raise Rejected(
        f"the server at {server.root} has {len(alike)} models, {_listing(alike)}: "
        f"say which one is {wanted} with {shell(server.url_of(alike[0].name))}"
    )


def sound(served: Served) -> Served:
    """The same. Rejected when no document can describe it."""
    if served.why:
        raise Rejected(f"the model {served.name!r} cannot be sold: {served.why}")
    return served


def unknown(server: ModelServer, known: Sequence[Served]) -> Rejected:
    """What to say of a name that a server does not have."""
    said = f"it has {_listing(known)}" if known else "it has none"
    return Rejected(f"the server at {server.root} has no model {server.named!r} that is ready: {said}")


def _listing(known: Sequence[Served]) -> str:
    shown = ", ".join(repr(one.name) for one in known[:SHOWN])
    return shown + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")


def misfit(served: Served, declared: Mapping[str, Json]) -> str:
    """Why a server's model cannot be called as a document declares; "" if it can, as far as the server says."""
    for side, has in (("inputs", served.inputs), ("outputs", served.outputs)):
        types = {one["name"]: one["datatype"] for one in has}
        for one in declared.get(side, []) if types else []:
            if types.get(one["name"]) != one["datatype"]:
                there = f"is {types[one['name']]}" if one["name"] in types else "is not there"
                return f"its {side} say {one['name']!r} is {one['datatype']}, and at the server it {there}"
    return ""
