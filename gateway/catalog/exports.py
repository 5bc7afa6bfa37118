"""Exports: a published model or workflow in the formats that others read, a function each.

    openrouter          what OpenRouter's clients read in a list of models
    agent_card          A2A's card of an agent
    gateway_card        A2A's card of a gateway with all of its models
    tool                an MCP tool
    registration        the file that an agent's ERC-8004 identity points at
    inference_service   KServe's InferenceService

An export names routes that a gateway has, and no others. Of models that take neither messages nor tensors there
is none. Prices are atoms, or where a format has decimal prices, the settlement token's. What an owner wrote stands
behind what we know, on one line, without control characters.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.api.schemas.bodies import Format
from ledger.core.catalog import protocols
from ledger.core.catalog.protocols import Protocol
from ledger.core.values.atoms import Atoms, Currency
from ledger.core.values.documents import Document, Json
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import Meter, distinct

CHAT, TENSORS = Protocol.chat, Protocol.tensors
MAX_WORDS = 2_000
"""Characters of an owner's own description, as many as a model's document may have."""


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway's URL; the settlement token as a CAIP-19 asset, "" on a private grid, where x402 is not taken; and the
    realm in which it is called, if in any.
    """

    url: str
    asset: str = ""
    realm: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A model or workflow as a gateway has it.

    `prices` are atoms for a meter's scale, each by itself. None: only a quote can say, or nobody serves it.
    """

    id: Digest
    name: str
    owner: str
    """The DID of its owner in this epoch."""
    document: Document
    protocols: frozenset[str]
    context_tokens: int | None
    ready: bool
    prices: Mapping[Meter, Atoms] | None
    currency: Currency

    @property
    def is_workflow(self) -> bool:
        return "steps" in self.document

    @property
    def talks(self) -> bool:
        """Whether it is called with messages, and not with named tensors."""
        return CHAT in self.protocols


_PRICED = {
    "prompt": Meter.input_token,
    "completion": Meter.output_token,
    "request": Meter.call,
    "image": Meter.input_image,
    "image_output": Meter.output_image,
    "audio": Meter.input_audio_token,
    "audio_output": Meter.output_audio_token,
    "web_search": Meter.search,
    "internal_reasoning": Meter.reasoning_token,
    "input_cache_read": Meter.cached_input_token,
    "input_cache_write": Meter.cache_write_token,
}
UNKNOWN_PRICE = "-1"
"""What OpenRouter itself says where the price is known after the call only."""
_PARAMETERS = {"tools": ("tools", "tool_choice"), "json": ("response_format",), "reasoning": ("reasoning",)}
_PARAMETERS |= {"logprobs": ("logprobs", "top_logprobs")}


def openrouter(one: Listing) -> Json:
    """The fields that OpenRouter's clients read, beside those of OpenAI's list."""
    reads, writes = _modes(one)
    inputs, outputs = sorted({*map(_modality, reads)}), sorted({*map(_modality, writes)})
    features = {feature for row in _capabilities(one) for feature in row.get("features", [])}
    parameters = ["max_tokens", *(name for known in _PARAMETERS if known in features for name in _PARAMETERS[known])]
    return {
        "canonical_slug": cid(one.id),
        "name": one.name,
        "description": described(one),
        "context_length": one.context_tokens,
        "architecture": {
            "input_modalities": inputs,
            "output_modalities": outputs,
            "modality": f"{'+'.join(inputs)}->{'+'.join(outputs)}",
        },
        "top_provider": {"context_length": one.context_tokens, "max_completion_tokens": None, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": parameters if one.talks and not one.is_workflow else [],
        "default_parameters": None,
        "supported_voices": None,
        "links": {"details": f"/v1/models/{one.name}"},
        "currency": one.currency.symbol,
    }


def openrouter_pricing(prices: Mapping[Meter, Atoms] | None, currency: Currency) -> dict[str, str]:
    """The settlement token's decimal price of one unit, by OpenRouter's names, where OpenRouter has US dollars.

    A price in a meter that OpenRouter has no name for is not said as if it were free.
    """
    known = prices or {}
    unsayable = any(price for meter, price in known.items() if meter not in _PRICED.values())
    said = {name: _decimal(known[meter], meter, currency) for name, meter in _PRICED.items() if known.get(meter)}
    nothing = UNKNOWN_PRICE if unsayable or prices is None else "0"
    return {"prompt": nothing, "completion": nothing} | said


def _decimal(price: Atoms, meter: Meter, currency: Currency) -> str:
    """The price of one unit in the settlement token, exactly."""
    return format((Decimal(price) / meter.scale).scaleb(-currency.decimals).normalize(), "f")


def _modality(mode: str) -> str:
    kind = mode.partition("/")[0]
    return "text" if kind in ("text", "application") else kind if kind in ("image", "audio", "video") else "file"


BINDING = "urn:tollway:protocol:"
"""Before a protocol's name, what an A2A client reads as a binding: one that it does not know, so it does not try."""
CALL = "urn:tollway:call/1"
X402_EXTENSION = "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2"
"""By which A2A's messages carry x402."""
CARD_SKILLS = 100
"""Models, and workflows, on the card of a gateway: everybody can publish more."""


