"""Pages from templates. Whatever strangers wrote is text there: every value is escaped, and only https is a link."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import Response

from gateway.console import assets
from gateway.context import Gateway
from gateway.errors import Refusal, refusal
from ledger.core.values.atoms import Atoms, Currency, format_ratio
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import to_hex

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script or style within a page, none from elsewhere."""
OWN: Final = "'self'"
ANY_RPC: Final = "'self' https: http://127.0.0.1:* http://localhost:*"
"""For the page on which a reader has a receipt verified with an RPC endpoint of its choice."""
HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
SECTIONS: Final = MappingProxyType(
    {
        "overview": ("/", "Overview"),
        "models": ("/models", "Models"),
        "capsules": ("/capsules", "Capsules"),
        "payees": ("/payees", "Payees"),
        "explorer": ("/explorer", "Explorer"),
        "activity": ("/activity", "Activity"),
        "keys": ("/keys", "Keys"),
        "webhooks": ("/webhooks", "Webhooks"),
        "money": ("/money", "Money"),
        "wallet": ("/wallet", "Wallet"),
        "operator": ("/operator", "Operator"),
    }
)
"""The menu: of each section, where its pages begin and what it is called. Files are sent from memory, and have none."""
LONGEST: Final = 300
"""Characters of a text by a stranger that a page shows."""


class Page(APIRoute):
    """A route whose errors are pages too, and whose answers have the headers that keep a page's reader safe."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, whose refusals are shown to a person."""
        handle = super().get_route_handler()

        async def safe(request: Request) -> Response:
            gateway: Gateway | None = getattr(request.app.state, "gateway", None)
            try:
                return await handle(request)
            except TollwayError as error:
                refused = await gateway.explain(error) if gateway is not None else refusal(error)
            except RequestValidationError as error:
                refused = Refusal(422, "invalid_request", str(error.errors()[0]["msg"]))
            body = render("error.html", gateway, section="", refused=refused)
            return page(body, status=refused.status)

        return safe


def page(body: str, *, status: int = 200, connect: str = OWN) -> HTMLResponse:
    """A page as an answer. Its scripts may connect to `connect`."""
    return HTMLResponse(body, status, HEADERS | {"content-security-policy": POLICY.format(connect=connect)})


def render(template: str, gateway: Gateway | None, **values: Any) -> str:
    """A page's text. Every template is given the gateway's currency; `section` is the page's in the menu."""
    currency = gateway.currency if gateway is not None else None
    return _templates.get_template(template).render(currency=currency, **values)


def amount(value: Atoms | str, currency: Currency) -> str:
    """`12.5 AIC`: an amount of atoms, without the zeros at its end."""
    number = currency.decimal(int(value))
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {currency.symbol}"


def short(value: bytes | str) -> str:
    """`0x1234…abcd`: an address or a hash as long as a person reads it."""
    text = to_hex(value) if isinstance(value, bytes) else value
    return text if len(text) <= 14 else f"{text[:6]}…{text[-4:]}"


def moment(ms: int | None) -> str:
    """A time in ms as people read it, in UTC."""
    return "" if not ms else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def percent(value_ppm: int) -> str:
    return format_ratio(value_ppm)


def grouped(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def clipped(text: object, most: int = LONGEST) -> str:
    """A text by a stranger, at most so long."""
    said = str(text)
    return said if len(said) <= most else said[: most - 1] + "…"


def path(name: str) -> str:
    """A name as the part of a URL that a page's own path ends with."""
    return quote(name, safe="/@")


def linked(text: object) -> Markup:
    """A URL by a stranger as a link if it is https, else as text."""
    said = clipped(text)
    try:
        parts = urlsplit(said)
        is_link = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and said == str(text)
    except ValueError:
        is_link = False
    if not is_link:
        return escape(said)
    return Markup('<a href="{0}" rel="noopener noreferrer nofollow">{0}</a>').format(said)


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "amount": amount,
        "short": short,
        "hex": to_hex,
        "moment": moment,
        "percent": percent,
        "grouped": grouped,
        "clipped": clipped,
        "linked": linked,
        "path": path,
    }
    found.globals |= {"asset": assets.url, "sections": SECTIONS}
    return found


_templates = _environment()
