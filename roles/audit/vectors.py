"""Recompute vector files, for `tollway auditor check-vectors`. Every difference is named; no vector crashes the check.

A file holds the mechanism's written cases (`vectors`), its random ones (`composed`, `carve`, `route`) and sum trees
(`trees`). An unknown kind or section is a mismatch too: an unchecked vector proves nothing.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ledger.core.catalog import lineage
from ledger.core.catalog.bids import Deduction
from ledger.core.kernels.sum_tree import Levels
from ledger.core.pricing import commissions, price, routing
from ledger.core.values import sum_tree
from ledger.core.values.documents import Document, Json
from ledger.core.values.errors import Rejected, TollwayError
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, address, to_hex
from ledger.core.values.meters import Meter


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One value of a vector that recomputation does not give. `where` names the vector, `field` the part of it."""

    where: str
    field: str
    expected: str
    computed: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field} says {self.expected}, computed {self.computed}"


Differences = Iterator[tuple[str, Json, Json]]
"""The differences of one vector: field, the vector's value, the computed value."""


def check(source: str | Path | Document) -> list[Mismatch]:
    """Recompute every vector of a file or a loaded document. Empty when all agree."""
    try:
        document = load(source)
    except Rejected as error:
        return [Mismatch("file", "form", "a vector file", error.message)]
    mismatches: list[Mismatch] = []
    for where, kind, vector in named(document):
        mismatches += _check_vector(where, kind, vector)
    if not mismatches and not size(document):
        return [Mismatch("file", "vectors", "none", "nothing to check")]
    return mismatches


def size(source: str | Path | Document) -> int:
    """The number of vectors in a file or a loaded document; 0 if it cannot be loaded."""
    try:
        return sum(1 for _ in named(load(source)))
    except Rejected:
        return 0


def load(source: str | Path | Document) -> Document:
    """Load a vector file; integers may exceed 2^53. Rejected when there is no file, or no JSON object in it."""
    if isinstance(source, dict):
        return source
    try:
        document = json.loads(Path(source).read_text("utf-8"))
    except OSError as error:
        raise Rejected(f"cannot read {source}: {error.strerror}", file=str(source)) from error
    except (ValueError, RecursionError) as error:
        raise Rejected(f"{source} is not JSON: {error}", file=str(source)) from error
    if not isinstance(document, dict):
        raise Rejected(f"{source} does not contain a JSON object", file=str(source))
    return document


def named(document: Document) -> Iterator[tuple[str, str, Json]]:
    """Every vector with its name in reports and its kind."""
    for section, content in document.items():
        if section == "note":
            continue
        if not isinstance(content, list):
            yield section, "unknown section", content
            continue
        for number, vector in enumerate(content):
            fields = vector if isinstance(vector, dict) else {}
            if section == "vectors":
                name = f"vector {fields.get('n', number + 1)} ({fields.get('name', 'unnamed')})"
                yield name, str(fields.get("kind", "unknown")), vector
            else:
                yield f"{section}[{number}]", "tree" if section == "trees" else section, vector


def _check_vector(where: str, kind: str, vector: Json) -> list[Mismatch]:
    if kind not in _KINDS:
        return [Mismatch(where, "kind", kind, f"known kinds are {', '.join(_KINDS)}")]
    try:
        rows = list(_KINDS[kind](vector))
    except TollwayError as error:
        return [Mismatch(where, "form", "a vector", error.message)]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError) as error:
        return [Mismatch(where, "form", f"a {kind} vector", f"{type(error).__name__}: {error}")]
    return [Mismatch(where, field, _short(expected), _short(computed)) for field, expected, computed in rows]


def _check_price(vector: Json) -> Differences:
    quote = price.compose(_claims(vector))
    yield from _compare("price", vector["price"], quote.price)
    yield from _compare("amounts", vector["amounts"], _amounts_by_line(vector, quote))