def agent_card(one: Listing, place: Place) -> Json:
    """An A2A 1.0 agent card of one model or workflow.

    Its first interface is A2A's; the others are the gateway's routes for it, under bindings of our own. An extension
    says what a call costs.
    """
    reads, writes = _modes(one)
    interfaces = [
        {"url": url, "protocolBinding": BINDING + protocol, "protocolVersion": protocol.partition("/")[2]}
        for protocol, url in _routes(one, place).items()
    ]
    priced = {"uri": CALL, "description": "What a call costs, and how it is made without A2A.", "required": False}
    return {
        "name": one.name,
        "description": described(one),
        "version": _words(one.document["version"]) or "0",
        "supportedInterfaces": [_a2a(f"{place.url}/a2a/{one.name}"), *interfaces],
        **_called(place, [{**priced, "params": _facts(one, place)}], streaming=one.talks),
        "defaultInputModes": reads,
        "defaultOutputModes": writes,
        "skills": _skills(one),
    }


def gateway_card(models: Sequence[Listing], place: Place) -> Json:
    """The A2A card of a gateway: each model and workflow is a skill, whose id a message names in its metadata."""
    remedy = 'name a skill\'s id in the message\'s metadata, {"model": "@org/name"}'
    return {
        "name": "Tollway",
        "description": f"Models and workflows that are paid by the call: {remedy}. {place.url}/v1/models lists all of "
        "them, and each has a card of its own at /v1/models/{name}/exports/a2a.",
        "version": "1",
        "supportedInterfaces": [_a2a(f"{place.url}/a2a")],
        **_called(place, [], streaming=True),
        "defaultInputModes": ["text/plain", "application/json"],
        "defaultOutputModes": ["text/plain", "application/json"],
        "skills": [_skill_of(one) for one in models],
    }


def _a2a(url: str) -> Json:
    return {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}


def _called(place: Place, extensions: list[Json], *, streaming: bool) -> Json:
    """How agents are called here, and paid."""
    paid = {"uri": X402_EXTENSION, "description": "Pay for each call, without an account.", "required": False}
    return {
        "capabilities": {
            "streaming": streaming,
            "pushNotifications": False,
            "extensions": [*extensions, *([paid] if place.asset else [])],
        },
        "securitySchemes": {
            "key": {"httpAuthSecurityScheme": {"scheme": "Bearer", "description": "An API key of this gateway."}}
        },
        "securityRequirements": [{"schemes": {"key": {"list": []}}}],
    }


def _skill_of(one: Listing) -> Json:
    """A model or workflow as one skill."""
    reads, writes = _modes(one)
    tasks = sorted({_words(row["task"]) for row in _capabilities(one)} - {""})
    shown = {"id": one.name, "name": one.name, "description": described(one), "tags": tasks or ["workflow"]}
    return shown | {"inputModes": reads if one.talks else ["application/json"], "outputModes": writes}


EXAMPLE_VALUES = 1_000
"""Numbers of an example: who calls models of larger tensors brings an image."""


