"""`openai-agents` at its defaults: an agent with a tool, run and streamed. `python openai_agents.py URL KEY`."""

import asyncio
import sys

import openai
from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from pydantic import BaseModel

url, key = sys.argv[1:]
set_default_openai_client(openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0))
set_tracing_disabled(True)  # it would send traces to OpenAI
MODEL = "openai/@acme/chat"  # the part before the first slash names the client's provider


class Weather(BaseModel):
    city: str
    degrees: int


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city} has 21 degrees"


async def run() -> None:
    agent = Agent(name="Guide", instructions="Use the tool.", model=MODEL, tools=[weather])
    ended = await Runner.run(agent, "How is it in Oslo?")
    assert ended.final_output == "In Oslo: Oslo has 21 degrees", ended.final_output
    usage = ended.context_wrapper.usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == (2, 80, 18)
    streamed = Runner.run_streamed(agent, "How is it in Oslo?")
    kinds = [event.data.type async for event in streamed.stream_events() if event.type == "raw_response_event"]
    assert streamed.final_output == "In Oslo: Oslo has 21 degrees"
    assert kinds.count("response.completed") == 2
    shaped = Agent(name="Guide", model=MODEL, output_type=Weather)
    assert (await Runner.run(shaped, "How is it?")).final_output == Weather(city="Oslo", degrees=21)


asyncio.run(run())
print("done: plain, streamed, tools, shaped, usage")
