"""What the doors share: the models, the limits, and whether the node is leaving."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from roles.node.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may cost the node. `batch` calls run together, `queue` more may wait."""

    body_bytes: int = 1 << 20
    call_seconds: float = 60.0
    drain_seconds: float = 30.0
    batch: int = 8
    queue: int = 64


@dataclass(slots=True)
class State:
    """One node's state."""

    catalogue: Catalogue
    limits: Limits = field(default_factory=Limits)
    draining: bool = False
    open_calls: int = 0


STATE = web.AppKey("state", State)
