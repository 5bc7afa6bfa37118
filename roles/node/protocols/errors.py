"""Error answers in the shape of a path's protocol: one status for each reason, never a stack trace."""

import logging
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from roles.node.callers import NotOurs
from roles.node.models.batching import Busy
from roles.node.models.resale import Refused, UpstreamFailed

log = logging.getLogger("node")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


SHOWN = frozenset(("code", "type", "param", "field"))
"""Facts that have a place of their own in an error body."""


class NotFound(Rejected):
    """This node has no such model."""


class Draining(Unavailable):
    """The node finishes its open calls and accepts no new ones."""


UNAVAILABLE: dict[type[Exception], tuple[int, str]] = {
    Draining: (503, "draining"),
    UpstreamFailed: (502, "upstream_failed"),
}
"""Status and code, where it is not 503 `unavailable`."""


def json_answer(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response; numpy arrays are serialised."""
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def failure(error: Exception) -> tuple[int, dict[str, dict[str, object]]]:
    """Status and body for any error. Other exceptions are logged and answered as `internal_error`, without details."""
    if isinstance(error, TimeoutError):
        return 504, _body("the model took longer than the node allows", "timeout_error", "timeout", {})
    if not isinstance(error, TollwayError):
        log.error("call_failed", extra={"kind": type(error).__name__}, exc_info=error)
        return 500, _body("the node failed during this call", "server_error", "internal_error", {})
    if isinstance(error, NotFound):
        return 404, _body(error.message, "invalid_request_error", "model_not_found", error.facts)
    if isinstance(error, Refused):
        kind, code = (str(error.facts.get(name, "invalid_request_error")) for name in ("type", "code"))
        return error.status, _body(error.message, kind, code, error.facts)
    if isinstance(error, NotOurs):
        return 401, _body(error.message, "authentication_error", "not_a_gateway", error.facts)
    if isinstance(error, Busy):
        return 429, _body(error.message, "rate_limit_error", "queue_full", error.facts)
    if isinstance(error, Unavailable):
        status, code = UNAVAILABLE.get(type(error), (503, "unavailable"))
        return status, _body(error.message, "server_error", code, error.facts)
    return 400, _body(error.message, "invalid_request_error", str(error.facts.get("code", "bad_request")), error.facts)


@web.middleware
async def errors_in_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error of a handler, aiohttp's own included, into an error body."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        body = _body(error.reason, "invalid_request_error", error.reason.lower().replace(" ", "_"), {})
        return json_answer(_shaped(request, body), status=error.status)
    except Exception as error:  # the edge: the caller always gets an error body
        status, body = failure(error)
        wait = error.facts.get("retry_after", 1) if isinstance(error, TollwayError) else 1
        headers = {"Retry-After": f"{wait}"} if status in (429, 503) else None
        return json_answer(_shaped(request, body), status=status, headers=headers)


def _shaped(request: web.Request, body: dict[str, dict[str, object]]) -> dict[str, object]:
    """An error as the clients of its path read it: the Open Inference Protocol has a text, with the rest beside it."""
    error = body["error"]
    return {"error": error["message"], **error} if request.path.startswith("/v2") else {"error": error}


def _body(message: str, kind: str, code: str, facts: dict[str, object]) -> dict[str, dict[str, object]]:
    shown = {key: value for key, value in facts.items() if isinstance(value, str | int | list) and key not in SHOWN}
    param = facts.get("param", facts.get("field"))
    return {"error": {"message": message, "type": kind, "code": code, "param": param, **shown}}
