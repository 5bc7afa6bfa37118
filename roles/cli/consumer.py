"""`tollway consumer`: deposit, call models, check charges, withdraw."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from gateway.api.schemas.bodies import Format
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import amounts, auditor, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.cli.shared import calls, keys
from roles.cli.shared import receipts as receipt_rows
from roles.cli.shared.payees import add_collect, add_statement
from roles.client.gateway import segment
from roles.wallet import api_keys, deposits, keystore, transactions, trust

app = Group("Deposit once, call any model, check every charge, withdraw the rest.")

MAX_WAIT = 86_400.0
"""Seconds: nobody waits longer than a day."""
METERS = f"METER=UNITS, such as output_token=100. Meters: {amounts.METERS}."
Relayer = Annotated[str | None, Option(help="A wallet that pays the gas; you only sign.")]
Model = Annotated[str, Argument(help="@org/name or an id.")]
Realm = Annotated[str, Option("--realm", help="In this realm: 0xOWNER/NAME, or a token of it. Default: for everybody.")]

Near = Annotated[
    str | None,
    Option(
        "--near",
        help="30: served only within a round trip of so many ms. nearest: the nearest first, the others if those do "
        "not serve. 'nearest;from=2000': the same for inputs of 2,000 tokens and more.",
    ),
]


@app.command("deposit")
def deposit(
    amount: Amount,
    wait: Annotated[float, Option(help="Seconds to wait until it can be spent.", min=0, max=MAX_WAIT)] = 60,
    anyway: Annotated[bool, Option("--anyway", help="Also into a lane that one would not trust.")] = False,
    direct: Annotated[bool, Option("--direct", help="Send it to the chain yourself, with gas.")] = False,
) -> None:
    """Deposit with the gateway's lane, without gas: you sign, the gateway sends it to the chain.

    First the lane is read from the chain: its bond, window and leverage. One that is not to be trusted is refused.
    """
    atoms = amounts.parse_some(amount)
    for doubt in trust.check(here(), atoms, anyway=anyway):
        output.warn(doubt)
    for stays in trust.STAYS:
        output.note(f"trust that stays: {stays}")
    output.confirm(f"deposit {amounts.format(atoms)} of {here().wallet} into lane {here().lane['lane']}?")
    status = deposits.deposit_directly(here(), atoms) if direct else deposits.deposit(here(), atoms, wait)
    output.show({"deposit": amounts.format(atoms), "atoms": str(atoms), **status})
    if not direct and status["status"] != "credited":
        output.note(f"look again: tollway consumer deposited {status['id']}")


@app.command("deposited")
def deposited(id: Annotated[str, Argument(help="The id that `deposit` answered.")]) -> None:
    """Show the status of a deposit."""
    output.show(here().account_gateway.get(f"/v1/deposits/{segment(id)}"))


@app.command("key")
def make_key(  # noqa: PLR0913
    budget: keys.Budgets = None,
    model_budget: keys.ModelBudgets = None,
    model: keys.OnlyModel = None,
    rate: keys.Rate = None,
    minutes: keys.Minutes = None,
    label: Annotated[str, Option(help="A name for the key; default: the wallet's.")] = "",
    show: Annotated[bool, Option("--show", help="Print the key itself.")] = False,
    manage: Annotated[bool, Option("--manage", help="It may read the account, and make and change its keys.")] = False,
    delegate: Annotated[bool, Option("--delegate", help="It may make keys within its own limits: `sub-key`.")] = False,
    realm: Realm = "",
) -> None:
    """Create an API key for any OpenAI client, stored in a file of its own beside the wallet, and use it for calls.

    You sign a voucher for your deposit once; no other key is touched. Without a budget it may spend the whole deposit.
    """
    body = keys.limits(keys.Limits(budget, model_budget, model, rate, minutes)) | ({"label": label} if label else {})
    body["rights"] = [name for name, given in (("manage", manage), ("delegate", delegate)) if given]
    if realm:
        body["realm"] = here().realm(realm)
    created, path, ceiling = deposits.make_key(here(), body)
    api_keys.use(here().wallet, created["id"])
    shown = {"key": created["key"]} if show or output.mode.json else {"kept_in": str(path)}
    output.show({"id": created["id"], **shown, "spends_at_most": amounts.format(ceiling)})
    output.note(f'in Python: OpenAI(base_url="{here().url}/v1", api_key=open("{path}").read())')


@app.command("sub-key")
def sub_key(  # noqa: PLR0913
    budget: keys.Budgets = None,
    model_budget: keys.ModelBudgets = None,
    model: keys.OnlyModel = None,
    rate: keys.Rate = None,
    minutes: keys.Minutes = None,
    label: Annotated[str, Option(help="A name for it.")] = "",
    delegate: Annotated[bool, Option("--delegate", help="It may make keys within its limits in turn.")] = False,
) -> None:
    """Make a key within the limits of your API key, which must be one with `--delegate`, and print it.

    What it spends counts for your key too. Revoked with it, or by `revoke`. Example: a key for each agent of a task.
    """
    rights = ["delegate"] if delegate else []
    body = {**keys.limits(keys.Limits(budget, model_budget, model, rate, minutes)), "label": label, "rights": rights}
    made = here().key_gateway.post("/v1/keys", body)
    output.show(
        {name: made[name] for name in ("id", "key", "budget", "budgets", "rate", "models", "expires_at", "rights")}
    )


@app.command("use-key")
def use_key(id: keys.KeyId) -> None:
    """Send calls with another of the API keys that are stored beside the wallet."""
    output.show({"id": id, "kept_in": str(api_keys.use(here().wallet, id))})


@app.command("change-key")
def change_key(  # noqa: PLR0913
    id: keys.KeyId,
    budget: keys.Budgets = None,
    model_budget: keys.ModelBudgets = None,
    model: keys.OnlyModel = None,
    rate: keys.Rate = None,
    minutes: keys.Minutes = None,
    label: Annotated[str | None, Option(help="Another name.")] = None,
    lift: Annotated[list[str] | None, Option(help=f"Take a limit away: {', '.join(keys.LIMITS)}. Repeat it.")] = None,
) -> None:
    """Change an API key's limits or its name. What is not named stays; budgets of periods and models change together.

    Example: tollway consumer change-key key_0123456789abcdef --budget 1/day --budget 20/month
    """
    body = keys.limits(keys.Limits(budget, model_budget, model, rate, minutes)) | keys.lifted(lift or [])
    body |= {"label": label} if label is not None else {}
    if not body:
        raise Rejected(f"nothing to change: tollway consumer change-key {id} --budget AMOUNT")
    keys.show(here().account_gateway.patch(f"/v1/keys/{segment(id)}", body))


@app.command("rotate-key")
def rotate_key(id: Annotated[str | None, Argument(help="A key's id; default: the one that calls use.")] = None) -> None:
    """Replace the secret of an API key that is stored beside the wallet. Its id and limits stay."""
    key, path = deposits.rotate_key(here(), id)
    output.show({"id": key["id"], "kept_in": str(path)})


@app.command("keys")
def list_keys() -> None:
    """List your API keys, without their secrets. By TOLLWAY_API_KEY: that key, and the keys it made."""
    keys.show_all(here().account_gateway.get("/v1/keys")["data"], here().key_id)


@app.command("revoke")
def revoke(id: keys.KeyId) -> None:
    """Revoke an API key, and the keys it made. Revoking it twice changes nothing."""
    output.show(here().account_gateway.delete(f"/v1/keys/{segment(id)}"))
    if here().key_id == id:
        api_keys.drop(here().wallet, id)
        output.note("calls were sent with it. Another: tollway consumer use-key ID, or tollway consumer key")


@app.command("models")
def models(realm: Realm = "") -> None:
    """List the models and workflows that can be called here, or in your realm: who serves each, since when,
    at what price and how fast.
    """
    rows = here().gateway_in(realm).get("/v1/models")["data"]
    if output.mode.json:
        output.show_table([calls.model_row(row) for row in rows])
    else:
        output.show_table([line for row in rows for line in calls.provider_rows(row)])


@app.command("export")
def export(
    model: Model,
    format: Annotated[Format, Option("--format", help="Who should read it.")],
    realm: Realm = "",
) -> None:
    """Print a model or workflow for others: an A2A agent card, an MCP tool, an ERC-8004 or a KServe file.

    Each names the gateway's routes and prices of now; docs/exports.md says what to do with it. OpenRouter's clients
    read the gateway's list itself.

    Example: tollway consumer export @acme/dialog --format kserve > dialog.json
    """
    output.mode.json = True
    output.show(here().gateway_in(realm).get(f"/v1/models/{segment(model)}/exports/{format.value}"))


@app.command("call")
def call(  # noqa: PLR0913
    model: Model,
    text: Annotated[str, Argument(help="The user message.")],
    stream: Annotated[bool, Option("--stream", help="Print the answer as it comes.")] = False,
    max_tokens: Annotated[int, Option(help="The most output tokens.", min=1, max=10_000_000)] = 256,
    max_price: Annotated[str | None, Option(help="Refuse a higher price: 0.01 or 1500atoms.")] = None,
    referral: Annotated[str | None, Option(help="A curator's token.")] = None,
    timeout: Annotated[float, Option(help="Seconds to wait for the answer.", min=0.1, max=MAX_WAIT)] = 60,
    realm: Realm = "",
    near: Near = None,
) -> None:
    """Call a model that takes a text or a workflow, and pay for it: for a chat, a completion or an embedding.

    Example: tollway consumer call @wanda/customer-service "My lamp arrived broken!" -w alice
    """
    said = calls.Spoken(model, text, stream, max_tokens, max_price, referral, timeout, realm, near)
    output.show(calls.say(here(), said))


@app.command("infer")
def infer(
    model: Model,
    inputs: Annotated[list[str], Argument(help="NAME=VALUE, NAME=@FILE, or @FILE with all inputs.")],
    realm: Realm = "",
    near: Near = None,
) -> None:
    """Call a model that takes tensors (Open Inference Protocol v2), and pay for it.

    A text is written as it is, other tensors as JSON. A file holds JSON, a text or an image; an image is resized to the
    tensor's height and width, made grey or RGB by its channels, and scaled to 0..1, or 0..255 for integers.

    Example: tollway consumer infer @acme/iris 'X=[[5.1,3.5,1.4,0.2]]' -w alice
    """
    output.show(calls.infer(here(), model, inputs, realm, near))


@app.command("quote")
def quote(
    model: Model,
    meters: Annotated[list[str] | None, Argument(help=f"{METERS} Default: call=1.")] = None,
    realm: Realm = "",
) -> None:
    """Show what a call would cost, line by line."""
    units = amounts.parse_units(meters or ["call=1"])
    if not meters:
        output.note(f"of a call alone; with tokens: tollway consumer quote {model} input_token=500 output_token=200")
    calls.show_quote(here().gateway_in(realm).post("/v1/quote", {"model": model, "meters": units}))


@app.command("discover")
def discover(
    task: Annotated[str, Argument(help="text-generation, text-classification, retrieval, ...")],
    meters: Annotated[list[str] | None, Option("--meter", help=f"Expected use: {METERS} Repeat it.")] = None,
    max_price: Annotated[str | None, Option(help="The most a call may cost: 0.01 or 1500atoms.")] = None,
    max_memory: Annotated[
        int | None, Option("--max-memory-mb", help="What fits a node with so many MB.", min=1, max=2**31)
    ] = None,
    realm: Realm = "",
) -> None:
    """Find models for a task, with the price of a call.

    Example: tollway consumer discover text-generation
    """
    units = amounts.parse_units(meters or ["call=1", "input_token=100", "output_token=100"])
    body: dict[str, Any] = {"task": task, "meters": units}
    if max_price:
        body["max_price"] = str(amounts.parse_some(max_price))
    if max_memory:
        body["max_memory_mb"] = max_memory
    answer = here().gateway_in(realm).post("/v1/discover", body)
    rows = answer["results"] if output.mode.json else [calls.search_row(row) for row in answer["results"]]
    output.show_table(rows, empty=calls.why_nothing(answer.get("diagnostic") or {}))


@app.command("balance")
def balance() -> None:
    """Show what you can spend, what is reserved and what you have spent."""
    output.show(here().account_gateway.get("/v1/balance"))


@app.command("receipts")
def receipts(
    limit: Annotated[int, Option(help="How many, at most.", min=1, max=1_000)] = 20,
    by: Annotated[str | None, Option(help=f"Sums of all of them: by {', '.join(receipt_rows.SUMS)}.")] = None,
) -> None:
    """List your latest receipts: what each call used and cost. Or what you have spent, with --by.

    Example: tollway consumer receipts --by model
    """
    gateway = here().account_gateway
    if by is not None and by not in receipt_rows.SUMS:
        raise Rejected(f"{by!r} is no sum: --by {', --by '.join(receipt_rows.SUMS)}", by=by)
    names = receipt_rows.labels(gateway.get("/v1/keys")["data"])
    if by is not None:
        output.show_table(receipt_rows.sums(list(receipt_rows.every(gateway)), by, names))
        return
    found = gateway.get("/v1/receipts", limit=limit)["data"]
    output.show_table(found if output.mode.json else [receipt_rows.row(one, names) for one in found])


@app.command("receipt")
def receipt(
    id: Annotated[str, Argument(help="An id from the header Tollway-Receipt, or a call id.")],
    evidence: Annotated[bool, Option("--evidence", help="As EIP-712 typed data, for others' verifiers.")] = False,
) -> None:
    """Show one receipt, as the gateway signed it. Keep it: who holds it can prove that it was left out of a batch.

    With --evidence it comes as typed data that viem or ethers check, with its path to the root on chain.

    Example: tollway consumer receipt ID --json > receipt.json
    """
    gateway = here().account_gateway
    whole = receipt_rows.whole_id(gateway, id)
    if evidence:
        from roles.audit import evidence as evidences  # slow to import

        output.show(evidences.evidence(here(), whole))
        return
    output.show(gateway.get(f"/v1/receipts/{segment(whole)}"))


@app.command("verify")
def verify(id: Annotated[str, Argument(help="A receipt's or a call's id.")]) -> None:
    """Check one charge: the signature, the price by the bids, the position in its batch, and the batch on chain."""
    from roles.audit import verification  # slow to import

    output.show(verification.receipt(here(), receipt_rows.whole_id(here().account_gateway, id)))


@app.command("prove")
def prove(
    receipts: Annotated[list[Path], Argument(help="Files of `consumer receipt ID --json`.")],
    budget: auditor.Budget = 0,
) -> None:
    """Prove on chain that the lane left out a receipt that you hold, or signed two where one may be.

    The lane falls, and half its bond is yours. Where nothing is wrong, it says where each receipt stands.
    Where a batch's file is withheld, its parts have to be asked for, on a budget.

    Example: tollway consumer prove receipt.json
    """
    auditor.Watched(receipts).look(book=False, budget=budget)


add_statement(app)
add_collect(app)


@app.command("withdraw")
def withdraw(
    relayer: Relayer = None,
    wait: Annotated[float, Option(help="Seconds to wait for the final batch.", min=0, max=MAX_WAIT)] = 0,
) -> None:
    """Withdraw what you have not spent: ask, wait until a later batch is final, receive. Run it again to continue."""
    leaving = deposits.Exit(here(), relayer)
    if not leaving.is_asked:
        leaving.check_depositor()
        output.confirm(f"ask lane {to_hex(leaving.lane)} to end, and to pay {here().wallet} what it has not spent?")
        output.note(f"asked to leave: transaction {leaving.ask()['transaction']}")
    with output.working("waiting for a final batch"):
        paid = output.wait_until(leaving.take, wait, 0.5)
    if paid is None:
        output.show({"status": "asked", "next": "run this again when a batch closed after the request is final"})
        return
    show_withdrawn(*paid)


def show_withdrawn(amount: int, sent: dict[str, object]) -> None:
    output.show({"status": "withdrawn", "amount": amounts.format(amount), "atoms": str(amount), **sent})


@app.command("cancel-withdraw")
def cancel_withdraw(relayer: Relayer = None) -> None:
    """Stay after all, before the notice of your request to leave is over."""
    leaving = deposits.Exit(here(), relayer)
    output.confirm(f"stay in lane {to_hex(leaving.lane)}?")
    output.show({"status": "stays", **leaving.stay()})


@app.command("escape")
def escape(relayer: Relayer = None) -> None:
    """Withdraw from a lane whose operator vanished: a week after you asked to leave, without a batch since."""
    leaving = deposits.Exit(here(), relayer)
    output.confirm(f"leave lane {to_hex(leaving.lane)} by the escape exit?")
    show_withdrawn(*leaving.escape())


@app.command("session-key")
def session_key(
    key: Annotated[str, Argument(help="The key that signs vouchers: a wallet or 0x address.")],
    revoke: Annotated[bool, Option("--revoke", help="Stop it, for good: a key is never set again.")] = False,
) -> None:
    """Let another key sign vouchers for this wallet, so that the wallet can stay offline."""
    party, chain = keystore.party(key), transactions.chain(here())
    known = chain.session_key(here().account, party)
    if known.revoked_at and not revoke:
        raise Rejected(f"{to_hex(party)} was revoked, for good: use a new key")
    if known.signs != revoke:
        output.show({"key": to_hex(party), "active": known.signs, "note": "no change"})
        return
    question = "stop {} from signing for {}, for good?" if revoke else "let {} sign for {}?"
    output.confirm(question.format(f"{key} ({to_hex(party)})", here().wallet))
    function = "revokeSessionKey" if revoke else "setSessionKey"
    sent = transactions.send(here(), chain.calls.to("Keys", function, party))
    output.show({"key": to_hex(party), "active": not revoke, **sent})
