"""A consumer's own: keys, balance, deposits, receipts; and any payee's earnings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from gateway.api.representations import noted, receipt_fields, shown_receipt, shown_terms
from gateway.api.requests import MAX_INT, Asking, Here, party
from gateway.clock import now_ms
from gateway.errors import Refusal
from ledger.core.accounts import accounts
from ledger.core.catalog.bids import Role, decode
from ledger.core.values import atoms
from ledger.core.values.ids import address, digest, to_hex
from ledger.flows import leases as leasing
from ledger.flows import publications
from ledger.store.access import deposits, leases, vouchers
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import receipts, terms
from ledger.store.receipts.receipts import Signed

router = APIRouter(prefix="/v1", tags=["accounts"])

Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,18})$", description="whole atoms, as a decimal string")]
Hex32 = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{64}$")]
HexAddress = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
DepositId = Annotated[str, Path(pattern="^0x[0-9a-fA-F]{64}$")]


class Strict(BaseModel):
    """A body in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DepositBody(Strict):
    """An ERC-3009 receive authorization to relay: its nonce is keccak256(lane, account, salt)."""

    account: HexAddress
    amount: Amount
    valid_after: int = Field(ge=0, le=MAX_INT)
    valid_before: int = Field(ge=0, le=MAX_INT)
    salt: Hex32
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")


@router.get("/balance")
async def balance(gateway: Here, caller: Asking) -> dict[str, Any]:
    """What the caller can spend, what gateways hold of it, what it has spent, and what its voucher allows."""
    consumer = caller.consumer

    def read(session: Session) -> dict[str, Any]:
        means = leasing.means(session, gateway.lane, consumer)
        names = [accounts.available(consumer), accounts.withdrawing(consumer)]
        balances = postings.balances(session, names)
        leased = leasing.held_by_gateways(session, consumer)
        committed = leases.committed(session, gateway.lane, consumer)
        known = lanes.get_consumer(session, gateway.lane, consumer)
        return {
            "account": to_hex(consumer),
            "lane": gateway.lane,
            "available": str(balances[names[0]]),
            "leased": str(leased),
            "withdrawing": str(balances[names[1]]),
            "spendable": str(min(means.available, means.room) + leased),
            "spent": str(committed - leased),
            "voucher": str(vouchers.mandate(session, gateway.lane, consumer)),
            "deposited": str(known.deposited) if known else "0",
        }

    return await gateway.db(read)


@router.post("/deposits", status_code=202)
async def ask_deposit(body: DepositBody, gateway: Here) -> dict[str, Any]:
    """Have a signed authorization relayed into the lane. Asking again changes nothing."""
    account, salt = address(body.account), digest(body.salt)
    made = DepositRequest(
        publications.deposit_id(gateway.lane, account, salt),
        gateway.lane,
        account,
        atoms.parse(body.amount),
        body.valid_after,
        body.valid_before,
        salt,
        bytes.fromhex(body.signature[2:]),
    )
    now = now_ms()
    if gateway.private:
        raise Refusal(400, "private_grid", "this is a private grid: its operator credits deposits")
    if made.amount == 0 or body.valid_before <= now // 1000:
        raise Refusal(400, "invalid_deposit", "the authorization is of nothing, or has run out")
    await gateway.db(lambda session: publications.request_deposit(session, made, now))
    return {"id": to_hex(made.id), "status": "requested", "amount": body.amount, "account": to_hex(account)}


@router.get("/deposits/{deposit_id}")
async def show_deposit(
    deposit_id: Annotated[str, Path(pattern="^0x[0-9a-fA-F]{64}$")], gateway: Here
) -> dict[str, Any]:
    """How far a deposit has come: requested, sent, credited, or failed with why."""
    found = await gateway.db(lambda session: deposits.get(session, digest(deposit_id)))
    if found is None:
        raise Refusal(404, "no_such_deposit", f"there is no deposit {deposit_id}")
    shown = {
        "id": to_hex(found.id),
        "status": found.status,
        "account": to_hex(found.account),
        "amount": str(found.amount),
    }
    return shown | ({"reason": found.error} if found.error else {})


@router.get("/receipts")
async def list_receipts(
    gateway: Here,
    caller: Asking,
    consumer: str | None = None,
    before: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The caller's receipts, newest first; `before` (ms) pages back."""
    if consumer is not None and party(consumer) != caller.consumer:
        raise Refusal(403, "not_yours", "a key shows its own account's receipts")
    found = await gateway.db(lambda session: receipts.of_consumer(session, caller.consumer, before, limit))
    rows = [
        {**receipt_fields(s.receipt), "id": f"{to_hex(s.receipt.gateway)}-{s.receipt.seq}", "noted": noted(s)}
        for s in found
    ]
    return {"object": "list", "data": rows, "has_more": len(found) == limit}


@router.get("/receipts/{receipt_id}")
async def show_receipt(receipt_id: str, gateway: Here) -> dict[str, Any]:
    """One receipt by its call id, or by `gateway-seq`: signed, with its terms, its sub-calls and its batch.

    Whoever knows a call id may see its receipt: it holds digests and amounts, never prompts.
    """

    def read(session: Session) -> dict[str, Any] | None:
        found = _find(session, receipt_id)
        if found is None:
            return None
        shown = shown_receipt(found, gateway)
        body = terms.get(session, [found.receipt.terms])[found.receipt.terms]
        subs = receipts.children(session, found.receipt.call_id)
        return shown | {
            "terms": shown_terms(decode(body)) | {"body": to_hex(body)},
            "subs": [shown_receipt(sub, gateway) for sub in subs],
            "batch": _batch_of(session, gateway.lane, found),
        }

    shown = await gateway.db(read)
    if shown is None:
        raise Refusal(404, "no_such_receipt", f"there is no receipt {receipt_id!r}")
    return shown


@router.get("/earnings/{payee}")
async def earnings(payee: str, gateway: Here) -> dict[str, Any]:
    """What a payee has earned, by role, and how far it is from its pocket."""
    who = party(payee)

    def read(session: Session) -> dict[str, Any]:
        entries = {
            role: postings.entries(session, accounts.accrued(who, role)).get(accounts.accrued(who, role))
            for role in Role
        }
        claimable = postings.entries(session, accounts.claimable(who)).get(accounts.claimable(who))
        index = parties.index_of(session, who, gateway.lane)
        return {
            "payee": to_hex(who),
            "index": index,
            "roles": [
                {
                    "role": role.name,
                    "earned": str(entry.credits),
                    "unsettled": str(entry.credits - entry.debits),
                }
                for role, entry in entries.items()
                if entry is not None and entry.credits
            ],
            "earned": str(sum(entry.credits for entry in entries.values() if entry is not None)),
            "claimable": str(claimable.credits - claimable.debits) if claimable else "0",
            "claimed": str(claimable.debits) if claimable else "0",
        }

    return await gateway.db(read)


def _find(session: Session, receipt_id: str) -> Signed | None:
    head, dash, seq = receipt_id.partition("-")
    if dash and len(head) == 42 and seq.isdigit() and len(seq) < 19:
        return receipts.by_seq(session, party(head), int(seq))
    if len(receipt_id) == 66:
        try:
            return receipts.by_call(session, digest(receipt_id))
        except ValueError:
            return None
    return None


def _batch_of(session: Session, lane: int, found: Signed) -> dict[str, Any] | None:
    from ledger.store.settlement import batches

    held = batches.holding(session, lane, found.receipt.gateway, found.receipt.seq)
    return {"number": held.number, "status": held.status.value} if held else None
