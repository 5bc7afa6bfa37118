"""Calls of models from the command line, and the rows that show quotes, receipts and search results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.core.catalog import protocols
from ledger.core.catalog.protocols import MEDIA, Protocol
from ledger.core.values.errors import Rejected, Unavailable
from roles.cli import amounts, output
from roles.cli.shared import cells, inputs
from roles.client.gateway import GatewayClient, Json, body_of, refusal, segment, unreachable
from roles.wallet.context import Context

if TYPE_CHECKING:
    import httpx


TRIAL_SECONDS = 120
"""How long `weaver try` waits for its answer: all steps, one after another."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One request that a text says. `max_price` is an amount as typed; above it the gateway refuses the call. `near`
    goes into the header Tollway-Near as it is.
    """

    model: str
    text: str
    stream: bool = False
    max_tokens: int = 256
    max_price: str | None = None
    referral: str | None = None
    timeout_seconds: float = 60
    realm: str = ""
    near: str | None = None


def say(context: Context, asked: Spoken) -> dict[str, Any]:
    """Make one call of what takes a text; its answer, usage, charge and receipt. A stream is printed as it comes
    (--json: stderr).
    """
    headers = {
        **({"Authorization": f"Bearer {context.api_key}"} if context.api_key else {}),
        **({"Tollway-Max-Price": str(amounts.parse_some(asked.max_price))} if asked.max_price else {}),
        **({"Tollway-Referral": asked.referral} if asked.referral else {}),
        **({"Tollway-Realm": context.realm(asked.realm)} if asked.realm else {}),
        **_near(asked.near),
    }
    path, body = _request(context, asked)
    url = context.url + path
    import httpx  # only commands that reach the gateway pay for this import

    try:
        with httpx.stream("POST", url, json=body, headers=headers, timeout=asked.timeout_seconds) as response:
            if response.is_error:
                response.read()
                raise refusal(response.status_code, body_of(response))
            return _streamed(response) if asked.stream else _whole(response)
    except httpx.ConnectError as error:
        raise unreachable(context.url) from error
    except httpx.TransportError as error:
        raise Unavailable(f"the connection to the gateway at {context.url} broke: {error}") from error


def _request(context: Context, asked: Spoken) -> tuple[str, dict[str, Any]]:
    """The route of the model's own interface, and the body that says the text there."""
    row = context.key_gateway_in(asked.realm).get(f"/v1/models/{segment(asked.model)}")
    speaks = frozenset(row["protocols"])
    if Protocol.chat not in speaks and Protocol.tensors in speaks:
        raise Rejected(f"{asked.model} takes tensors: tollway consumer infer {asked.model} NAME=VALUE")
    if speaks and speaks <= MEDIA:
        how = f"call it with an OpenAI client, whose base_url is {context.url}/v1"
        raise Rejected(f"{asked.model} speaks {protocols.listed(speaks)}: {how}")
    if Protocol.embeddings in speaks and not {Protocol.chat, Protocol.completions} & speaks:
        if asked.stream:
            raise Rejected(f"{asked.model} makes embeddings, which come in one piece: leave --stream out")
        return "/v1/embeddings", {"model": asked.model, "input": asked.text}
    body = {
        "model": asked.model,
        "max_tokens": asked.max_tokens,
        "stream": asked.stream,
        **({"stream_options": {"include_usage": True}} if asked.stream else {}),
    }
    if Protocol.completions in speaks and Protocol.chat not in speaks:
        return "/v1/completions", {**body, "prompt": asked.text}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": asked.text}]}


def try_workflow(context: Context, document: Json, asked: Spoken) -> dict[str, Any]:
    """Run a workflow that is not published: its answer, cost and trace. Each step is a call of the key's."""
    body = {
        "capsule": document,
        "input": {"messages": [{"role": "user", "content": asked.text}], "max_tokens": asked.max_tokens},
    }
    most = {"Tollway-Max-Price": str(amounts.parse_some(asked.max_price))} if asked.max_price else {}
    gateway = GatewayClient(context.url, context.api_key, TRIAL_SECONDS, realm=context.realm(asked.realm))
    answer, _ = gateway.call("/v1/try", body, most)
    return {"answer": answer["text"], **{name: answer[name] for name in ("output", "charge", "steps")}}


def _near(said: str | None) -> dict[str, str]:
    return {"Tollway-Near": said} if said else {}


def infer(context: Context, model: str, words: list[str], realm: str, near: str | None = None) -> dict[str, Any]:
    """Make one Open Inference Protocol call, with the inputs that were typed."""
    gateway = context.key_gateway_in(realm)
    wanted = inputs.described(gateway.get(f"/v2/models/{segment(model)}"))
    answer, headers = gateway.call(f"/v2/models/{segment(model)}/infer", inputs.request(wanted, words), _near(near))
    return {**{row["name"]: row["data"] for row in answer.get("outputs", [])}, **_cost(headers, None)}


def show_quote(quote: Json) -> None:
    if output.mode.json:
        output.show(quote)
        return
    price, hold = int(quote["price"]), int(quote.get("hold", quote["price"]))
    title = f"price {amounts.format(price)}; while the call runs {amounts.format(hold)} are held"
    output.show_table(list(_quote_rows(quote, 0)), title)


