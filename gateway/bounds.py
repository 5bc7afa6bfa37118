"""Every bound on what strangers send, open or make the gateway do: one table. A stranger is a client before its call is
admitted, and a node always. `tests/attacks/test_bounds.py` has a test for each row, with the numbers written again.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final, Generic, TypeVar

import numpy as np

from gateway.errors import Refusal
from gateway.upstream.guard import Network
from ledger.core.values import forms

KIB, MIB = 2**10, 2**20

# A client's request.
HEAD_BYTES: Final = 32 * KIB
HEADERS: Final = 100
HEAD_SECONDS: Final = 10.0
"""A head of 60 MB cost 6 s of CPU, and half a head stayed for ever."""
AHEAD: Final = 512
"""Requests that a client may send before the first is answered: each that waits has its own objects."""
PAID_BODY_BYTES: Final = 20 * MIB
PAID_BODY_SECONDS: Final = 60.0
"""Images. Read after the key, the voucher or the payment was checked."""
UNPAID_BODY_BYTES: Final = MIB
UNPAID_BODY_SECONDS: Final = 10.0
UNPAID_BODIES_AN_ADDRESS: Final = 4
UNPAID_BODIES: Final = 64
"""A 402 needs the request's price, so its body is read for nothing."""
INFLATED_BYTES: Final = 256 * KIB
INFLATED_TIMES: Final = 32
"""What a packed body may hold: so many bytes, or so many times its own, and no more than one that is not packed. 20 KB
of zeros would be 20 MiB, for the loop to read.
"""
OTHER_BODY_BYTES: Final = 256 * KIB
OTHER_BODY_SECONDS: Final = 10.0
"""FastAPI keeps a body of any length: 250 MB were buffered."""
AGENT_BODY_BYTES: Final = MIB
AGENT_BODY_SECONDS: Final = 10.0
AGENT_REQUESTS_AN_ADDRESS: Final = 8
AGENT_REQUESTS: Final = 256
"""Messages by MCP and A2A, which are read whole, and those of an address that are served before a key or a payment was
checked.
"""
UNPAID_TASKS_AN_ADDRESS: Final = 8
UNPAID_TASKS: Final = 256
UNPAID_TASK_BYTES: Final = 64 * KIB
"""Messages by A2A that wait for their payment. A longer one is sent again with it."""
DROPPED_BYTES: Final = 20 * MIB
DROPPED_SECONDS: Final = 5.0
"""What is read and dropped after a refusal. A connection that is closed at once resets, and the client may never see
the answer: Node's fetch did not in 16 of 20.
"""
NESTING: Final = 64
"""JSON libraries recurse: 5,000 levels were a 500."""
STRINGS: Final = 40_000
"""Keys and texts of a body. Each becomes an object: 2 million keys took the loop 3 s."""
CONTAINERS: Final = 500_000
"""Lists and objects of a body, or of a node's answer. 7 million empty lists took the loop 1 s."""
ANSWER_VALUES: Final = 1_000_000
"""Values of a node's answer, but for embeddings, whose numbers become no objects. As many commas in its texts count."""
VALUES: Final = 200_000
"""Values of what is decoded whole: a workflow's request, named values, and answers to either. 10 million numbers took
the loop 4 s.
"""
CAPSULE_BYTES: Final = OTHER_BODY_BYTES
TRIALS_A_MINUTE: Final = 60
"""A workflow that is run without being published, as long as one that is; and how many an address runs. Each is read
anew, before it is paid: the longest took a second (tests/attacks/test_trials.py).
"""
STEPS_BYTES: Final = 64 * MIB
"""What the steps of a workflow are sent together: its author may send all of the request with each."""
DIGITS: Final = 15
"""Of a number in a header, a client's or a node's. Python reads no number of 5,000 digits: an error of ours, once after
the charge.
"""
FORM_PARTS: Final = forms.FORM_PARTS
FORM_HEAD_BYTES: Final = forms.FORM_HEAD_BYTES
FORM_FIELD_BYTES: Final = forms.FORM_FIELD_BYTES
"""Of a form: parts, the head of each, and the text of a field. The bytes of its file are the body's."""
MODEL_NAME: Final = 128
"""Characters. The nearest names to one of 5 MB took 6 s."""

