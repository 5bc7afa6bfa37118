"""`openai`: completions, plain and streamed, and embeddings as it asks for them by default."""

import sys

import openai

URL, KEY, MAKER = sys.argv[1:]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
dialog, kb = f"@{MAKER}/dialog", f"@{MAKER}/kb"

made = client.completions.create(model=dialog, prompt="How long is the warranty?", max_tokens=40)
text = made.choices[0].text
assert len(text) > 20, text
assert made.model == dialog, made.model
assert made.usage.completion_tokens > 5, made.usage

events = list(
    client.completions.create(
        model=dialog,
        prompt="How long is the warranty?",
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
)
assert "".join(one.choices[0].text for one in events if one.choices) == text
assert events[-1].usage.completion_tokens == made.usage.completion_tokens
assert {one.model for one in events} == {dialog}

asked = ["how long is the warranty?", "what does delivery cost?"]
found = client.embeddings.create(model=kb, input=asked)
floats = client.embeddings.create(model=kb, input=asked, encoding_format="float")
assert [len(row.embedding) for row in found.data] == [48, 48]
assert all(abs(sum(x * x for x in row.embedding) - 1) < 1e-4 for row in found.data)
pairs = zip(found.data[1].embedding, floats.data[1].embedding, strict=True)
assert max(abs(a - b) for a, b in pairs) < 1e-6
assert found.model == kb

for refused, param in (
    (lambda: client.embeddings.create(model=dialog, input="hello"), "model"),
    (lambda: client.completions.create(model=dialog, prompt="hello", echo=True), "echo"),
    (lambda: client.embeddings.create(model=kb, input="hello", dimensions=12), "dimensions"),
):
    try:
        refused()
    except openai.BadRequestError as error:
        assert error.param == param, error
        assert error.request_id, error
    else:
        raise AssertionError(param)
print("done: plain, streamed, usage, refused")
