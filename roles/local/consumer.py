"""The demo's consumer: the stock `openai` client, pointed at the gateway. openai is imported when it makes calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.core.values.errors import Unavailable
from roles.local.actors import DIALOG, EMOTION, KB, SERVICE

if TYPE_CHECKING:
    from openai import APIStatusError

QUESTIONS = (
    "My lamp arrived damaged and I am furious. What will you do?",
    "How many days do I have to return a chair?",
    "I love the table, thank you! Do I get points for a review?",
    "Where can I follow my parcel?",
    "Do you deliver to other countries, and what does it cost?",
    "I see two charges on my card for one order.",
    "How can I change the delivery address?",
    "My promo code does not work in the basket.",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One call as the consumer saw it. `charge`, in atoms, comes from a header or a stream's last piece."""

    model: str
    streamed: bool
    text: str
    charge: int
    pieces: int


class Consumer:
    """Makes calls with an API key, several at a time. Unavailable when openai is not installed."""

    def __init__(self, url: str, key: str, referral: str = "", tiers: str = "", threads: int = 4) -> None:
        headers = {"Tollway-Referral": referral} if referral else {}
        headers |= {"Tollway-Tiers": tiers} if tiers else {}
        self.openai = load_openai()
        self.client = self.openai.OpenAI(
            base_url=f"{url}/v1", api_key=key, default_headers=headers, max_retries=2, timeout=60
        )
        self.threads = threads

    def call(self, model: str, text: str, stream: bool) -> Answer:
        """Make one chat call. Unavailable, with the gateway's message, when it fails."""
        try:
            return self._stream(model, text) if stream else self._whole(model, text)
        except self.openai.OpenAIError as error:
            raise Unavailable(f"a call of {model} failed: {error}", model=model) from error

    def discover(self, task: str, meters: dict[str, int]) -> list[dict[str, Any]]:
        """The rows that the gateway shows this consumer for a task, the sponsored ones first."""
        found: Any = self.client.post("/discover", body={"task": task, "meters": meters}, cast_to=object)
        rows: list[dict[str, Any]] = found["results"]
        return rows

    def refusal(self, model: str, text: str) -> APIStatusError | None:
        """The error that answers a call; None if it is served."""
        try:
            self.client.with_options(max_retries=0).chat.completions.create(**_request(model, text))
        except self.openai.APIStatusError as error:
            refused: APIStatusError = error
            return refused
        return None

    def call_many(self, count: int, progress: Callable[[int], None]) -> list[Answer]:
        """Make `count` calls of all kinds, and report how many are done. The first failed call fails all."""
        answers: list[Answer] = []
        with ThreadPoolExecutor(self.threads) as pool:
            for answer in pool.map(lambda planned: self.call(*planned), plan(count)):
                answers.append(answer)
                progress(len(answers))
        return answers

    def _whole(self, model: str, text: str) -> Answer:
        raw = self.client.chat.completions.with_raw_response.create(**_request(model, text))
        answer = raw.parse()
        text, charge = answer.choices[0].message.content or "", int(raw.headers.get("tollway-charge", "0"))
        return Answer(model, False, text, charge, pieces=1)

    def _stream(self, model: str, text: str) -> Answer:
        parts: list[str] = []
        charge = 0
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for chunk in self.client.chat.completions.create(**_request(model, text), **options):
            parts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            charge = int((chunk.model_extra or {}).get("tollway", {}).get("charge", charge))
        return Answer(model, True, "".join(parts), charge, len(parts))


def load_openai() -> Any:
    """The stock client's module. Unavailable, with the remedy, when it is not installed."""
    try:
        import openai
    except ModuleNotFoundError as error:
        raise Unavailable("the demo needs the openai client: pip install 'tollway[local]'") from error
    return openai


def plan(count: int) -> Iterator[tuple[str, str, bool]]:
    """Model, text and whether to stream: half the calls run the workflow; every third call of a chat model streams."""
    kinds = (SERVICE, DIALOG, SERVICE, EMOTION, SERVICE, KB, DIALOG, SERVICE)
    for number in range(count):
        model = kinds[number % len(kinds)]
        stream = model in (SERVICE, DIALOG) and number % 3 == 0
        yield model, QUESTIONS[(number // 3) % len(QUESTIONS)], stream


def _request(model: str, text: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64}
