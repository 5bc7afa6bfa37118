"""`anthropic`: messages, plain, streamed, with tools, counted. `python anthropic_messages.py URL KEY`."""

import sys
from collections.abc import Callable

import anthropic
from pydantic import BaseModel

url, key = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
MODEL = "@acme/chat"
TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HOSTED = {"type": "web_search_20250305", "name": "web_search"}
SYSTEM = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]


class Weather(BaseModel):
    city: str
    degrees: int


def turn(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def ask(text: str, **more: object) -> anthropic.types.Message:
    return client.messages.create(model=MODEL, max_tokens=50, messages=turn(text), **more)


def plain() -> None:
    answer = ask("think: how is it?", system=SYSTEM, stop_sequences=["END"])
    assert [(block.type, getattr(block, "text", "")) for block in answer.content] == [
        ("thinking", ""),
        ("text", "It is sunny."),
    ]
    assert (answer.role, answer.model, answer.stop_reason) == ("assistant", MODEL, "end_turn")
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (24, 16, 9)
    bearer = anthropic.Anthropic(base_url=url, auth_token=key, max_retries=0)
    cut = bearer.messages.create(model=MODEL, max_tokens=3, messages=turn("how is it?"))
    assert cut.stop_reason == "max_tokens"


def streamed() -> None:
    asked = turn("think: how is it?")
    events = list(client.messages.create(model=MODEL, max_tokens=50, messages=asked, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        *block(2),
        *block(3),
        "message_delta",
        "message_stop",
    ]
    with client.messages.stream(model=MODEL, max_tokens=50, messages=asked) as stream:
        assert "".join(stream.text_stream) == "It is sunny."
        whole = stream.get_final_message()
    assert (whole.stop_reason, whole.usage.input_tokens, whole.usage.output_tokens) == ("end_turn", 24, 9)
    assert whole.content[0].thinking == "They ask for weather."


def block(pieces: int) -> list[str]:
    return ["content_block_start", *["content_block_delta"] * pieces, "content_block_stop"]


def tools() -> None:
    asked = turn("how is it in both?")
    answer = client.messages.create(
        model=MODEL, max_tokens=50, messages=asked, tools=[TOOL], tool_choice={"type": "any"}
    )
    uses = [one for one in answer.content if one.type == "tool_use"]
    assert (answer.stop_reason, [one.input for one in uses]) == ("tool_use", [{"city": "Oslo"}, {"city": "Rome"}])
    results = [{"type": "tool_result", "tool_use_id": one.id, "content": "21 degrees"} for one in uses]
    turns = [*asked, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    told = client.messages.create(model=MODEL, max_tokens=50, messages=turns, tools=[TOOL])
    assert told.content[0].text == "In Oslo: 21 degrees"
    with client.messages.stream(model=MODEL, max_tokens=50, messages=asked, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_message()
    assert [one.input for one in whole.content] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert kinds.count("content_block_stop") == 2


def structured() -> None:
    shaped = client.messages.parse(model=MODEL, max_tokens=50, messages=turn("how is it?"), output_format=Weather)
    assert shaped.parsed_output == Weather(city="Oslo", degrees=21)
    beta = client.beta.messages.create(model=MODEL, max_tokens=50, messages=turn("how is it?"))
    assert beta.content[0].text == "It is sunny."


def counted() -> None:
    asked = turn("how is it? " * 40)
    few = client.messages.count_tokens(model=MODEL, messages=turn("hi")).input_tokens
    many = client.messages.count_tokens(model=MODEL, messages=asked, system="Be brief.", tools=[TOOL]).input_tokens
    assert 0 < few < 50 < many < 400, (few, many)


def refused() -> None:
    stranger = anthropic.Anthropic(base_url=url, api_key="tw_no", max_retries=0)
    for kind, error, asking, more in (
        ("authentication_error", anthropic.AuthenticationError, stranger, {}),
        ("not_found_error", anthropic.NotFoundError, client, {"model": "@acme/none"}),
        ("invalid_request_error", anthropic.BadRequestError, client, {"tool_choice": {"type": "strange"}}),
        ("invalid_request_error", anthropic.BadRequestError, client, {"tools": [HOSTED]}),
    ):
        asked = {"model": MODEL, "max_tokens": 9, "messages": turn("hi"), **more}
        raised = error_of(error, asking.messages.create, **asked)
        assert (raised.body["type"], raised.body["error"]["type"]) == ("error", kind), raised.body
    raised = error_of(anthropic.BadRequestError, ask, text="fail")
    assert "too long for me" in raised.body["error"]["message"]
    with client.messages.stream(model=MODEL, max_tokens=9, messages=turn("die")) as stream:
        raised = error_of(anthropic.APIError, stream.get_final_message)
    assert "closed the connection" in str(raised), raised


def error_of(kind: type[Exception], call: Callable[..., object], **asked: object) -> Exception:
    try:
        call(**asked)
    except kind as error:
        return error
    raise AssertionError(f"{asked} was served")


for test in (plain, streamed, tools, structured, counted, refused):
    test()
print("done: plain, streamed, tools, shaped, usage, refused")
