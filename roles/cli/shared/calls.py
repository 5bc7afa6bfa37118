"""Calling models from the command line, and showing what came back and what it cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.meters import Meter
from roles.cli import amounts, output
from roles.cli.context import Context
from roles.client.gateway import Json, refusal

if TYPE_CHECKING:
    import httpx


def headers(*, max_price: str | None, referral: str | None) -> dict[str, str]:
    """The headers that say how much at most, and who referred."""
    said = {}
    if max_price:
        said["Tollway-Max-Price"] = str(amounts.typed(max_price))
    if referral:
        said["Tollway-Referral"] = referral
    return said


def chat(
    context: Context,
    model: str,
    text: str,
    *,
    stream: bool,
    max_tokens: int,
    headers: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """One chat call. Streams to stdout when asked (to stderr for programs); answers text, usage, charge, receipt."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    sent = {"Authorization": f"Bearer {context.api_key}", **headers} if context.api_key else dict(headers)
    url = f"{context.url}/v1/chat/completions"
    import httpx  # as in `gateway`

    try:
        with httpx.stream("POST", url, json=body, headers=sent, timeout=seconds) as response:
            if response.is_error:
                response.read()
                raise refusal(response.status_code, _json(response))
            return _streamed(response) if stream else _whole(response)
    except httpx.TransportError as error:
        raise Unavailable(f"the gateway at {context.url} broke off: {error}") from error


def infer(context: Context, model: str, inputs: list[str]) -> dict[str, Any]:
    """One Open Inference Protocol call with text tensors."""
    tensors = []
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals:
            raise Rejected(f"{text!r} is no input: write NAME=TEXT", input=text)
        tensors.append({"name": name, "datatype": "BYTES", "shape": [1], "data": [value]})
    said, told = context.gateway.call(f"/v2/models/{model}/infer", {"inputs": tensors})
    return {**{row["name"]: row["data"] for row in said.get("outputs", [])}, **_cost(told, None)}


def units(words: list[str]) -> dict[str, int]:
    """Expected use from METER=UNITS words."""
    found = {}
    for word in words:
        name, equals, number = word.partition("=")
        if name not in Meter.__members__ or not equals or not number.isdecimal():
            raise Rejected(f"{word!r} is no use: write METER=UNITS, with a meter of {', '.join(Meter.__members__)}")
        found[name] = int(number)
    return found


def show_quote(quote: Json) -> None:
    """A quote's lines, sub-calls indented."""
    if output.speech.json:
        output.tell(quote)
        return
    output.tabulate(list(_lines(quote, 0)), f"price {quote['price']} atoms, hold {quote.get('hold', quote['price'])}")


def model_row(row: Json) -> dict[str, Any]:
    """A row of the list of models, without what only programs need."""
    return {"model": row["id"], "by": row.get("owned_by", ""), "id": row.get("cid", "")}


def key_row(row: Json) -> dict[str, Any]:
    """An API key's row, without its secret and what is not set."""
    ended = "revoked" if row["revoked_at"] else "expires " + moment(row["expires_at"]) if row["expires_at"] else ""
    made = {"label": row["label"], "made": moment(row["created_at"]), "ended": ended}
    return {"id": row["id"], **made, "spent": row["spent"] or "0", "budget": row["budget"] or "all of the deposit"}


def moment(ms: int) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def why_nothing(said: Json) -> str:
    """A diagnostic in words: what was asked for, what there is, what comes nearest and what it lacks."""
    lines = [str(said.get("message", "nothing fits"))]
    if here := said.get("tasks_here"):
        lines.append(f"tasks here: {', '.join(here)}")
    lines += [f"{row['name']} lacks {', '.join(row['lacks'])}" for row in said.get("nearest", [])]
    return "\n".join(lines)


def found_row(row: Json) -> dict[str, Any]:
    """A row of what discovery found, as a person reads it."""
    shown = ("name", "price", "tier", "latency_ms", "quality_ppm", "sponsored")
    return {name: row[name] for name in shown if name in row}


def receipt_row(row: Json) -> dict[str, Any]:
    """A receipt's row."""
    said = row.get("receipt", row)
    return {"ended": moment(said["ended_at"]), **{name: said[name] for name in ("price", "charge", "end", "call_id")}}


def _lines(part: Json, depth: int) -> Any:
    for line in part["lines"]:
        yield {
            "line": "  " * depth + str(line["role"]),
            "party": str(line["party"]).rpartition(":")[2],
            "ratio": amounts.percent(int(line["ratio_ppm"])),
            "fixed": line["fixed"],
            "amount": line["amount"],
        }
    for sub in part.get("subs", []):
        yield {"line": "  " * depth + f"> {sub['node']}", "party": "", "ratio": "", "fixed": "", "amount": sub["price"]}
        yield from _lines(sub, depth + 1)


def _whole(response: httpx.Response) -> dict[str, Any]:
    response.read()
    said = _json(response)
    ended = {"nodes": said["tollway"]["nodes"]} if "tollway" in said else {}
    return {"answer": said["choices"][0]["message"]["content"], **_cost(response.headers, said.get("usage")), **ended}


def _streamed(response: httpx.Response) -> dict[str, Any]:
    out = sys.stderr if output.speech.json else sys.stdout
    parts: list[str] = []
    usage: Json = None
    last: Json = {}
    for line in response.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        last = json.loads(line[6:])
        if "error" in last:
            raise Unavailable(f"cut off: {last['error'].get('message', last['error'])}")
        usage = last.get("usage") or usage
        for choice in last.get("choices", []):
            parts.append(choice.get("delta", {}).get("content") or "")
            out.write(parts[-1])
            out.flush()
    out.write("\n")
    charge = {name: last["tollway"][name] for name in ("charge", "receipt") if name in last.get("tollway", {})}
    return {**({"answer": "".join(parts)} if output.speech.json else {}), **_cost(response.headers, usage), **charge}


def _cost(headers: Mapping[str, str], usage: Json) -> dict[str, Any]:
    said: dict[str, Any] = {"usage": usage} if usage else {}
    for name, header in (("charge", "Tollway-Charge"), ("receipt", "Tollway-Receipt")):
        if header.lower() in headers:
            said[name] = headers[header.lower()]
    return said


def _json(response: httpx.Response) -> Json:
    try:
        return response.json()
    except ValueError:
        return {}
