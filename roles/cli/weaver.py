"""`tollway weaver`: publish workflows of several models as one, and earn on each run."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.catalog.capsules import Capsule, Policy
from ledger.core.catalog.capsules import capsule as read_capsule
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import cid, did, to_hex
from ledger.core.values.meters import quoted
from roles.cli import amounts, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.cli.shared import bundles, calls, documents, drawing, publication
from roles.cli.shared.payees import add_payee, add_staking
from roles.wallet import deposits, transactions

app = Group("Publish workflows of several models as one, and earn on each run.")

add_staking(app, "it pays the finished sub-calls of a failed all-or-nothing run")
add_payee(app, Role.weaver)


@app.command("bond")
def bond(amount: Amount) -> None:
    """Deposit AIC that pays the finished sub-calls when a run of your all-or-nothing workflows fails."""
    atoms = amounts.parse_some(amount)
    output.confirm(f"deposit {amounts.format(atoms)} of {here().wallet} as the bond of its workflows?")
    status = deposits.deposit(here(), atoms, 60)
    _, _, ceiling = deposits.make_key(here(), {"label": "bond"})
    output.show({"bond": amounts.format(ceiling), "added": amounts.format(atoms), "status": status["status"]})


@app.command("publish")
def publish(
    path: Annotated[Path, Argument(help="capsule.json; models may be written as @org/name.")],
    use: Annotated[list[str] | None, Option("--use", help="NAME=@org/name for a `model:NAME` in it.")] = None,
) -> None:
    """Publish a workflow and its glue under your name. Names of models are fixed to the versions they have now."""
    uses = parse_uses(use or [])
    documents.read(path)  # before anything else is asked
    weaver = did(transactions.chain_id(here()), here().account)
    names = bundles.Names(weaver, lambda name: cid(here().resolve(name)), uses)
    bundle = bundles.read(path, names)
    capsule = read_capsule(bundle.document)
    output.note("\n".join(drawing.draw(capsule)))
    output.confirm(f"publish {capsule.name}, taking {amounts.format_ratio(capsule.bid.ratio_ppm)} of each run?")
    for module in bundle.modules:
        here().account_gateway.send("/v1/documents", module, "application/wasm")
    output.show(publication.publish(bundle.document))
    if capsule.policy is Policy.all_or_nothing:
        output.note("this workflow is all-or-nothing: it needs a bond (tollway weaver bond AMOUNT)")


@app.command("show")
def show(capsule: Annotated[str, Argument(help="@org/name, an id, or a capsule.json.")]) -> None:
    """Draw a workflow: its steps in order, and what it takes."""
    workflow = fetch(capsule)
    if output.mode.json:
        output.show(workflow.document)
        return
    for line in drawing.draw(workflow):
        output.console().print(output.plain(line))
    output.show(
        {
            "id": cid(workflow.id),
            "weaver": to_hex(workflow.weaver),
            "takes": amounts.format_ratio(workflow.bid.ratio_ppm),
            "and": quoted(workflow.bid.asks) or None,
            "when_it_fails": workflow.policy.value,
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
    answer = calls.chat(context, calls.Chat(capsule, text, stream, timeout_seconds=120))
    steps = answer.pop("steps", [])
    output.show(answer)
    if steps:
        output.show_table([{name: row.get(name, "") for name in ("step", "status", "ms", "price")} for row in steps])
    if "receipt" in answer:
        from roles.audit import verification  # slow to import

        call = str(answer["receipt"])
        rows = list(verification.lines(context.account_gateway, call))
        root = context.account_gateway.get(f"/v1/receipts/{call}")["receipt"]
        title = f"receipt {call[:18]}… : {root['price']} atoms, {root['subcall_total']} of them for sub-calls"
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


def fetch(text: str) -> Capsule:
    path = Path(text)
    if path.suffix == ".json":
        return read_capsule(bundles.sketch(path))
    return read_capsule(here().gateway.get(f"/v1/documents/{cid(here().resolve(text))}"))
