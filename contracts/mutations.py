"""The changes that mutation testing makes of a Solidity source, found in the compiler's tree and put behind switches.

A change leaves types alone: operators for operators of the same operands, constants off by one, conditions that are
never true, statements and operands left out, arguments and branches swapped, in Solidity and in assembly. What an error
says is left as it is: the tests look at which error it is.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

Node = dict[str, Any]
"""A node of the compiler's tree."""

OPERATORS = {
    "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",), "!=": ("==",),
    "+": ("-",), "-": ("+",), "*": ("/",), "/": ("*",), "%": ("/",), "<<": (">>",), ">>": ("<<",),
    "&": ("|",), "|": ("&",), "^": ("&",), "&&": ("||",), "||": ("&&",),
    "+=": ("-=",), "-=": ("+=",), "|=": ("=",), "^=": ("|=",), "++": ("--",), "--": ("++",),
}  # fmt: skip
OPCODES = {
    "add": "sub", "sub": "add", "mul": "div", "div": "mul", "lt": "gt", "gt": "lt", "and": "or", "or": "and",
    "xor": "and", "shl": "shr", "shr": "shl",
}  # fmt: skip

EXPRESSION = Template("($on ? ($after) : ($was))")
STATEMENT = Template("{ if (!($on)) { $was } }")
INSTEAD = Template("{ if ($on) { $after } else { $was } }")
OPCODE = Template("xor($was, mul(xor($before, $after), $on))")
YUL_NUMBER = Template("add($was, $on)")
YUL_STATEMENT = Template("if iszero($on) { $was }")
YUL_BLOCK = Template("{ uint256 mutant = uint160(address(Switch)); $was }")
"""How what is changed, and the change, stand side by side. `$on` is true, or 1, for the mutant alone."""