# A client's connections.
CONNECTIONS_AN_ADDRESS: Final = 64
CONNECTIONS: Final = 2048
IDLE_SECONDS: Final = 75
"""Connections that have not carried an admitted call. A sum alone is itself the attack: 8 addresses fill it."""
UNREAD_SECONDS: Final = 60
UNREAD_BYTES: Final = 256 * KIB
"""Who has more than 64 KiB waiting and takes fewer bytes in that time is gone: 20 MiB of an answer stayed for ever, and
so did a stream's call.
"""
TUNNELS_AN_ADDRESS: Final = 4
TUNNELS: Final = 1024
PAYMENTS_A_PAYER: Final = 2
PAYMENTS: Final = 64
"""x402 payments that wait for the chain, and beside them as many permits of `upto`. Worthless ones held every slot of
the calls.
"""
CHANNEL_CALLS_A_PAYER: Final = 96
CHANNEL_CALLS: Final = 384
"""Calls that wait for a channel of `batch-settlement`: 64 at once of one deposit, and some to spare."""
FAILURES_A_MINUTE: Final = 60
"""Wrong keys, vouchers and payments of an address: each costs a look-up or a signature check."""
WRITES_A_MINUTE: Final = 120
"""Documents, offers, deposits and credits of an address: each is a row for ever."""
WRITES_TOGETHER: Final = 1_200
WRITES_WHEN_BUSY: Final = 6
"""Of all addresses in a minute; beyond that an address has few. A sum alone is itself the attack: ten addresses fill
it.
"""
PAGES_A_MINUTE: Final = 240
"""Pages of the console that an address is shown: each is read from the database and written in a thread that all who do
not call share.
"""
EVENTS_AN_ADDRESS: Final = 6
EVENTS: Final = 512
"""Pages that are told what changes (tests/gateway/console/test_live.py). Each keeps a connection open; what they are
sent is read and written once for all.
"""
ADDRESSES: Final = 10_000
"""Addresses whose rates are remembered."""

# A node's answer.
EVENT_BYTES: Final = MIB
"""96 MB came as one event."""
EVENT_CONTAINERS: Final = 20_000
"""Lists and objects of an event. 340,000 took the loop 0.2 s, and a node may send one such event after another."""
PRELUDE_BYTES: Final = 64 * KIB
"""Comments and empty events before the first token."""
ANSWER_BYTES: Final = 20 * MIB
TOOL_CALLS: Final = 1024
"""Calls of functions in an answer that goes on in another protocol than chat: each becomes four events and an object.
More are left out.
"""
REFUSAL_BYTES: Final = 64 * KIB
"""Of a node's error that a consumer is shown. One of 20 MiB took the loop 0.6 s, and cost nobody anything."""

# What is remembered of nodes.
WAITING_FRAMES: Final = 64
"""Frames of requests, each up to 64 KiB, that wait in a tunnel for its node. One that gave credit and did not read had
20 MiB of each call stay, after the call too.
"""
ENDPOINTS: Final = 10_000
"""Hosts and ports that calls went to: a provider may offer at a new one each day."""
NODES: Final = 10_000
"""Providers of subjects that are measured. Those of the catalog stay, however many."""

# What is kept of answers.
KEPT_ANSWER_BYTES: Final = 4 * MIB
KEPT_BYTES: Final = 64 * MIB
KEPT_ANSWERS: Final = 10_000

# What one call may ask for (tests/gateway/test_media.py).
MOST_IMAGES: Final = 16
SPOKEN_CHARACTERS: Final = 4_096

# What is counted by name (tests/gateway/test_metrics.py).
METERED_MODELS: Final = 128
METERED_PROVIDERS: Final = 256
METERED_PAIRS: Final = 1024
"""Models, providers, and both together, that have series of their own in the metrics. Everybody can publish models."""

# What is remembered of tokens of realms.
REALM_TOKENS: Final = 10_000
"""Tokens whose signature was checked. Everybody can make a realm, and sign tokens of it."""

# What is fetched for strangers, and sent to them.
FETCH_SECONDS: Final = 10.0
WEBHOOK_SECONDS: Final = 10.0  # these four: tests/attacks/test_webhooks.py
"""For an attempt to send a message to a webhook. Of the answer only the status is read."""
WEBHOOKS: Final = 64
WEBHOOKS_AN_ACCOUNT: Final = 4
WEBHOOKS_A_HOST: Final = 16
"""Webhooks that are sent to at once: of all, of an account, at a host. A receiver may let each wait for 10 s, and one
account must not take all places at a host that many use.
"""
WEBHOOK_MESSAGES: Final = 16
"""Messages that a webhook gets one after the other, before others have their turn."""

T = TypeVar("T")

