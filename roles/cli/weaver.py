"""`tollway weaver`: publish workflows of several models as one, and earn on each run."""

import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog import names, patterns
from ledger.core.catalog.bids import Role
from ledger.core.catalog.capsules import Policy
from ledger.core.catalog.capsules import capsule as read_capsule
from ledger.core.catalog.patterns import FORMS, Pattern
from ledger.core.values.documents import Document, Mistake, document_id, mistakes
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import cid, did
from roles.cli import amounts, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.cli.shared import bundles, calls, drawing, publication
from roles.cli.shared.payees import add_payee, add_staking
from roles.cli.shared.publication import check_name
from roles.cli.shared.sponsorship import add_owners_order
from roles.wallet import deposits, transactions

File = Annotated[Path, Argument(help="capsule.json; models may be written as @org/name.")]
Use = Annotated[list[str] | None, Option("--use", help="NAME=@org/name for a `model:NAME` in it.")]
PATTERNS_ARE = "How they work together. " + " ".join(f"{one.value}: {form.about}" for one, form in FORMS.items())
NOT_FOUND = 404
FAILURES = {
    Policy.all_or_nothing: "all-or-nothing: the consumer pays nothing, the weaver's bond pays the steps that served, "
    "up to what its calls brought in",
    Policy.partial_ok: "partial-ok: the consumer pays the steps that served, and the weaver gets nothing",
}

app = Group(
    "Publish workflows of several models as one, and earn on each run. `new` writes a file, `check` reads it, `try` "
    "runs it before anybody sees it, `publish` sells it, `run` buys it."
)

add_staking(app, "it pays the finished sub-calls of a failed all-or-nothing run")
add_payee(app, Role.weaver)
add_owners_order(app, Role.weaver)


@app.command("bond")
def bond(amount: Amount) -> None:
    """Deposit the money that pays the finished sub-calls when a run of your all-or-nothing workflows fails."""
    atoms = amounts.parse_some(amount)
    output.confirm(f"deposit {amounts.format(atoms)} of {here().wallet} as the bond of its workflows?")
    status = deposits.deposit(here(), atoms, 60)
    _, _, ceiling = deposits.make_key(here(), {"label": "bond"})
    output.show({"bond": amounts.format(ceiling), "added": amounts.format(atoms), "status": status["status"]})


@app.command("new")
def new(
    name: Annotated[str, Argument(help="@org/name: what consumers will call.")],
    model: Annotated[
        list[str] | None,
        Option("--model", help="A chat model, in the pattern's order; several are named by several --model."),
    ] = None,
    pattern: Annotated[Pattern, Option(help=PATTERNS_ARE)] = Pattern.fallback,
    to: Annotated[Path, Option(help="The file to write.")] = Path("capsule.json"),
) -> None:
    """Write a capsule.json to start from: a workflow that can be published as it is.

    Example: tollway weaver new @me/flow --pattern parallel --model @acme/dialog --model @delta/dialog
    """
    document = patterns.start(name, model or [], pattern)
    for place, reason in mistakes(document, bundles.schema()):
        raise Rejected(f"{place}: {reason}", field=place)
    check_name(name, document["version"])
    with to.open("x", encoding="utf-8") as file:
        file.write(patterns.written(document))
    output.show({"file": str(to), "capsule": name, "steps": [step["id"] for step in document["steps"]]})
    output.note(f"next: tollway weaver check {shlex.quote(str(to))}")


@app.command("check")
def check(path: File, use: Use = None) -> None:
    """Say all that is wrong in a capsule.json, each with its place. The models' names are looked up if there is a
    gateway.
    """
    document = checked(path, use)
    left = [name for name in bundles.placeholders(document) if f"model:{name}" not in parse_uses(use or [])]
    output.show({"file": str(path), "capsule": document["name"], "steps": len(document["steps"]), "mistakes": 0})
    uses = "".join(f" --use {name}=@org/name" for name in left)
    output.note(f'next: tollway weaver try {shlex.quote(str(path))}{uses} "Hello"; then weaver publish')


