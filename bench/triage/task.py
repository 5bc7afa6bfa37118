"""The task: which of twelve things does a message to a telecom's desk ask for?

Messages are generated: an opening, a sentence that says the issue in one of many wordings, often a clause about
something else that is fine, a closing, and typing errors. Nobody's data shows everything: a maker knows some wordings
and not others, which is why several small models can know more together than one of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MODELS = Path(__file__).parent / "models"

DOMAINS: dict[str, dict[str, list[str]]] = {
    "billing": {
        "refund": ["money back", "a refund", "be repaid", "my payment returned", "the amount reimbursed"],
        "overcharge": ["charged twice", "billed too much", "a double debit", "an amount that is wrong", "overbilled"],
        "invoice": ["a copy of the invoice", "last month's bill as pdf", "my statement resent", "the receipt by mail"],
        "method": ["pay by another card", "switch to direct debit", "update my bank details", "use a new iban"],
    },
    "network": {
        "outage": [
            "no connection at all",
            "everything is offline",
            "a total blackout",
            "the line is dead",
            "no signal",
        ],
        "slow": ["pages crawl", "the speed is awful", "downloads take hours", "bandwidth far below plan", "it lags"],
        "roaming": ["data abroad", "use it on my trip", "a package for spain", "calls from another country"],
        "coverage": ["reception in the cellar", "bars at the farm", "weak in our village", "an antenna near us"],
    },
    "device": {
        "sim": ["a new sim card", "my chip is blocked", "esim will not activate", "the puk code", "swap the sim"],
        "router": ["the box blinks red", "wifi password of the router", "restart the modem", "set up the hub"],
        "repair": ["the screen is cracked", "battery swollen", "send it in for repair", "the phone will not boot"],
        "upgrade": ["a newer handset", "trade in my phone", "the latest model", "renew my mobile", "a better device"],
    },
}
OPENINGS = ["hello", "hi there", "good morning", "dear team", "so", "listen", "urgent", "quick question", ""]
ASKS = ["i would like {}", "it is about {}", "my case is {}", "please help, {}", "we talked of {}", "again {}", "{}"]
ASIDES = ["by the way {} is fine now", "forget {}", "not about {}", "{} was solved last week", "unlike {} this matters"]
CLOSINGS = ["thanks", "please answer soon", "regards", "i am waiting", "customer since years", ""]

LABELS = tuple(issue for issues in DOMAINS.values() for issue in issues)
DOMAIN_OF = {issue: domain for domain, issues in DOMAINS.items() for issue in issues}
WORDINGS = {issue: wordings for issues in DOMAINS.values() for issue, wordings in issues.items()}


class Message(NamedTuple):
    """A message and what it asks for."""

    text: str
    label: str


def messages(
    count: int, seed: str, labels: Sequence[str] = LABELS, known: float = 1.0, asides: float = 0.4, noise: float = 0.0
) -> list[Message]:
    """Generated messages. `known` is the share of wordings their maker has seen; `noise` of labels that are wrong."""
    dice = random.Random(seed)
    seen = {label: _some(dice, WORDINGS[label], known) for label in LABELS}
    made = []
    for _ in range(count):
        label = dice.choice(list(labels))
        text = _said(dice, label, seen, asides)
        made.append(Message(text, dice.choice(list(labels)) if dice.random() < noise else label))
    return made


def _said(dice: random.Random, label: str, seen: dict[str, list[str]], asides: float) -> str:
    parts = [dice.choice(OPENINGS), dice.choice(ASKS).format(dice.choice(seen[label]))]
    if dice.random() < asides:
        other = dice.choice([one for one in LABELS if one != label])
        parts.insert(dice.choice((1, 2)), dice.choice(ASIDES).format(dice.choice(seen[other])))
    parts.append(dice.choice(CLOSINGS))
    return _typed(dice, " ".join(part for part in parts if part))


def _typed(dice: random.Random, text: str) -> str:
    """With a swapped pair or a lost letter now and then."""
    letters = list(text)
    for place in range(len(letters) - 1):
        roll = dice.random()
        if roll < 0.015:
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        elif roll < 0.025:
            letters[place] = ""
    return "".join(letters)


def _some(dice: random.Random, wordings: list[str], share: float) -> list[str]:
    return dice.sample(wordings, max(1, round(share * len(wordings))))