_LONG_BODY: Final = 16 * KIB
_TEXT = bytes(set(range(256)) - set(b'[]{}"'))
_NO_COMMA = bytes(set(range(256)) - set(b',"'))
_AS_ARRAYS = bytes.maketrans(b"{}", b"[]")
_LEVEL: Final = np.int8(ord("\\"))
"""What lies between "[" and "]": less one of them it is 1 or -1."""


def check_shape(body: bytes) -> None:
    """Refuse JSON of more than `STRINGS` strings, `CONTAINERS` lists and objects, or `NESTING` levels, before each
    becomes an object, or recurses.

    All steps are single passes in C: 20 MiB of text take some 30 ms, and a body with few brackets takes three counts.
    Brackets that do not fit are the parser's to refuse: it reaches no deeper than they are counted here.
    """
    many, deep = _count(body, b'"') > 2 * STRINGS, _count(body, b"[") + _count(body, b"{") > NESTING
    if not many and not deep:
        return
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_AS_ARRAYS, _TEXT)
    if marks.count(b'"') > 2 * STRINGS:
        raise _not_json(f"of at most {STRINGS} strings, keys included", strings=STRINGS)
    marks = b"".join(marks.split(b'"')[::2])
    if marks.count(b"[") > CONTAINERS:
        raise _not_json(f"of at most {CONTAINERS} lists and objects", containers=CONTAINERS)
    level = 0
    for at in range(0, len(marks), MIB):
        levels = np.cumsum(_LEVEL - np.frombuffer(marks, "b")[at : at + MIB], dtype=np.int32)
        if level + int(levels.max()) > NESTING:
            raise _not_json(f"of at most {NESTING} levels", levels=NESTING)
        level += int(levels[-1])


def check_whole(body: bytes) -> None:
    """Refuse JSON that is too much to be decoded whole: of a wrong shape, or of more than `VALUES` values."""
    check_shape(body)
    if _count(body, b",") < VALUES:
        return
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_COMMA)
    if sum([part.count(b",") for part in marks.split(b'"')[::2]]) >= VALUES:
        raise _not_json(f"of at most {VALUES} values", values=VALUES)


def is_crowded(answer: bytes, most: int = CONTAINERS, marks: bytes = b"[{") -> bool:
    """Whether a node's answer, or event, has more than `most` lists and objects, or as many brackets in its texts; or
    of what other `marks` count.
    """
    return len(answer) > most and sum(_count(answer, b"%c" % mark) for mark in marks) > most


def _count(body: bytes, mark: bytes) -> int:
    """How often a byte is in a body. In a long one numpy counts it four times as fast as `bytes` does."""
    return body.count(mark) if len(body) < _LONG_BODY else int(np.count_nonzero(np.frombuffer(body, "B") == mark[0]))


def _not_json(what: str, **facts: int) -> Refusal:
    return Refusal(400, "invalid_json", f"the body is not JSON {what}", facts=facts)


def number(text: bytes) -> int | None:
    """A number in a header; None for what is none, or longer than `DIGITS`."""
    return int(text) if len(text) <= DIGITS and text.isdigit() else None


def check_model_name(name: str) -> None:
    """Refuse a name that no model can have, without repeating it."""
    if len(name) > MODEL_NAME:
        raise Refusal(400, "invalid_request", f"a model's name has at most {MODEL_NAME} characters", param="model")


class Addresses:
    """Whom the bounds count as one: an IPv4 address, or a /64 of IPv6, in front of the operator's own proxies."""

    def __init__(self, proxies: Sequence[Network]) -> None:
        self._proxies = tuple(proxies)

    def is_proxy(self, host: str) -> bool:
        address = _parsed(host)
        return address is not None and any(address in network for network in self._proxies)

    def of_connection(self, host: str) -> str:
        """The address of a peer."""
        address = _parsed(host)
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((address, 64), strict=False))
        return host

    def of_request(self, host: str, headers: Mapping[bytes, bytes]) -> str:
        """The address of a request's sender: behind proxies the last one in X-Forwarded-For that is no proxy."""
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        while forwarded and self.is_proxy(host):
            host = forwarded.pop().strip()
        return self.of_connection(host)


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Place(Generic[T]):
    """A place that an address has taken for its `holder`, since a moment of the monotonic clock."""

    __slots__ = ("_places", "address", "evicted", "holder", "since")

    def __init__(self, places: "Places[T]", address: str, holder: T) -> None:
        self._places = places
        self.address = address
        self.holder = holder
        self.since = monotonic()
        self.evicted = False

    def leave(self) -> None:
        """Give it back. Again changes nothing."""
        self._places.drop(self)

    def retake(self) -> None:
        """Take it again, as the newest. Again changes nothing."""
        self._places.put(self)