def examples(one: Listing) -> dict[str, Json]:
    """Bodies by the routes that they call it at, as they stand. There is none for tensors of too many numbers."""
    named = {"model": one.name}
    bodies: dict[Protocol, tuple[str, Json]] = {
        Protocol.chat: ("/v1/chat/completions", {**named, "messages": [{"role": "user", "content": "Hello"}]}),
        Protocol.completions: ("/v1/completions", {**named, "prompt": "Hello"}),
        Protocol.embeddings: ("/v1/embeddings", {**named, "input": "Hello"}),
        Protocol.images: ("/v1/images/generations", {**named, "prompt": "A lighthouse"}),
        Protocol.speech: ("/v1/audio/speech", {**named, "input": "Hello", "voice": "alloy"}),
    }
    found = dict(bodies[protocol] for protocol in bodies if protocol in one.protocols)
    tensors = _tensor_example(one) if TENSORS in one.protocols and not one.is_workflow else None
    return found | ({f"/v2/models/{one.name}/infer": tensors} if tensors is not None else {})


def _tensor_example(one: Listing) -> Json | None:
    inputs = []
    for row in _tensors(one)["inputs"]:
        shape = [max(1, size) for size in row["shape"]]
        if math.prod(shape) > EXAMPLE_VALUES:
            return None
        value: Json = {"BYTES": "Hello", "BOOL": True}.get(row["datatype"], 0)
        named = {"name": row["name"], "datatype": row["datatype"]}
        inputs.append({**named, "shape": shape, "data": [value] * math.prod(shape)})
    return {"inputs": inputs}


def _skills(one: Listing) -> list[Json]:
    """A skill for each capability; a workflow is one skill. A2A wants every field to have something in it."""
    rows = _capabilities(one) or [{"task": "workflow", "skill": one.name}]
    skills = []
    for place, row in enumerate(rows):
        task, name = _words(row["task"]) or "task", _words(row["skill"]) or f"skill {place + 1}"
        words = [task, *map(_words, row.get("languages", [])), *row.get("features", [])]
        skill = {
            "id": f"{place + 1}-{name}",
            "name": name,
            "description": _words(row.get("description", "")) or task,
            "tags": [word for word in words if word],
        }
        modes = {"inputModes": row.get("input_modes"), "outputModes": row.get("output_modes")}
        skills.append(skill | {key: [*map(_words, said)] for key, said in modes.items() if said})
    return skills


_MESSAGES: Json = {
    "type": "array",
    "minItems": 1,
    "description": "The conversation, in OpenAI's format.",
    "items": {
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
            "content": {"description": "A text, or a list of parts."},
        },
        "required": ["role", "content"],
    },
}
_JSON_TYPES = {"BOOL": "boolean", "BYTES": "string", "FP16": "number", "FP32": "number", "FP64": "number"}
"""Of the other datatypes, which are whole numbers: integer."""


def tool(one: Listing, place: Place) -> Json:
    """An MCP tool. Its arguments are the `input` of the route that `_meta` names, whose answer is its output."""
    _routes(one, place)
    most = {"type": "integer", "minimum": 1, "description": "The most tokens of the answer."}
    takes = _object({"messages": _MESSAGES}, {"max_tokens": most}) if one.talks else _object(_tensor_inputs(one))
    gives = _object({"content": {"type": "string"}} if one.talks else _tensor_outputs(one))
    return {
        "name": _tool_name(one.name),
        "title": one.name,
        "description": described(one),
        "inputSchema": takes,
        "outputSchema": _object(
            {
                "model": {"type": "string"},
                "output": gives,
                "receipt": {"type": "string", "description": "The call's id: GET /v1/receipts/{id} shows its receipt."},
                "charge": {"type": "string", "pattern": "^[0-9]+$", "description": "What it cost, in atoms."},
                "units": {"type": "object", "additionalProperties": {"type": "integer"}},
            }
        ),
        "annotations": {
            "readOnlyHint": False,
            "destructiveHint": False,
            "idempotentHint": False,
            "openWorldHint": True,
        },
        "_meta": {
            "tollway/call": {
                "method": "POST",
                "url": f"{place.url}/v1/invoke",
                "body": {"model": one.name, "input": "the tool's arguments"},
            },
            "tollway/price": _facts(one, place),
        },
    }