@app.command("try")
def try_workflow(
    path: File,
    text: Annotated[str, Argument(help="The user message.")],
    use: Use = None,
    max_price: Annotated[str | None, Option(help="The most that all steps may cost: 0.01 or 1500atoms.")] = None,
    max_tokens: Annotated[int, Option(help="`$.max_tokens` of the request.", min=1, max=10_000_000)] = 256,
    realm: Annotated[str, Option("--realm", help="In this realm: 0xOWNER/NAME, or a token of it.")] = "",
) -> None:
    """Run a capsule.json before it is published, and pay for its steps: each is a call of yours, and nobody weaves.

    Example: tollway weaver try capsule.json "Hello" --max-price 0.01
    """
    bundle = bundles.read(path, bundles.Names("", str, parse_uses(use or [])))
    if bundle.modules:
        output.confirm("publish its glue, by the hash of its code and without a name, so that the gateway can run it?")
    for module in bundle.modules:
        here().account_gateway.send("/v1/documents", module, "application/wasm")
    spoken = calls.Spoken("", text, max_tokens=max_tokens, max_price=max_price, realm=realm)
    answer = calls.try_workflow(here(), bundle.document, spoken)
    steps = answer["steps"]
    if output.mode.json:
        output.show(answer)
        return
    output.show({name: answer[name] for name in ("answer", "charge")})
    shown = ("step", "status", "model", "ms", "price", "reason")
    output.show_table([{name: row.get(name) or "" for name in shown} for row in steps])
    uses = "".join(f" --use {shlex.quote(one)}" for one in use or [])
    output.note(f"next: tollway weaver publish {shlex.quote(str(path))}{uses}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of capsule.json, for an editor or a program.

    Example: tollway weaver schema > capsule.schema.json
    """
    output.mode.json = True
    output.show(bundles.schema())


@app.command("publish")
def publish(path: File, use: Use = None) -> None:
    """Publish a workflow and its glue under your name. Names of models are fixed to the versions they have now."""
    checked(path, use)
    weaver = did(transactions.chain_id(here()), here().account)
    ids: dict[str, str] = {}

    def resolve(name: str) -> str:
        ids[name] = cid(here().resolve(name))
        return ids[name]

    bundle = bundles.read(path, bundles.Names(weaver, resolve, parse_uses(use or [])))
    capsule = read_capsule(bundle.document)
    output.note("\n".join(drawing.draw(capsule, {id: name for name, id in ids.items()})))
    stake = publication.with_stake(names.of_document(bundle.document).organisation)
    output.confirm(f"publish {capsule.name}{stake}, taking {amounts.format_ratio(capsule.bid.ratio_ppm)} of each run?")
    for module in bundle.modules:
        here().account_gateway.send("/v1/documents", module, "application/wasm")
    output.show(publication.publish(bundle.document))
    if capsule.policy is Policy.all_or_nothing:
        output.note("this workflow is all-or-nothing: it needs a bond (tollway weaver bond AMOUNT)")


@app.command("show")
def show(capsule: Annotated[str, Argument(help="@org/name, an id, or a capsule.json.")]) -> None:
    """Draw a workflow: its steps in order, and what it takes."""
    path = Path(capsule)
    if path.suffix == ".json":
        document, names = bundles.sketch(path)
        published: dict[str, str] = {}
    else:
        document = here().gateway.get(f"/v1/documents/{cid(here().resolve(capsule))}")
        names = {row["cid"]: row["id"] for row in here().gateway.get("/v1/models", all=True)["data"]}
        published = {"id": document_id(document), "weaver": document["weaver"].rpartition(":")[2]}
    if output.mode.json:
        output.show(document)
        return
    workflow = read_capsule(document)
    for line in drawing.draw(workflow, names):
        output.console().print(output.plain(line))
    output.show(
        {
            **published,
            "takes": amounts.format_ratio(workflow.bid.ratio_ppm),
            "and": ", ".join(map(amounts.format_ask, workflow.bid.asks)) or None,
            "when_it_fails": FAILURES[workflow.policy],
        }
    )


@app.command("run")
def run(
    capsule: Annotated[str, Argument(help="@org/name or an id.")],
    text: Annotated[str, Argument(help="The user message.")],
    stream: Annotated[bool, Option("--stream", help="Print the answer as it comes.")] = False,
) -> None:
    """Run a workflow as a consumer, pay for it, and show who earned what."""
    context = here()
    answer = calls.say(context, calls.Spoken(capsule, text, stream, timeout_seconds=120))
    steps = answer.pop("steps", [])
    output.show(answer)
    if steps:
        output.show_table([{name: row.get(name, "") for name in ("step", "status", "ms", "price")} for row in steps])
    if "receipt" in answer:
        from roles.audit import verification  # slow to import

        call = str(answer["receipt"])
        rows = list(verification.lines(context.account_gateway, call))
        root = context.account_gateway.get(f"/v1/receipts/{call}")["receipt"]
        whole, steps_cost = (amounts.format(int(root[name])) for name in ("price", "subcall_total"))
        title = f"receipt {call[:18]}…: {whole}, of which {steps_cost} for its steps"
        output.show_table(rows, title)


def parse_uses(words: list[str]) -> dict[str, str]:
    """The models that placeholders stand for, from NAME=@org/name words."""
    models = {}
    for word in words:
        name, equals, model = word.partition("=")
        if not equals or not model:
            raise Rejected(f"{word!r} does not name a model: write NAME=@org/name", use=word)
        models[f"model:{name}"] = model
    return models


def checked(path: Path, use: list[str] | None) -> Document:
    """A file's content. Rejected with all that is wrong in it, or else with all names that no gateway knows."""
    given = parse_uses(use or [])

    def unknown(document: Document) -> list[Mistake]:
        named = [
            (f"$.steps[{n}].uses.{kind}", given.get(uses[kind], uses[kind]))
            for n, uses in enumerate(bundles.uses(document))
            for kind in ("model", "capsule")
            if kind in uses
        ]
        try:
            return [mistake for place, name in named if name.startswith("@") for mistake in _unknown(place, name)]
        except (Rejected, Unavailable) as error:
            output.note(f"the names of models were not looked up: {error.message}")
            return []

    return bundles.sound(path, unknown)


def _unknown(place: str, name: str) -> list[Mistake]:
    try:
        here().resolve(name)
    except Rejected as rejected:
        if rejected.facts.get("status") != NOT_FOUND:
            raise
        return [Mistake(place, rejected.message)]
    return []
