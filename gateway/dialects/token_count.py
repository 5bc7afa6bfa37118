"""Anthropic's `count_tokens`: the tokens of a request that is not made. Free, for who has a key.

It stands alone because it is neither a paid call nor a body that FastAPI may read: a conversation is long.
"""

from gateway import bounds
from gateway.asgi import Message
from gateway.call.idempotency import JSON, StoredResponse
from gateway.catalog.catalog import CapsuleEntry
from gateway.catalog.realms import realm_named
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.dialects.messages import COUNT_PATH
from gateway.dialects.translation import TranslatedClient
from gateway.errors import Refusal
from gateway.metering import openai, usage
from gateway.metering.ask import CHAT, Ask, written
from ledger.core.values.errors import TollwayError


async def serve(gateway: Gateway, client: TranslatedClient) -> None:
    """Answer with the number of tokens, or say why not."""
    try:
        response = StoredResponse(200, JSON, written({"input_tokens": await _count(gateway, client)}))
    except TollwayError as error:
        response = client.refusal(await gateway.explain(error))
    await client.answer(response)


async def _count(gateway: Gateway, client: TranslatedClient) -> int:
    """By the model's tokenizer, if there is one here; else what a call of it is estimated to have before it is made."""
    now = now_ms()
    caller = await gateway.authenticator.admit(client.headers, now)
    catalog = gateway.catalog_for(caller.consumer, realm_named(client.headers, caller.key), now)
    with gateway.unpaid_bodies.place(client.sender.address):
        body = await client.read_body(bounds.UNPAID_BODY_BYTES, bounds.UNPAID_BODY_SECONDS)
        ask = openai.read(CHAT, client.dialect.read(body))
        entry = catalog.find(ask.model)
        if not caller.may_call(entry.name, ask.model):
            raise Refusal(403, "model_not_allowed", f"this key may not call {entry.name}", param="model")
        tokenizer = gateway.tokenizers.of(entry.id) if not isinstance(entry, CapsuleEntry) else None
        if tokenizer is None:
            return usage.estimate(len(ask.body))
        return await usage.count(tokenizer, _text(ask), len(ask.body))


def _text(ask: Ask) -> str:
    """All that the model is to read."""
    texts = [bytes(ask.fields[name]).decode() for name in ("tools", "response_format") if name in ask.fields]
    for message in ask.json["messages"]:
        texts.append(openai.text_in(message["content"]))
        texts += [written(call["function"]).decode() for call in message.get("tool_calls", ())]
    return "\n".join(texts)


def is_asked(scope: Message) -> bool:
    return bool(scope["method"] == "POST" and scope["path"] == COUNT_PATH)
