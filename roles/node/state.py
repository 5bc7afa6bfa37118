"""State shared by all endpoints of a node: its models, its limits, and whether it drains."""

from dataclasses import dataclass, field

from aiohttp import web

from ledger.core.values.meters import Units
from roles.node import metering
from roles.node.callers import Caller, Callers
from roles.node.models.loader import LoadedModels
from roles.node.witness import Witness

RECORDING_BYTES = (20 << 20) + (64 << 10)
"""Of a request with a recording: as gateways take it, and what they write around it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on a call. `batch` calls run together; `queue` more may wait."""

    body_bytes: int = 1 << 20
    recording_bytes: int = RECORDING_BYTES
    call_seconds: float = 60.0
    drain_seconds: float = 30.0
    batch: int = 8
    queue: int = 64


@dataclass(slots=True)
class State:
    """One node's state. Without `callers` it serves whoever reaches it."""

    models: LoadedModels
    callers: Callers | None = None
    witness: Witness | None = None
    limits: Limits = field(default_factory=Limits)
    draining: bool = False
    open_calls: int = 0

    async def evidence(
        self, request: web.Request, model: str, units: Units, asked: bytes, answered: bytes
    ) -> dict[str, str]:
        """The headers of an answer: the units it used and, if a gateway asked, the node's signature over them."""
        headers, caller = metering.headers(units), request.get(CALLER)
        if self.witness is None or caller is None:
            return headers
        return headers | await self.witness.testify(caller, model, units, asked, answered)


STATE = web.AppKey("state", State)
CALLER = web.RequestKey("caller", Caller)
