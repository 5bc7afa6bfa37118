"""`openai`: responses, plain, streamed, with tools, structured. `python openai_responses.py URL KEY`."""

import sys
from collections.abc import Callable

import openai
from pydantic import BaseModel

url, key = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
MODEL = "@acme/chat"
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


class Weather(BaseModel):
    city: str
    degrees: int


def plain() -> None:
    answer = client.responses.create(model=MODEL, input="think: how is it?", instructions="Be brief.")
    assert answer.output_text == "It is sunny.", answer
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert (answer.status, answer.model, answer.store, answer.instructions) == ("completed", MODEL, False, "Be brief.")
    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (40, 9, 49)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (16, 3)
    cut = client.responses.create(model=MODEL, input="how is it?", max_output_tokens=3)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


def streamed() -> None:
    events = list(client.responses.create(model=MODEL, input="think: how is it?", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    begun = ["response.created", "response.in_progress"]
    thought = ["response.reasoning_text.delta"] * 2 + ["response.reasoning_text.done"]
    said = ["response.output_text.delta"] * 3 + ["response.output_text.done"]
    assert [event.type for event in events] == [
        *begun,
        *item("response.content_part.added", *thought, "response.content_part.done"),
        *item("response.content_part.added", *said, "response.content_part.done"),
        "response.completed",
    ]
    last = events[-1].response
    assert (last.output_text, last.usage.output_tokens, last.usage.input_tokens_details.cached_tokens) == (
        "It is sunny.",
        9,
        16,
    )
    with client.responses.stream(model=MODEL, input="how is it?") as stream:
        assert stream.get_final_response().output_text == "It is sunny."


def item(*events: str) -> list[str]:
    return ["response.output_item.added", *events, "response.output_item.done"]


def tools() -> None:
    asked = [{"role": "user", "content": [{"type": "input_text", "text": "how is it in both?"}]}]
    answer = client.responses.create(model=MODEL, input=asked, tools=[TOOL], tool_choice="required")
    calls = [one for one in answer.output if one.type == "function_call"]
    assert [(one.name, one.arguments) for one in calls] == [
        ("weather", '{"city": "Oslo"}'),
        ("weather", '{"city": "Rome"}'),
    ]
    results = [{"type": "function_call_output", "call_id": one.call_id, "output": "21 degrees"} for one in calls]
    told = client.responses.create(model=MODEL, input=[*asked, *answer.output, *results], tools=[TOOL])
    assert told.output_text == "In Oslo: 21 degrees"
    events = list(client.responses.create(model=MODEL, input=asked, tools=[TOOL], stream=True))
    call = ["response.function_call_arguments.delta", "response.function_call_arguments.done"]
    assert [event.type for event in events[2:-1]] == [
        *item(*call[:1] * 3, *call[1:]),
        *item(*call[:1] * 2, *call[1:]),
    ]
    assert [one.arguments for one in events[-1].response.output] == [one.arguments for one in calls]


def structured() -> None:
    answer = client.responses.parse(model=MODEL, input="how is it?", text_format=Weather)
    assert answer.output_parsed == Weather(city="Oslo", degrees=21)


def refused() -> None:
    for more, param in (
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"background": True}, "background"),
    ):
        raised = error_of(openai.BadRequestError, client.responses.create, model=MODEL, input="hi", **more)
        assert raised.param == param, raised
    raised = error_of(openai.BadRequestError, client.responses.create, model=MODEL, input="fail")
    assert raised.code == "context_length_exceeded", raised
    stream = client.responses.create(model=MODEL, input="die", stream=True)
    raised = error_of(openai.APIError, lambda: list(stream))
    assert "closed the connection" in str(raised), raised


def error_of(kind: type[Exception], call: Callable[..., object], **asked: object) -> Exception:
    try:
        call(**asked)
    except kind as error:
        return error
    raise AssertionError(f"{asked} was served")


for test in (plain, streamed, tools, structured, refused):
    test()
print("done: plain, streamed, tools, shaped, usage, refused")
