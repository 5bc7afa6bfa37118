"""`litellm`: responses and Anthropic's messages, by its SDK. `python litellm_responses.py URL KEY`."""

import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch prices of models

import litellm

url, key = sys.argv[1:]
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
where = {"model": "openai/@acme/chat", "api_base": url + "/v1", "api_key": key}

answer = litellm.responses(input="how is it?", **where)
assert answer.output[-1].content[0].text == "It is sunny.", answer
assert (answer.usage.input_tokens, answer.usage.output_tokens) == (40, 9)
events = list(litellm.responses(input="how is it?", stream=True, **where))
assert events[-1].type == "response.completed", events[-1]
assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == "It is sunny."
called = litellm.responses(input="how is it in Oslo?", tools=[TOOL], **where)
assert [(one.name, one.arguments) for one in called.output] == [("weather", '{"city": "Oslo"}')]
message = litellm.completion(
    model="anthropic/@acme/chat",
    api_base=url,
    api_key=key,
    max_tokens=50,
    messages=[{"role": "user", "content": "how is it?"}],
)
assert message.choices[0].message.content == "It is sunny."
print("done: plain, streamed, tools, usage")