class Places(Generic[T]):
    """Places for what strangers keep open: `each` an address, `total` in all.

    One too many closes the oldest holder of the address that has most, never the newcomer. A fixed sum that refused
    newcomers could be held by a few addresses.
    """

    def __init__(self, each: int, total: int, close: Callable[[T], object]) -> None:
        self._each, self._total, self._close = each, total, close
        self._taken: dict[str, dict[Place[T], None]] = {}
        self._count = 0

    def __iter__(self) -> Iterator[Place[T]]:
        return iter([place for places in self._taken.values() for place in places])

    def addresses(self) -> list[str]:
        return list(self._taken)

    def taken(self, address: str) -> int:
        return len(self._taken.get(address, ()))

    def has_room(self, address: str) -> bool:
        """Whether an address may have one more without losing its oldest."""
        return self.taken(address) < self._each

    def take(self, address: str, holder: T) -> Place[T]:
        """A place for one more. An address may have too many until `close_excess`."""
        place = Place(self, address, holder)
        self.put(place)
        return place

    def put(self, place: Place[T]) -> None:
        if place in self._taken.get(place.address, ()):
            return
        if self._count >= self._total:
            self._close_oldest(max(self._taken, key=self.taken))
        self._taken.setdefault(place.address, {})[place] = None
        self._count += 1

    def close_excess(self, address: str) -> None:
        """Close the oldest holders of an address that has more than its share."""
        while self.taken(address) > self._each:
            self._close_oldest(address)

    def drop(self, place: Place[T]) -> None:
        places = self._taken.get(place.address, {})
        if place in places:
            del places[place]
            self._count -= 1
            if not places:
                del self._taken[place.address]

    def _close_oldest(self, address: str) -> None:
        oldest = next(iter(self._taken[address]))
        self.drop(oldest)
        oldest.evicted = True
        self._close(oldest.holder)


class Tasks(Places["asyncio.Task[object]"]):
    """Places for what a request makes its gateway do meanwhile. Who loses its place gets 503."""

    def __init__(self, each: int, total: int) -> None:
        super().__init__(each, total, lambda task: task.cancel())

    @contextmanager
    def place(self, address: str) -> Iterator[Place["asyncio.Task[object]"]]:
        """A place for the current task."""
        task = asyncio.current_task()
        assert task is not None
        place = self.take(address, task)
        self.close_excess(address)
        try:
            yield place
        except asyncio.CancelledError:
            if not place.evicted:
                raise
            task.uncancel()
            raise Refusal(503, "overloaded", "others of this address took the place", retry_after=1) from None
        finally:
            place.leave()


class Rates:
    """A number of events a minute, or in other `seconds`, for each address, as many at once after as long a quiet.

    While all cause more than `together`, an address may cause `when_busy`.
    """

    def __init__(
        self, a_minute: int, together: int | None = None, when_busy: int = 0, *, seconds: float = 60.0
    ) -> None:
        self._a_minute, self._seconds = a_minute, seconds
        self._busy = (Rates(together), Rates(when_busy)) if together is not None else None
        self._left: dict[str, tuple[float, float]] = {}

    def left(self, address: str) -> float:
        """The events that an address may still cause now; below 1 it may cause none."""
        known = self._left.get(address)
        if known is None:
            return float(self._a_minute)
        left, at = known
        return min(float(self._a_minute), left + (monotonic() - at) * self._a_minute / self._seconds)

    def note(self, address: str) -> None:
        """Count an event."""
        if self._busy is not None:
            together, few = self._busy
            together.note("")
            few.note(address)
        left = self.left(address) - 1
        self._left.pop(address, None)
        if len(self._left) >= ADDRESSES:
            del self._left[next(iter(self._left))]
        self._left[address] = max(0.0, left), monotonic()

    def check(self, address: str, what: str) -> None:
        """Refuse with 429 when an address may cause none now."""
        left = self.left(address)
        if left < 1:
            wait = int((1 - left) * 60 / self._a_minute) + 1
            message = f"more than {self._a_minute} {what} a minute from one address"
            raise Refusal(429, "rate_limited", message, retry_after=wait)
        if self._busy is not None:
            together, few = self._busy
            if together.left("") < 1:
                few.check(address, f"{what}, while all send many,")
