"""A consumer's program: the stock `openai` client, pointed at the gateway. Nothing in it knows of money."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from openai import APIStatusError, OpenAI, OpenAIError

from ledger.core.values.errors import Unavailable
from roles.local.actors import DIALOG, EMOTION, KB, SERVICE

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
class Called:
    """One call as the consumer saw it. `charge` and `receipt` are what a header or the last piece of a stream told."""

    model: str
    streamed: bool
    text: str
    tokens: int
    charge: int
    receipt: str
    pieces: int


class Shopper:
    """Makes calls, several at a time."""

    def __init__(self, url: str, key: str, referral: str = "", threads: int = 4) -> None:
        headers = {"Tollway-Referral": referral} if referral else {}
        self.client = OpenAI(base_url=f"{url}/v1", api_key=key, default_headers=headers, max_retries=2, timeout=60)
        self.threads = threads

    def call(self, model: str, text: str, stream: bool) -> Called:
        """One chat call. Unavailable, with what the gateway said, when it is not served."""
        try:
            return self._stream(model, text) if stream else self._whole(model, text)
        except OpenAIError as error:
            raise Unavailable(f"a call of {model} was not served: {error}", model=model) from error

    def refused(self, model: str, text: str) -> APIStatusError | None:
        """The error a call is answered with; None if it is served."""
        try:
            self.client.with_options(max_retries=0).chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=64
            )
        except APIStatusError as error:
            return error
        return None

    def mixed(self, count: int, told: Callable[[int], None]) -> list[Called]:
        """`count` calls of all kinds, `told` how many are done. A failed call fails the whole."""
        done: list[Called] = []
        with ThreadPoolExecutor(self.threads) as pool:
            for called in pool.map(lambda planned: self.call(*planned), plan(count)):
                done.append(called)
                told(len(done))
        return done

    def _whole(self, model: str, text: str) -> Called:
        raw = self.client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": text}], max_tokens=64
        )
        said = raw.parse()
        used = said.usage.completion_tokens if said.usage else 0
        return Called(
            model,
            False,
            said.choices[0].message.content or "",
            used,
            int(raw.headers.get("tollway-charge", "0")),
            raw.headers.get("tollway-receipt", ""),
            1,
        )

    def _stream(self, model: str, text: str) -> Called:
        parts: list[str] = []
        used, told = 0, {"charge": "0", "receipt": ""}
        stream = self.client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": text}],
            max_tokens=64,
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            parts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            used = chunk.usage.completion_tokens if chunk.usage else used
            told = (chunk.model_extra or {}).get("tollway", told)
        return Called(model, True, "".join(parts), used, int(told["charge"]), told["receipt"], len(parts))


def plan(count: int) -> Iterator[tuple[str, str, bool]]:
    """What is called: half of it the workflow, the rest single models; every third call of a talker streams."""
    kinds = (SERVICE, DIALOG, SERVICE, EMOTION, SERVICE, KB, DIALOG, SERVICE)
    for number in range(count):
        model = kinds[number % len(kinds)]
        talks = model in (SERVICE, DIALOG)
        yield model, QUESTIONS[(number // 3) % len(QUESTIONS)], talks and number % 3 == 0