def _tool_name(name: str) -> str:
    """A name that an MCP tool may have. Two models never share one: capitals and `_` are in no organisation's name."""
    return name.removeprefix("@").replace("/", "_").replace("@", "_V")


def _object(required: Json, optional: Json | None = None) -> Json:
    """A schema of an object that may have any other properties besides."""
    return {"type": "object", "properties": required | (optional or {}), "required": [*required]}


def _tensor_inputs(one: Listing) -> Json:
    return {row["name"]: _tensor(row) for row in _tensors(one)["inputs"]}


def _tensor_outputs(one: Listing) -> Json:
    """By name: the element of a tensor that has one, a flat list of others."""
    return {row["name"]: {"description": f"{row['datatype']} {row['shape']}"} for row in _tensors(one)["outputs"]}


def _tensor(row: Json) -> Json:
    """What `invoke` takes for a tensor: its elements, nested or flat, or the element alone if it may be one."""
    element = {"type": _JSON_TYPES.get(row["datatype"], "integer")}
    several = {"type": "array", "description": f"{row['datatype']} {row['shape']}: its elements, row by row."}
    return {"anyOf": [element, several]} if all(size in (1, -1) for size in row["shape"]) else several


def _tensors(one: Listing) -> Json:
    return next(row for row in one.document["interfaces"] if row["protocol"] == TENSORS)


REGISTRATION = "https://eips.ethereum.org/EIPS/eip-8004#registration-v1"
_SERVICES: Mapping[str, str] = {CHAT: "OpenAI", TENSORS: "OpenInference"}


def registration(one: Listing, place: Place) -> Json:
    """The registration file of an ERC-8004 identity. Its owner registers it, and adds the number that it was given.

    `supportedTrust` is empty: for reputation, re-execution or enclaves as that standard means them there is nothing.
    """
    return {
        "type": REGISTRATION,
        "name": one.name,
        "description": described(one),
        "image": _image(one.id),
        "services": [
            *(
                {"name": _SERVICES[protocol], "endpoint": url, "version": protocol.partition("/")[2]}
                for protocol, url in _routes(one, place).items()
            ),
            {
                "name": "Tollway",
                "endpoint": f"{place.url}/v1/documents/{cid(one.id)}",
                "version": str(one.document["schema"]),
            },
        ],
        "x402Support": bool(place.asset),
        "active": one.ready,
        "registrations": [],
        "supportedTrust": [],
    }


def _image(id: Digest) -> str:
    """A square in a colour of its own: there is no picture of a model, and viewers of tokens want one."""
    return (
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1 1'%3E"
        f"%3Crect width='1' height='1' fill='%23{id.hex()[:6]}'/%3E%3C/svg%3E"
    )


IMAGE, PORT = "tollway-node", 8080
SECRET, SECRET_KEY = "tollway-key", "api-key"


def inference_service(one: Listing, place: Place) -> Json:
    """A KServe InferenceService that forwards what the cluster asks of it to the gateway, and pays with an API key.

    It runs no weights: they would be used without anybody being paid. So there is one for a workflow, too. In a realm
    the key must be one that carries it.
    """
    routes = _routes(one, place)
    name = re.sub("[^a-z0-9]+", "-", one.name).strip("-")
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": f"m-{name[:30].strip('-')}-{cid(one.id)[-8:]}",
            "annotations": {
                "tollway/model": one.name,
                "tollway/id": cid(one.id),
                "tollway/protocols": " ".join(routes),
                "tollway/price": _price(one),
                **({"tollway/realm": place.realm} if place.realm else {}),
            },
        },
        "spec": {
            "predictor": {
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": IMAGE,
                        "command": ["python", "-m", "roles.node"],
                        "args": [
                            "--upstream",
                            f"{one.name}={place.url}/v1#{one.name}",
                            "--host",
                            "0.0.0.0",
                            "--port",
                            str(PORT),
                        ],
                        "env": [
                            {
                                "name": "TOLLWAY_UPSTREAM_KEY",
                                "valueFrom": {"secretKeyRef": {"name": SECRET, "key": SECRET_KEY}},
                            },
                            {"name": "PROTOCOL", "value": "v2" if TENSORS in routes else "v1"},
                        ],
                        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
                        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": PORT}},
                    }
                ]
            }
        },
    }


