"""`tollway consumer`: deposit once, call any model, check every charge, take the rest back."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from ledger.core.values.ids import to_hex
from roles.audit import statements, verification
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import calls
from roles.wallet import deposits

app = Group("Deposit once, call any model, check every charge, take the rest back.")

Amount = Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")]


@app.verb("deposit")
def deposit(
    amount: Amount, wait: Annotated[float, typer.Option(help="Seconds to wait until it can be spent.")] = 60
) -> None:
    """Deposit AIC into the gateway's lane, without gas: you sign an authorization, the gateway relays it."""
    atoms = amounts.typed(amount)
    output.confirm(f"deposit {amounts.said(atoms)} of {here().wallet} into lane {here().lane['lane']}?")
    said = deposits.deposit(atoms, wait)
    output.tell({"deposit": amounts.said(atoms), "atoms": str(atoms), **said})
    if said["status"] != "credited":
        output.remark(f"look again: tollway consumer deposited {said['id']}")


@app.verb("deposited")
def deposited(id: Annotated[str, typer.Argument(help="What `deposit` answered.")]) -> None:
    """How far a deposit has come."""
    output.tell(here().gateway.get(f"/v1/deposits/{id}"))


@app.verb("key")
def key(
    budget: Annotated[str | None, typer.Option(help="The most it may ever spend; default: all of the deposit.")] = None,
    label: Annotated[str, typer.Option(help="To know it by.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Print the key itself.")] = False,
) -> None:
    """Make an API key for any OpenAI client: you sign a voucher as its budget. Kept beside the wallet."""
    made, path, ceiling = deposits.make_key(amounts.typed(budget) if budget else None, label)
    shown = {"key": made["key"]} if show or output.speech.json else {"kept_in": str(path)}
    output.tell({"id": made["id"], **shown, "spends_at_most": amounts.said(ceiling)})
    output.remark(f'with the stock client: OpenAI(base_url="{here().url}/v1", api_key=open("{path}").read())')


@app.verb("keys")
def keys() -> None:
    """Your API keys, without their secrets."""
    rows = here().gateway.get("/v1/keys").get("data", [])
    output.tabulate(rows if output.speech.json else [calls.key_row(row) for row in rows])


@app.verb("revoke")
def revoke(id: Annotated[str, typer.Argument(help="A key's id.")]) -> None:
    """End an API key. Revoking twice changes nothing."""
    output.tell(here().gateway.delete(f"/v1/keys/{id}"))


@app.verb("models")
def models() -> None:
    """What can be called here."""
    output.tabulate([calls.model_row(row) for row in here().gateway.get("/v1/models")["data"]])


@app.verb("call")
def call(
    model: Annotated[str, typer.Argument(help="@org/name or an id.")],
    text: Annotated[str, typer.Argument(help="What to say to it.")],
    stream: Annotated[bool, typer.Option("--stream", help="Print as it comes.")] = False,
    max_tokens: Annotated[int, typer.Option(help="The most it may answer.")] = 256,
    max_price: Annotated[str | None, typer.Option(help="Refuse to pay more.")] = None,
    referral: Annotated[str | None, typer.Option(help="A curator's token.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 60,
) -> None:
    """Call a chat model or a workflow, and pay for it."""
    headers = calls.headers(max_price=max_price, referral=referral)
    output.tell(calls.chat(here(), model, text, stream=stream, max_tokens=max_tokens, headers=headers, seconds=timeout))


@app.verb("infer")
def infer(
    model: Annotated[str, typer.Argument(help="@org/name or an id.")],
    inputs: Annotated[list[str], typer.Argument(help="NAME=TEXT for each input tensor.")],
) -> None:
    """Call a model that takes tensors (Open Inference Protocol v2), with text inputs."""
    output.tell(calls.infer(here(), model, inputs))


@app.verb("quote")
def quote(
    model: Annotated[str, typer.Argument(help="@org/name or an id.")],
    meters: Annotated[list[str] | None, typer.Argument(help="METER=UNITS it may use.")] = None,
) -> None:
    """What a call would cost, to the last line."""
    calls.show_quote(here().gateway.post("/v1/quote", {"model": model, "meters": calls.units(meters or ["call=1"])}))


@app.verb("discover")
def discover(
    task: Annotated[str, typer.Argument(help="text-generation, text-classification, retrieval, ...")],
    meters: Annotated[list[str] | None, typer.Option("--meter", help="METER=UNITS you expect to use.")] = None,
    max_price: Annotated[str | None, typer.Option(help="In AIC or atoms.")] = None,
) -> None:
    """Find models for a task, priced."""
    expected = calls.units(meters or ["call=1", "input_token=100", "output_token=100"])
    body: dict[str, Any] = {"task": task, "meters": expected}
    if max_price:
        body["max_price"] = str(amounts.typed(max_price))
    said = here().gateway.post("/v1/discover", body)
    rows = said["results"] if output.speech.json else [calls.found_row(row) for row in said["results"]]
    output.tabulate(rows, empty=calls.why_nothing(said.get("diagnostic") or {}))


@app.verb("balance")
def balance() -> None:
    """What you can spend, what is reserved, what you have spent."""
    output.tell(here().gateway.get("/v1/balance"))


@app.verb("receipts")
def receipts(limit: Annotated[int, typer.Option(help="How many.")] = 20) -> None:
    """Your latest receipts."""
    said = here().gateway.get("/v1/receipts", consumer=to_hex(here().account), limit=limit)
    output.tabulate([calls.receipt_row(row) for row in said["data"]])


@app.verb("receipt")
def receipt(id: Annotated[str, typer.Argument(help="From the header Tollway-Receipt, or a call id.")]) -> None:
    """One receipt, as the gateway signed it."""
    output.tell(here().gateway.get(f"/v1/receipts/{id}"))


@app.verb("verify")
def verify(id: Annotated[str, typer.Argument(help="A receipt's or a call's id.")]) -> None:
    """Check one charge yourself: signature, price from the bids, place in its batch, batch on chain."""
    output.tell(verification.receipt(here(), id))


@app.verb("statement")
def statement(form: Annotated[str, typer.Option("--as", help="table, json, csv or beancount.")] = "table") -> None:
    """Every movement of your money in this lane."""
    statements.show(here(), form)


@app.verb("withdraw")
def withdraw(
    relayer: Annotated[str | None, typer.Option(help="A wallet that pays the gas; you only sign.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the final batch.")] = 0,
) -> None:
    """Leave the lane with what you have not spent: ask, wait for a final batch, receive. Run it again to go on."""
    leaving = deposits.Exit(relayer)
    if not leaving.is_asked:
        leaving.check_depositor()
        output.confirm(f"ask lane {leaving.lane} to end, and to pay {here().wallet} what it has not spent?")
        output.remark(f"asked to leave: transaction {leaving.ask().hash}")
    deadline = time.monotonic() + wait
    paid = leaving.take()
    while paid is None and time.monotonic() < deadline:
        with output.working("waiting for a final batch"):
            time.sleep(0.5)
        paid = leaving.take()
    if paid is None:
        output.tell({"status": "asked", "next": "run this again when a batch closed after the request is final"})
        return
    amount, sent = paid
    output.tell({"status": "withdrawn", "amount": amounts.said(amount), "atoms": str(amount), **sent.facts})
