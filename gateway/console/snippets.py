"""Code that calls a model or workflow: in Python, in JavaScript, and for a shell. It runs as it stands, with an API key
in TOLLWAY_KEY. What an owner wrote in it is a literal of its language.
"""

import json
import shlex
from typing import NamedTuple

from gateway.catalog import exports
from gateway.catalog.exports import Listing
from gateway.console import rendering
from ledger.core.values.documents import Json

PYTHON_CHAT = """\
import os
from openai import OpenAI

client = OpenAI(base_url={base!r}, api_key=os.environ["TOLLWAY_KEY"])
answer = client.chat.completions.create(
    model={model!r},
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)
"""
PYTHON = """\
import os
import httpx

answer = httpx.post(
    {url!r},
    headers={{"Authorization": "Bearer " + os.environ["TOLLWAY_KEY"]}},
    json={body!r},
    timeout=60,
)
print(answer.json())
"""
JAVASCRIPT = """\
const answer = await fetch({url}, {{
  method: "POST",
  headers: {{
    "Authorization": "Bearer " + process.env.TOLLWAY_KEY,
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({body}),
}});
console.log(JSON.stringify(await answer.json(), null, 2));
"""
SHELL = """\
curl {url} \\
  -H "Authorization: Bearer $TOLLWAY_KEY" \\
  -H 'Content-Type: application/json' \\
  -d {body}
"""


class Snippet(NamedTuple):
    """A program in a language."""

    language: str
    code: str


def snippets(one: Listing, base: str) -> list[Snippet]:
    """Programs that call it at the gateway whose URL is `base`; none if no example of a body is known."""
    example = next(iter(exports.examples(one).items()), None)
    if example is None:
        return []
    path, body = example
    return [
        Snippet("Python", _python(path, body, base)),
        Snippet("JavaScript", JAVASCRIPT.format(url=_literal(_url(base, path)), body=_literal(body))),
        Snippet("curl", SHELL.format(url=shlex.quote(_url(base, path)), body=shlex.quote(json.dumps(body)))),
    ]


def _python(path: str, body: Json, base: str) -> str:
    if path == "/v1/chat/completions":
        return PYTHON_CHAT.format(base=f"{base}/v1", model=body["model"])
    return PYTHON.format(url=_url(base, path), body=body)


def _url(base: str, path: str) -> str:
    return base + rendering.path(path)


def _literal(value: Json) -> str:
    """A value as JavaScript: JSON is that, once what ends a line there and not here is escaped."""
    return json.dumps(value)
