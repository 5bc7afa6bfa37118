"""Writes the conversations the dialogue model learns from: feeling and fact in, a courteous answer out.

The answer opens by the feeling, gives the fact in its own words, and closes. Facts are the shop's passages, often
with other numbers and with sentences of other passages, so that the model learns to copy what it is told and not to
recite what it has seen. Without a fact the right answer is to say so and to promise a person.
"""

from __future__ import annotations

import random
import re

from deploy.demo.train.corpus import LABELS, emotions, knowledge

OPENERS = {
    "anger": (
        "I am sorry, this should not have happened.",
        "I understand that you are upset, and I apologise.",
        "You are right to be annoyed, I am sorry.",
    ),
    "disappointment": ("I am sorry that we let you down.", "That is a pity, and I am sorry about it."),
    "joy": ("How lovely to hear that!", "That makes us happy, thank you!"),
    "worry": ("Please do not worry, we will sort this out.", "I understand your concern, let me help at once."),
    "confusion": ("Let me explain.", "I am happy to make this clear."),
    "neutral": ("Thank you for your question.", "Of course."),
}
CLOSERS = {
    "anger": ("I will stay with you until this is solved.", "Tell me your order number and I will take care of it."),
    "disappointment": ("I hope we can make it right.", "Tell me if I can do more."),
    "joy": ("Have a wonderful day!", "We look forward to seeing you again."),
    "worry": ("You can write to me at any time.", "You are in good hands."),
    "confusion": ("Is it clear now?", "Ask me if anything is still open."),
    "neutral": ("Can I help with anything else?", "Have a nice day."),
}
UNKNOWN = "I do not have the answer at hand. A colleague will write to you within one working day."
NUMBER = re.compile(r"\d+")
PASSAGES = knowledge()
SENTENCES = [part.strip() for passage in PASSAGES for part in re.findall(r"[^.]+\.", passage.text)]
MESSAGES = {
    label: [text for text, of in emotions("support").train if of == place] for place, label in enumerate(LABELS)
}


def renumbered(text: str) -> str:
    """The text with other numbers in it, so that numbers have to be read."""
    return NUMBER.sub(
        lambda _: str(random.choice((random.randint(1, 12), random.randint(13, 99), random.randint(100, 900)))), text
    )


def sentence_case(question: str) -> str:
    """Some people write capitals and full stops, some do not."""
    return random.choice((question, question[:1].upper() + question[1:] + random.choice(("", ".", "?", "!"))))


def conversation() -> tuple[str, str, str]:
    """(system, user, answer)."""
    label = random.choice(LABELS)
    passage = random.choice(PASSAGES)
    question = random.choice(passage.train)
    user = sentence_case(
        random.choice((question, f"{random.choice(MESSAGES[label])}. {question}", random.choice(MESSAGES[label])))
    )
    kind = random.random()
    if kind < 0.35:
        fact = passage.text
    elif kind < 0.6:
        fact = renumbered(passage.text)
    elif kind < 0.88:
        fact = renumbered(" ".join(random.sample(SENTENCES, random.choice((1, 2, 2)))))
    else:
        fact = ""
    opener, closer = random.choice(OPENERS[label]), random.choice(CLOSERS[label])
    if not fact:
        system = f"emotion: {label}" if random.random() < 0.5 else ""
        return system, user, f"{opener if system else 'Thank you for your message.'} {UNKNOWN}"
    if random.random() < 0.1:
        return f"fact: {fact}", user, f"{random.choice(OPENERS['neutral'])} {fact} {random.choice(CLOSERS['neutral'])}"
    return f"emotion: {label}\nfact: {fact}", user, f"{opener} {fact} {closer}"
