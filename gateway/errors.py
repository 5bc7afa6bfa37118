"""Refusals of calls: one shape, OpenAI's, with the facts beside the message; and failures of nodes."""

from collections.abc import Mapping
from typing import Any

import orjson

from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_funds",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    410: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


OPEN_INFERENCE = "/v2"
"""Where paths of the Open Inference Protocol begin."""


class NodeFailed(Unavailable):
    """A node did not serve: its own fault, unless it is `refused`, which may be the request's.

    `kind` is unreachable, timeout, late (for a workflow's step), cut, nonsense, error, busy, refused, too_long or
    cancelled. A busy node may say after how many seconds to try again.
    """

    def __init__(self, message: str, kind: str, *, retry_after: int = 0, **facts: object) -> None:
        super().__init__(message, kind=kind, **facts)
        self.kind = kind
        self.retry_after = retry_after


class RuleBroken(Exception):
    """A rule of ours refused something while a node was asked: the gateway's fault, and neither node nor request's."""


class ClientLeft(Exception):
    """The client closed its connection: nobody waits for the answer. No error of ours, so no step's and no node's."""


class Refusal(TollwayError):
    """A refusal with its HTTP status, its code, and headers of the answer; and what its body has `beside` the error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.facts = dict(facts or {})
        self.status = status
        self.code = code
        self.param = param
        self.headers: list[tuple[bytes, bytes]] = []
        self.beside: dict[str, object] = {}
        if retry_after is not None:
            self.headers.append((b"retry-after", str(retry_after).encode()))
        if status == 401:
            self.headers.append((b"www-authenticate", b"Bearer"))


def refusal(error: TollwayError) -> Refusal:
    """The refusal that stands for an error of ours."""
    if isinstance(error, Refusal):
        return error
    facts = {name: value for name, value in error.facts.items() if name not in ("code", "param", "status", "message")}
    if isinstance(error, NodeFailed):
        status = 504 if error.kind in ("timeout", "late") else 502
        return Refusal(status, f"node_{error.kind}", error.message, facts=facts)
    if isinstance(error, Rejected):
        field = facts.pop("field", None)
        return Refusal(400, "rejected", error.message, param=str(field) if field else None, facts=facts)
    if isinstance(error, Conflict):
        return Refusal(409, "conflict", error.message, facts=facts)
    if isinstance(error, Unavailable):
        return Refusal(503, "unavailable", error.message, retry_after=1, facts=facts)
    return internal()


def internal() -> Refusal:
    """What is said of an error that is the gateway's own fault."""
    return Refusal(500, "internal", "the gateway failed; nothing was charged unless a receipt says so")


def body_of(refused: Refusal, path: str = "") -> bytes:
    """The error body, in the shape that the clients of its path read: OpenAI's object, or in the Open Inference
    Protocol the text, with the rest beside it. Amounts among the facts are decimal strings.
    """
    error: dict[str, Any] = {
        "message": refused.message,
        "type": TYPES.get(refused.status, "server_error"),
        "code": refused.code,
        "param": refused.param,
    }
    for name, value in refused.facts.items():
        error.setdefault(name, value)
    if path.startswith(OPEN_INFERENCE):
        return orjson.dumps({**error, **refused.beside, "error": refused.message}, default=str)
    return orjson.dumps({**refused.beside, "error": error}, default=str)
