"""Conditions of a capsule's steps: the language of `when`, which can only compare.

    steps.reply.status == 'error'
    steps.cheap.output.confidence < 0.7 && $.language != 'en'

Operators, loosest first: `||`, `&&`, `!`, then one comparison of ==, !=, <, <=, >, >=. Operands: paths (with or without
`$`), 'text', numbers, true, false, null, and ( ). A value alone is true unless it is null, false, 0 or empty. `<` and
the like are false unless both sides are numbers or both are texts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ledger.core.catalog.templates import Path, read
from ledger.core.catalog.templates import parse as parse_path
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected

_TOKEN = re.compile(
    r"\s*(?:(?P<op>\|\||&&|==|!=|<=|>=|<|>|!|\(|\))|'(?P<text>[^']*)'|(?P<number>-?[0-9]{1,18}(?:\.[0-9]{1,18})?)"
    r"|(?P<word>\$?[A-Za-z_.][A-Za-z0-9_.\-\[\]]*|\$[\w.\-\[\]]*))"
)
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None}
_ORDER: dict[str, Callable[[Json, Json], bool]] = {
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
MAX_DEPTH = 16

Scope: TypeAlias = tuple[Json, Mapping[str, Json]]
Value: TypeAlias = Callable[[Scope], Json]


@dataclass(frozen=True)
class Condition:
    """A parsed condition. `paths` are the values it reads."""

    text: str
    paths: tuple[Path, ...]
    value: Value

    def holds(self, request: Json, steps: Mapping[str, Json]) -> bool:
        """Whether it is true of a request and the steps that have finished."""
        return bool(self.value((request, steps)))


def parse(text: str) -> Condition:
    """A condition from its text. Rejected, with the place of the error, when it is not one."""
    parser = _Parser(text)
    value = parser.either(0)
    if parser.at < len(parser.tokens):
        raise Rejected(f"{text!r}: nothing can follow here: {parser.tokens[parser.at][1]!r}", when=text)
    return Condition(text, tuple(parser.paths), value)


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.paths: list[Path] = []
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while (match := _TOKEN.match(text, position)) is not None and match.lastgroup is not None:
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        if text[position:].strip():
            raise Rejected(f"{text!r}: not understood from character {position}", when=text)

    def either(self, depth: int) -> Value:
        values = [self.both(depth)]
        while self.taken("||"):
            values.append(self.both(depth))
        return _first(values, truth=True)

    def both(self, depth: int) -> Value:
        values = [self.negated(depth)]
        while self.taken("&&"):
            values.append(self.negated(depth))
        return _first(values, truth=False)

    def negated(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise Rejected(f"{self.text!r} is nested more than {MAX_DEPTH} deep", when=self.text)
        if self.taken("!"):
            inner = self.negated(depth + 1)
            return lambda scope: not inner(scope)
        left = self.operand(depth)
        for operator in ("==", "!=", *_ORDER):
            if self.taken(operator):
                return _compared(operator, left, self.operand(depth))
        return left

    def operand(self, depth: int) -> Value:
        if self.taken("("):
            inner = self.either(depth + 1)
            if not self.taken(")"):
                raise Rejected(f"{self.text!r}: a ')' is missing", when=self.text)
            return inner
        if self.at == len(self.tokens) or self.tokens[self.at][0] == "op":
            raise Rejected(f"{self.text!r}: a value is missing", when=self.text)
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "word" and token not in _WORDS:
            path = parse_path(token if token.startswith("$") else f"${token}")
            self.paths.append(path)
            return lambda scope: read(path, *scope)
        constant: Json = token if kind == "text" else _WORDS[token] if kind == "word" else _number(token)
        return lambda _: constant

    def taken(self, operator: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == ("op", operator):
            self.at += 1
            return True
        return False


def _first(values: Sequence[Value], *, truth: bool) -> Value:
    """The first of some values that is true, or false, else the last: `||` and `&&`. One after the other, however many
    there are: inside each other, 1,000 of them were an error of the gateway's, for which nobody paid the steps before.
    """
    *others, last = values
    if not others:
        return last

    def value(scope: Scope) -> Json:
        for one in others:
            found = one(scope)
            if bool(found) is truth:
                return found
        return last(scope)

    return value


def _compared(operator: str, left: Value, right: Value) -> Value:
    def compared(scope: Scope) -> bool:
        a, b = left(scope), right(scope)
        if operator in ("==", "!="):
            return bool(a == b) is (operator == "==")
        alike = (_numeric(a) and _numeric(b)) or (isinstance(a, str) and isinstance(b, str))
        return alike and _ORDER[operator](a, b)

    return compared


def _numeric(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)
