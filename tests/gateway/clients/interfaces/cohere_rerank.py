"""`cohere`, and a request as Jina's documents write it: documents by how near they are to a question."""

import sys

import cohere
import httpx

URL, KEY, MAKER = sys.argv[1:]
MODEL = f"@{MAKER}/kb"
QUERY = "how long is the warranty?"
DOCUMENTS = [
    "We have shops in three cities.",
    "Delivery takes three to five working days.",
    "Every lamp has a two-year warranty against defects.",
]

client = cohere.Client(api_key=KEY, base_url=URL)
answer = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
assert [row.index for row in answer.results] == [2, 1], answer
assert answer.results[0].document.text == DOCUMENTS[2]
assert answer.results[0].relevance_score > 0.5 > answer.results[1].relevance_score
assert answer.meta.billed_units.search_units == 1

second = cohere.ClientV2(api_key=KEY, base_url=URL)
again = second.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2)
assert [row.index for row in again.results] == [2, 1], again
try:
    second.chat(model=MODEL, messages=[{"role": "user", "content": QUERY}])
except cohere.NotFoundError as error:
    assert "/v1/chat/completions" in error.body["error"], error.body
else:
    raise AssertionError("Cohere's chat is not spoken")

said = httpx.post(
    f"{URL}/v1/rerank",
    headers={"Authorization": f"Bearer {KEY}"},
    json={"model": MODEL, "query": QUERY, "documents": [{"text": one} for one in DOCUMENTS]},
)
body = said.json()
assert said.status_code == 200, body
assert [row["index"] for row in body["results"]] == [2, 1, 0], body
assert "document" not in body["results"][0]
assert body["model"] == MODEL
assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0

try:
    client.rerank(model=f"@{MAKER}/dialog", query=QUERY, documents=DOCUMENTS)
except cohere.BadRequestError as error:
    assert error.body["error"]["code"] == "wrong_protocol", error.body
else:
    raise AssertionError("dialog ranks nothing")
print("done: plain, usage, refused")