SIZES = ("size_bytes", "memory_mb")
"""What a model takes where it is served, by the names that answers use."""


def model_row(row: Json) -> dict[str, Any]:
    """A model, its price and size, and those who serve it now; `since` is in ms."""
    named = {"model": row["id"], "by": row.get("owned_by", ""), "id": row.get("cid", ""), "pricing": row.get("pricing")}
    sizes = {name: row[name] for name in SIZES if row.get(name) is not None}
    return named | sizes | {"providers": [one for one in row.get("providers", []) if one["ready"]]}


def provider_rows(row: Json) -> list[dict[str, Any]]:
    """A model, with a row for each provider that can be called now: since when, its price, and what was measured."""
    if row.get("kind") == "capsule":
        ratio = sum(line["ratio_ppm"] for line in row.get("terms", {}).get("lines", []))
        price = f"what its {len(row['steps'])} steps cost, {amounts.format_ratio(ratio)} of the price on top"
        unserved = {"served by": "", "tier": "", "since": None, "price": price, "answers in": ""}
        return [{"model": row["id"], **unserved, **dict.fromkeys(SIZES, "")}]
    able = [one for one in row.get("providers", []) if one["ready"]]
    return [
        {
            "model": "" if n else row["id"],
            "served by": one["provider"],
            "tier": one["tier"],
            "since": one["since"],
            "price": ", ".join(cells.rates(one["pricing"])) or "free",
            "answers in": _speed(one),
            **{name: "" if n else row.get(name) or "" for name in SIZES},
        }
        for n, one in enumerate(able)
    ]


def _speed(measured: Json) -> str:
    """A provider's median time to its first byte, and its round trip, in words."""
    late, far = measured["latency_ms"], measured["round_trip_ms"]
    said = [f"{late:,} ms" if late else "not measured", f"{far:,} ms away" if far else ""]
    return ", ".join(part for part in said if part)


def why_nothing(diagnostic: Json) -> str:
    """Why a search found nothing: the tasks that exist, and what the nearest models lack."""
    lines = [str(diagnostic.get("message", "no model fits"))]
    if tasks := diagnostic.get("tasks_here"):
        lines.append(f"tasks here: {', '.join(tasks)}")
    lines += [f"{row['name']} lacks {', '.join(row['lacks'])}" for row in diagnostic.get("nearest", [])]
    return "\n".join(lines)


def search_row(row: Json) -> dict[str, Any]:
    shown = ("name", "price", "tier", "latency_ms", "quality_ppm", "size_bytes", "memory_mb", "sponsored")
    return {name: row[name] for name in shown if name in row}


def _quote_rows(part: Json, depth: int) -> Iterator[dict[str, Any]]:
    for line in part["lines"]:
        yield {
            "line": "  " * depth + str(line["role"]),
            "party": str(line["party"]).rpartition(":")[2],
            "ratio": amounts.format_ratio(int(line["ratio_ppm"])),
            "fixed": line["fixed"],
            "amount": line["amount"],
        }
    for sub in part.get("subs", []):
        yield {"line": "  " * depth + f"> {sub['step']}", "party": "", "ratio": "", "fixed": "", "amount": sub["price"]}
        yield from _quote_rows(sub, depth + 1)


def _whole(response: httpx.Response) -> dict[str, Any]:
    response.read()
    answer = body_of(response)
    steps = {"steps": answer["tollway"]["steps"]} if "tollway" in answer else {}
    return {"answer": _said(answer), **_cost(response.headers, answer.get("usage")), **steps}


def _said(answer: Json) -> Any:
    """What a model answered: the text of a chat or a completion, or the numbers of an embedding."""
    if "choices" not in answer:
        return answer["data"][0]["embedding"]
    choice = answer["choices"][0]
    return choice["message"]["content"] if "message" in choice else choice["text"]


def _streamed(response: httpx.Response) -> dict[str, Any]:
    out = sys.stderr if output.mode.json else sys.stdout
    parts: list[str] = []
    usage: Json = None
    last: Json = {}
    for line in response.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        last = json.loads(line[6:])
        if "error" in last:
            raise Unavailable(f"the stream ended early: {last['error'].get('message', last['error'])}")
        usage = last.get("usage") or usage
        for choice in last.get("choices", []):
            parts.append(choice.get("delta", choice).get("content") or choice.get("text") or "")
            out.write(output.plain(parts[-1]))
            out.flush()
    out.write("\n")
    charge = {name: last["tollway"][name] for name in ("charge", "receipt") if name in last.get("tollway", {})}
    return {**({"answer": "".join(parts)} if output.mode.json else {}), **_cost(response.headers, usage), **charge}


def _cost(headers: Mapping[str, str], usage: Json) -> dict[str, Any]:
    cost: dict[str, Any] = {"usage": usage} if usage else {}
    for name, header in (("charge", "tollway-charge"), ("receipt", "tollway-receipt")):
        if header in headers:
            cost[name] = headers[header]
    return cost