_EXPORTS: Mapping[Format, Callable[[Listing, Place], Json]] = {
    Format.a2a: agent_card,
    Format.erc8004: registration,
    Format.kserve: inference_service,
    Format.mcp: tool,
}


def export(one: Listing, place: Place, format: Format) -> Json:
    """A model or workflow in a format. Rejected when the gateway has no route for it."""
    return _EXPORTS[format](one, place)


def _routes(one: Listing, place: Place) -> dict[str, str]:
    """The URLs that it is called at, by protocol. Rejected when the gateway has none for it."""
    routes = {CHAT: "/v1/chat/completions", TENSORS: f"/v2/models/{one.name}/infer"}
    found = {str(protocol): place.url + path for protocol, path in routes.items() if protocol in one.protocols}
    if not found:
        spoken = protocols.listed(one.protocols)
        raise Rejected(f"{one.name} speaks {spoken}, and exports are of what takes messages or tensors")
    return found


def has_route(one: Listing) -> bool:
    """Whether the gateway has a route for it."""
    return not one.protocols.isdisjoint((CHAT, TENSORS))


def _facts(one: Listing, place: Place) -> Json:
    """Whose it is, and what a call costs: for each meter the atoms for so many units, where that can be said. A finer
    meter that is not there costs what the coarser one does.
    """
    known = distinct(one.prices or {})
    prices = {meter.name: {"atoms": str(price), "units": str(meter.scale)} for meter, price in known.items()}
    return {
        "model": one.name,
        "id": cid(one.id),
        "owner": one.owner,
        "currency": one.currency.symbol,
        "atoms_of_one": str(one.currency.one),
        **({"asset": place.asset} if place.asset else {}),
        **({"price": prices} if one.prices is not None else {}),
        "quote": f"{place.url}/v1/quote",
        **({"headers": {"Tollway-Realm": place.realm}} if place.realm else {}),
    }


def _price(one: Listing) -> str:
    """The price in words."""
    if not one.ready:
        return "It cannot be called now."
    if one.prices is None:
        return f"POST /v1/quote says the price, in {one.currency.symbol}."
    said = [f"{price:,} atoms for {meter.scale:,} {_plural(meter)}" for meter, price in distinct(one.prices).items()]
    return f"Price: {'; '.join(said) or 'nothing'}. {one.currency.one:,} atoms are 1 {one.currency.symbol}."


def _plural(meter: Meter) -> str:
    return meter.name.replace("_", " ") + "s" * (meter.scale > 1 and meter not in (Meter.ms, Meter.fuel))


def described(one: Listing) -> str:
    """What we know of it, and then its owner's own words."""
    tasks = sorted({_words(row["task"]) for row in _capabilities(one)})
    what = f"A workflow of {len(one.document['steps'])} steps" if one.is_workflow else f"A model for {', '.join(tasks)}"
    words = _words(one.document.get("description", "")).replace('"', "'")
    return f"{what}, called through Tollway. {_price(one)}" + (f' Its owner says: "{words}"' if words else "")


def _words(text: str) -> str:
    """An owner's text on one line, without control and invisible characters, no longer than a description may be."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:MAX_WORDS]


def _capabilities(one: Listing) -> list[Json]:
    found: list[Json] = one.document.get("capabilities", [])
    return found


def _modes(one: Listing) -> tuple[list[str], list[str]]:
    """The media types that it reads and writes, as it declares them; text, where it declares none."""
    sides = (
        sorted({_words(mode) for row in _capabilities(one) for mode in row[side]} - {""})
        for side in ("input_modes", "output_modes")
    )
    reads, writes = (modes or ["text/plain"] for modes in sides)
    return reads, writes