def _check_rejection(vector: Json) -> Differences:
    try:
        computed = f"price {price.compose(_claims(vector)).price}"
    except Rejected as error:
        computed = error.message
    if not isinstance(vector["error"], str) or not vector["error"] or not computed.startswith(vector["error"]):
        yield "error", vector["error"], computed


def _check_list_price(vector: Json) -> Differences:
    claims = _claims(vector)
    seller = [line["id"] for line in vector["lines"]].index(vector["seller"])
    yield from _compare("composed_price", vector["composed_price"], price.compose(claims).price)
    quote = price.list_at(claims, _int(vector["list_price"]), seller)
    yield from _compare("amounts", vector["amounts"], _amounts_by_line(vector, quote))
    if "infeasible_list_price" in vector:
        try:
            price.list_at(claims, _int(vector["infeasible_list_price"]), seller)
            yield "infeasible_list_price", vector["infeasible_list_price"], "feasible"
        except Rejected as error:
            yield from _compare("infeasible_error", vector["infeasible_error"], error.message)


def _check_workflow(vector: Json, name: str = "weave") -> Differences:
    """The vector has amounts, not bids: sums, prices of sub-calls and flattened credits must agree."""
    credits: dict[str, int] = {}
    yield from _check_call(vector, vector["root_lines"], name, credits)
    yield from _compare("leaf_credits", vector["leaf_credits"], credits)
    yield from _compare("price", vector["price"], sum(credits.values()))


def _check_call(call: Json, lines: Json, name: str, credits: dict[str, int]) -> Differences:
    subs = call.get("subs", [])
    passed = {f"sub:{number}:{sub['name']}": _int(sub["price"]) for number, sub in enumerate(subs)}
    yield from _compare(f"{name}.passed", {k: v for k, v in lines.items() if k.startswith("sub:")}, passed)
    yield from _compare(f"{name}.price", call["price"], sum(map(_int, lines.values())))
    for line, amount in lines.items():
        if not line.startswith("sub:"):
            credits[f"{name}/{line}"] = credits.get(f"{name}/{line}", 0) + amount
    for sub in subs:
        yield from _check_call(sub, sub["lines"], sub["name"], credits)


def _check_deduction(vector: Json) -> Differences:
    expected, sponsor = vector["extra"], vector["sponsor_line"]
    curator = vector.get("curator", _label(expected, "curator:") if "curator" not in vector else None)
    surface = vector.get("surface", _label(expected, "surface:") if "surface" not in vector else None)
    deduction = Deduction(
        0,
        _party(curator),
        _int(vector["offer_ppm"]),
        _int(vector["keep_ppm"]),
        _int(vector["promo_second_price"]),
        _party(surface),
    )
    part = commissions.deduct(_int(vector["amounts"][sponsor]), deduction, _int(vector["surface_share_ppm"]))
    yield from _compare("net", vector["net"], {**vector["amounts"], sponsor: part.kept})
    extra = {
        f"curator:{curator}": part.curator,
        "consumer:rebate": part.rebate,
        f"surface:{surface}": part.surface,
        "protocol:promo": part.treasury,
    }
    yield from _compare("extra", expected, {name: amount for name, amount in extra.items() if amount})


def _check_lineage(vector: Json) -> Differences:
    names = {_model(name): name for name in vector["models"]}
    parents = {_model(name): [_parent(row) for row in model["parents"]] for name, model in vector["models"].items()}
    found = lineage.ancestors(_model(vector["leaf"]), parents)
    computed = {
        names[key]: {"royalty_ppm": r.ratio_ppm, "floor": dict(r.floor)[Meter.call]} for key, r in found.items()
    }
    yield from _compare("ancestors", vector["ancestors"], computed)


