"""The model that the battery calls: a request's own text says what the node does when it is asked, time after time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from tests.gateway.nodes import Asked, Wire, chat, final_usage, piece

PROMPT_TOKENS, ANSWER_TOKENS = 10, 2
ANSWERS = "answers"
FAILURES = ("says 500", "drops the connection", "says nonsense")
"""What a node does instead of an answer. None of them says that the node cannot be reached, so it stays in use."""
CUT = "cuts its stream"


@dataclass(frozen=True)
class Script:
    """What becomes of an outcome's request at the node: what it does each time, and then answers.

    `pause` is in seconds, before an answer and between the `events` of a stream. `size` is an answer's length in bytes.
    """

    outcome: int
    steps: tuple[str, ...] = ()
    pause: float = 0.0
    events: int = 4
    size: int = 0

    def text(self) -> str:
        """As the content of a message."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: object) -> Script | None:
        """The script in a message; None in anybody else's, such as a gateway's probe."""
        try:
            words = json.loads(str(text))
            return cls(**{**words, "steps": tuple(words["steps"])})
        except (ValueError, TypeError, KeyError):
            return None


@dataclass
class Upstream:
    """The node's behaviour, and how often it was asked for each outcome."""

    asked: Counter[int] = field(default_factory=Counter)
    served: Counter[int] = field(default_factory=Counter)
    on_asked: Callable[[int], None] = lambda outcome: None

    async def __call__(self, asked: Asked, wire: Wire) -> None:
        """Do what the request's script says."""
        body = asked.json
        script = Script.read(body["messages"][0]["content"]) or Script(-1)
        time = self.asked[script.outcome]
        self.asked[script.outcome] += 1
        self.on_asked(script.outcome)
        step = script.steps[time] if time < len(script.steps) else ANSWERS
        if body.get("stream") and step in (ANSWERS, CUT):
            await self._stream(script, body, wire, cut=step == CUT)
            return
        await asyncio.sleep(script.pause)
        match step:
            case "says 500":
                await wire.answer({"error": "it is tired"}, 500)
            case "says nonsense":
                await wire.answer(b"what?")
            case "drops the connection" | "cuts its stream":
                wire.die()
            case _:
                self.served[script.outcome] += 1
                await wire.answer(chat("x" * script.size or "hello there", PROMPT_TOKENS, ANSWER_TOKENS))

    async def _stream(self, script: Script, body: dict[str, object], wire: Wire, *, cut: bool) -> None:
        await wire.begin()
        for number in range(script.events):
            if cut and number == script.events // 2:
                wire.die()
                return
            await wire.event(piece(f"t{number} "))
            await asyncio.sleep(script.pause)
        self.served[script.outcome] += 1
        await wire.event(piece(None, "stop"))
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            await wire.event(final_usage(PROMPT_TOKENS, script.events))
        await wire.event("[DONE]")
        await wire.end()
