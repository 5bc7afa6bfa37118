"""`langchain-openai` with `use_responses_api`. `python langchain_responses.py URL KEY`."""

import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

url, key = sys.argv[1:]
model = ChatOpenAI(model="@acme/chat", base_url=url + "/v1", api_key=key, use_responses_api=True, max_retries=0)


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city} has 21 degrees"


answer = model.invoke("how is it?")
assert answer.text == "It is sunny.", answer
assert answer.usage_metadata["input_token_details"]["cache_read"] == 16, answer.usage_metadata
pieces = list(model.stream("how is it?"))
assert "".join(one.text for one in pieces) == "It is sunny."
assert sum((one.usage_metadata or {}).get("output_tokens", 0) for one in pieces) == 9
asked = HumanMessage("how is it in Oslo?")
bound = model.bind_tools([weather])
called = bound.invoke([asked])
assert [one["args"] for one in called.tool_calls] == [{"city": "Oslo"}]
results = [ToolMessage(weather.invoke(one["args"]), tool_call_id=one["id"]) for one in called.tool_calls]
assert bound.invoke([asked, called, *results]).text == "In Oslo: Oslo has 21 degrees"
shaped = model.with_structured_output(Weather, method="json_schema").invoke("how is it?")
assert shaped == Weather(city="Oslo", degrees=21)
print("done: plain, streamed, tools, shaped, usage")