def _check_route(vector: Json) -> Differences:
    keys = ("price", "q", "lat_ms", "slo_ms", "cap")
    candidates = [routing.Candidate._make(_int(row[key]) for key in keys) for row in vector["candidates"]]
    weights = routing.weights(candidates, _int(vector["tau_ppm"]))
    yield from _compare("weights", vector["weights"], weights)
    yield from _compare("pick", vector["pick"], routing.pick(weights, bytes.fromhex(vector["seed_hex"])))


def _check_tree(vector: Json) -> Differences:
    leaves = [sum_tree.ZERO] * (max(row["index"] for row in vector["leaves"]) + 1)
    for row in vector["leaves"]:
        who = (address(vector["lane"]), row["index"], address(row["account"]))
        leaves[row["index"]] = sum_tree.leaf(vector["tag"], *who, int(row["cumulative"]))
    tree = sum_tree.Tree.build(leaves)
    fast = Levels.build(np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, 32))
    yield from _compare("root", vector["root"], to_hex(tree.root))
    yield from _compare("root by kernel", vector["root"], to_hex(fast.root))
    yield from _compare("total", vector["total"], str(tree.total))
    yield from _compare("height", vector["height"], tree.height)
    for number, row in enumerate(vector["proofs"]):
        index, proof = row["index"], [bytes.fromhex(word[2:]) for word in row["proof"]]
        yield from _compare(f"proofs[{number}].node", row["node"], to_hex(tree.leaf(index)))
        yield from _compare(f"proofs[{number}].proof", row["proof"], list(map(to_hex, tree.proof(index))))
        holds = sum_tree.verify(tree.root, tree.leaf(index), index, proof)
        yield from _compare(f"proofs[{number}] verifies", True, holds)
    for number, row in enumerate(vector["ranges"]):
        start, count = row["start"], row["count"]
        expected = list(map(to_hex, tree.range_proof(start, count)))
        yield from _compare(f"ranges[{number}].proof", row["proof"], expected)
        words = [tree.leaf(index) for index in range(start, start + count)]
        proof = [bytes.fromhex(word[2:]) for word in row["proof"]]
        root = to_hex(sum_tree.range_root(words, start, tree.height, proof))
        yield from _compare(f"ranges[{number}] root", vector["root"], root)


_KINDS: dict[str, Callable[[Json], Differences]] = {
    "composed": _check_price,
    "rejected": _check_rejection,
    "listed": _check_list_price,
    "weave": _check_workflow,
    "carve": _check_deduction,
    "lineage": _check_lineage,
    "route": _check_route,
    "tree": _check_tree,
}


def _claims(vector: Json) -> list[price.Claim]:
    return [price.Claim(_int(line["r"]), _int(line["F"])) for line in vector["lines"]]


def _amounts_by_line(vector: Json, quote: price.Quote) -> dict[str, int]:
    return dict(zip((line["id"] for line in vector["lines"]), quote.amounts, strict=True))


def _parent(row: Json) -> lineage.Parent:
    return lineage.Parent(_model(row["id"]), lineage.Royalty(row["royalty_ppm"], ((Meter.call, _int(row["floor"])),)))


def _model(name: str) -> Digest:
    return keccak256(name.encode())


def _party(name: str | None) -> Address:
    return Address(keccak256(name.encode())[:20]) if name is not None else ZERO_ADDRESS


def _label(expected: Json, prefix: str) -> str | None:
    return next((name.removeprefix(prefix) for name in expected if name.startswith(prefix)), None)


def _int(value: Json) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a natural number")
    return value


def _compare(field: str, expected: Json, computed: Json) -> Differences:
    """The differences: key by key for objects, whole otherwise. 1 differs from true and from 1.0."""
    if isinstance(expected, dict) and isinstance(computed, dict):
        for key in sorted({*expected, *computed}):
            yield from _compare(f"{field}.{key}", expected.get(key, "nothing"), computed.get(key, "nothing"))
    elif type(expected) is not type(computed) or str(expected) != str(computed):
        yield field, expected, computed


def _short(value: Json) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:150]}... ({len(text)} characters)"