SKIPPED = {"RevertStatement", "StructuredDocumentation", "ImportDirective", "ElementaryTypeName", "ArrayTypeName"}
MARK = re.compile(r"/\*(\d+)<\*/|/\*>\d+\*/")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one source, between two places in it."""

    file: str
    function: str
    line: int
    start: int
    end: int
    before: str
    after: str
    form: Template
    block: tuple[int, int] | None
    """The assembly that it is in."""
    nth: int = 1
    """Among equal changes of one function."""

    @property
    def name(self) -> str:
        """What it is, without its line: lines above it come and go."""
        change = f"`{' '.join(self.before.split())}` -> `{' '.join(self.after.split())}`"
        return f"{Path(self.file).name} {self.function}: {change}" + (f" #{self.nth}" if self.nth > 1 else "")


@dataclass(frozen=True, slots=True)
class _Place:
    """A node, what it stands in, and the text it is of."""

    text: str
    node: Node
    parent: Node
    function: str
    block: tuple[int, int] | None

    def of(self, node: Node) -> str:
        start, end = _range(node)
        return self.text[start:end]


_Found = tuple[int, int, str, Template]


def changes(file: str, text: str, tree: Node) -> Iterator[Change]:
    """Every change of a source, by its tree."""
    places = list(_places(_Place(text, tree, {}, "", None)))
    read = {place.node["name"] for place in places if place.node["nodeType"] == "YulIdentifier"}
    seen: dict[str, int] = {}
    for place in places:
        if place.function.isupper() and place.function in read:
            continue  # assembly reads a constant only if it is a plain number
        for start, end, after, form in _FINDERS.get(place.node["nodeType"], _nothing)(place):
            line, before = text.count("\n", 0, start) + 1, text[start:end]
            first = Change(file, place.function, line, start, end, before, after, form, place.block)
            nth = seen[first.name] = seen.get(first.name, 0) + 1
            yield replace(first, nth=nth)


def instrument(text: str, numbered: list[tuple[int, Change]]) -> str:
    """The source with these changes behind the switches of their numbers."""
    blocks = sorted({change.block for _, change in numbered if change.block})
    edits = [(start, -end, 0, YUL_BLOCK, "", "") for start, end in blocks]
    for number, change in numbered:
        on = f"eq(mutant, {number})" if change.block else f"address(Switch) == address({number})"
        edits.append((change.start, -change.end, number, change.form, change.after, on))
    written = _written(text, 0, len(text), sorted(edits, key=lambda edit: edit[:3]))
    return re.sub(r"(pragma solidity [^;]*;)", r'\1 import {Switch} from "./Switch.sol";', written, count=1)


def changes_at(text: str, start: int, end: int) -> set[int]:
    """The number of the innermost change around a piece of an instrumented source; if there is none, all in it."""
    around: list[int] = []
    for mark in MARK.finditer(text[:start]):
        if mark[1]:
            around.append(int(mark[1]))
        else:
            around.pop()
    inside = {int(mark[1]) for mark in MARK.finditer(text[start:end]) if mark[1]}
    return (set(around[-1:]) or inside) - {0}


def _written(text: str, start: int, end: int, edits: list[Any]) -> str:
    parts, at = [], start
    while edits:
        (first, last, number, form, after, on), *edits = edits
        inner = [edit for edit in edits if edit[0] < -last]
        edits = edits[len(inner) :]
        was, before = _written(text, first, -last, inner), text[first:-last]
        changed = form.substitute(on=on, was=was, before=before, after=after)
        parts += [text[at:first], f"/*{number}<*/{changed}/*>{number}*/"]
        at = -last
    return "".join([*parts, text[at:end]])


# ---------------------------------------------------------------------- the tree


def _range(node: Node) -> tuple[int, int]:
    start, length, _ = map(int, node["src"].split(":"))
    return start, start + length


def _places(place: _Place) -> Iterator[_Place]:
    node = place.node
    if node["nodeType"] in SKIPPED:
        return
    yield place
    function, block = place.function, place.block
    if node["nodeType"] in {"FunctionDefinition", "ContractDefinition"} or node.get("constant"):
        function = node["name"] or node["kind"]
    if node["nodeType"] == "InlineAssembly":
        block = _range(node)
    if _is_constant(node):
        return
    for children in node.values():
        for child in children if isinstance(children, list) else [children]:
            if isinstance(child, dict) and "nodeType" in child:
                yield from _places(_Place(place.text, child, node, function, block))


def _is_constant(node: Node) -> bool:
    """True for a number, written out or computed from numbers."""
    return str(node.get("typeDescriptions", {}).get("typeString", "")).startswith("int_const")


def _type(node: Node) -> str:
    return str(node.get("typeDescriptions", {}).get("typeString", ""))


# ---------------------------------------------------------------------- what changes, by kind of node


def _nothing(_: _Place) -> Iterator[_Found]:
    return iter(())


def _number(place: _Place) -> Iterator[_Found]:
    common, form = place.parent.get("commonType", {}).get("typeString", ""), EXPRESSION
    if common.startswith("uint"):  # a choice of numbers has the least type that fits, which may be too small here
        form = Template(f"($on ? {common}($after) : {common}($was))")
    elif common or place.parent.get("kind") == "typeConversion":
        return
    yield (*_range(place.node), f"{place.of(place.node)} + 1", form)


def _literal(place: _Place) -> Iterator[_Found]:
    if place.node["kind"] == "number":
        yield from _number(place)
    elif place.node["kind"] == "bool":
        yield (*_range(place.node), "false" if place.node["value"] == "true" else "true", EXPRESSION)


def _binary(place: _Place) -> Iterator[_Found]:
    if _is_constant(place.node):
        yield from _number(place)
        return
    operator = place.node["operator"]
    left, right = _range(place.node["leftExpression"]), _range(place.node["rightExpression"])
    between = place.text[left[1] : right[0]]
    for other in OPERATORS.get(operator, ()):
        after = place.text[left[0] : left[1]] + between.replace(operator, other) + place.text[right[0] : right[1]]
        yield (left[0], right[1], after, EXPRESSION)
    if operator in {"&&", "||"}:
        yield (left[0], right[1], place.text[slice(*left)], EXPRESSION)
        yield (left[0], right[1], place.text[slice(*right)], EXPRESSION)


def _unary(place: _Place) -> Iterator[_Found]:
    text, operator = place.of(place.node), place.node["operator"]
    if operator == "!":
        yield (*_range(place.node), place.of(place.node["subExpression"]), EXPRESSION)
    for other in OPERATORS.get(operator, ()) if operator in {"++", "--"} else ():
        yield (*_range(place.node), text.replace(operator, other), EXPRESSION)


def _assignment(place: _Place) -> Iterator[_Found]:
    left, right = _range(place.node["leftHandSide"]), _range(place.node["rightHandSide"])
    for other in OPERATORS.get(place.node["operator"], ()):
        after = f"{place.text[slice(*left)]} {other} {place.text[slice(*right)]}"
        yield (left[0], right[1], after, EXPRESSION)


def _statement(place: _Place) -> Iterator[_Found]:
    start, end = _range(place.node)
    if place.text[end] == ";":  # not the end of a loop's head
        yield (start, end + 1, "", STATEMENT)


def _condition(place: _Place) -> Iterator[_Found]:
    condition = place.node["condition"]
    yield (*_range(condition), "false", EXPRESSION)
    if condition["nodeType"] not in {"BinaryOperation", "UnaryOperation"}:
        yield (*_range(condition), f"!{place.of(condition)}", EXPRESSION)


def _branches(place: _Place) -> Iterator[_Found]:
    parts = [place.of(place.node[part]) for part in ("condition", "falseExpression", "trueExpression")]
    yield (*_range(place.node), "{} ? {} : {}".format(*parts), EXPRESSION)


def _arguments(place: _Place) -> Iterator[_Found]:
    arguments, alone = place.node["arguments"], place.parent["nodeType"] in {"ExpressionStatement", "EmitStatement"}
    start, end = _range(place.parent if alone else place.node)
    end += alone  # its semicolon
    for one, two in pairwise(arguments):
        if _type(one) == _type(two) and place.of(one) != place.of(two):
            (first, middle), (again, last) = _range(one), _range(two)
            swapped = place.of(two) + place.text[middle:again] + place.of(one)
            yield (
                start,
                end,
                place.text[start:first] + swapped + place.text[last:end],
                INSTEAD if alone else EXPRESSION,
            )
            return


def _opcode(place: _Place) -> Iterator[_Found]:
    name, arguments = place.node["functionName"]["name"], [place.of(each) for each in place.node["arguments"]]
    if name in OPCODES:
        yield (*_range(place.node), f"{OPCODES[name]}({', '.join(arguments)})", OPCODE)
    if name in {"lt", "gt"}:
        yield (*_range(place.node), f"iszero({'gt' if name == 'lt' else 'lt'}({', '.join(arguments)}))", OPCODE)
    if name == "eq":
        yield (*_range(place.node), f"iszero({place.of(place.node)})", OPCODE)
    if name == "iszero":
        yield (*_range(place.node), arguments[0], OPCODE)


def _yul_number(place: _Place) -> Iterator[_Found]:
    if place.node["kind"] == "number" and place.parent["nodeType"] != "YulCase":
        yield (*_range(place.node), f"{place.of(place.node)} + 1", YUL_NUMBER)


def _yul_statement(place: _Place) -> Iterator[_Found]:
    yield (*_range(place.node), "", YUL_STATEMENT)


_FINDERS: dict[str, Callable[[_Place], Iterator[_Found]]] = {
    "Literal": _literal,
    "BinaryOperation": _binary,
    "UnaryOperation": _unary,
    "Assignment": _assignment,
    "ExpressionStatement": _statement,
    "EmitStatement": _statement,
    "Continue": _statement,
    "IfStatement": _condition,
    "Conditional": _branches,
    "FunctionCall": _arguments,
    "YulFunctionCall": _opcode,
    "YulLiteral": _yul_number,
    "YulAssignment": _yul_statement,
    "YulExpressionStatement": _yul_statement,
}
