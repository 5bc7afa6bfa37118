"""The native route: named values in, named values out, whatever protocol the model speaks.

POST /v1/invoke {"model": "@org/name", "input": {...}}  ->  {"model", "output", "receipt", "charge", "units"}
"""

from collections.abc import Mapping

import msgspec
import orjson

from gateway import bounds
from gateway.call.idempotency import StoredResponse
from gateway.catalog.catalog import Catalog, ModelEntry
from gateway.errors import Refusal
from gateway.metering import openai
from gateway.metering.ask import CHAT, COMPLETIONS, EMBEDDINGS, INFER, PROTOCOLS, RERANK, Ask, written
from gateway.workflow import steps
from ledger.core.catalog import protocols
from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import used
from ledger.store.receipts.receipts import Signed

PATH = "/v1/invoke"
WHOLE: Mapping[str, tuple[str, tuple[type, ...]]] = {
    CHAT: ("messages", (list,)),
    COMPLETIONS: ("prompt", (str, list)),
    EMBEDDINGS: ("input", (str, list)),
    RERANK: ("documents", (list,)),
}
"""What each OpenAI route cannot do without, and its types."""


def read(catalog: Catalog, body: bytes) -> Ask:
    """Named values as a request in the model's own protocol."""
    bounds.check_whole(body)
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    name, values = (whole.get("model"), whole.get("input")) if isinstance(whole, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(values, dict):
        message = "an invocation has `model`, a name, and `input`, an object"
        raise Refusal(400, "invalid_request", message, param="input")
    unknown = sorted(whole.keys() - {"model", "input"})
    if unknown:
        raise Refusal(400, "rejected", f"unknown field {unknown[0]!r}", param=unknown[0])
    entry = catalog.find(name)
    spoken = entry.protocols if isinstance(entry, ModelEntry) else frozenset((Protocol.chat,))
    if isinstance(entry, ModelEntry) and Protocol.tensors in spoken and Protocol.chat not in spoken:
        tensors = written(steps.tensor_request(entry.model, values))
        return Ask(INFER, name, tensors, limit=0, native=True)
    if spoken and spoken <= protocols.MEDIA:
        message = f"{entry.name} speaks {protocols.listed(spoken)}, and is called at its own route alone"
        raise Refusal(400, "wrong_protocol", message, param="model")
    path = next((path for path in WHOLE if PROTOCOLS[path] in spoken), CHAT)
    wanted, kind = WHOLE[path]
    if not isinstance(values.get(wanted), kind):
        raise Refusal(400, "invalid_request", f"{entry.name} speaks {PROTOCOLS[path]}: send `{wanted}`", param="input")
    asked = openai.read(path, written({**values, "model": name, "stream": False}))
    return msgspec.structs.replace(asked, native=True)


def shown(ask: Ask, stored: StoredResponse, signed: tuple[Signed, ...]) -> StoredResponse:
    """An answer in the native shape: what the node or workflow answered is its `output`, as text if it has no values.
    It is paid, so it is shown.
    """
    root = signed[-1].receipt
    try:
        output = steps.output(ask.path, stored.body)
    except Rejected:
        output = stored.body.decode(errors="replace")
    body = {
        "model": ask.model,
        "output": output,
        "receipt": to_hex(root.call_id),
        "charge": str(sum(one.receipt.charge for one in signed)),
        "units": used(root.units),
    }
    headers = [row for row in stored.headers if row[0] != b"inference-header-content-length"]
    return StoredResponse(stored.status, headers, orjson.dumps(body))
