"""Accounts: a consumer's balance, deposits, credits and receipts; a payee's earnings."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from sqlmodel import Session

from gateway.api.dependencies import Asking, Here, party
from gateway.api.representations import noted, receipt_fields, receipt_id, shown_receipt, shown_terms
from gateway.api.schemas import MAX_INT, CreditBody, DepositBody
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from ledger.core.accounts import accounts
from ledger.core.accounts.postings import Balance
from ledger.core.catalog.bids import Role, decode
from ledger.core.values import atoms
from ledger.core.values.ids import Digest, Lane, address, digest, to_hex
from ledger.flows import credits, publications
from ledger.flows import leases as leasing
from ledger.store.access import deposits, leases, vouchers
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import receipts, terms
from ledger.store.receipts.receipts import Signed
from ledger.store.settlement import batches

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/balance")
async def balance(gateway: Here, caller: Asking) -> dict[str, Any]:
    """The caller's balance: spendable, held by gateways, spent, and what its voucher allows."""
    consumer = caller.consumer

    def read(session: Session) -> dict[str, Any]:
        means = leasing.means(session, gateway.lane, consumer)
        available, withdrawing = accounts.available(consumer), accounts.withdrawing(consumer)
        balances = postings.balances(session, gateway.lane, [available, withdrawing])
        leased = leasing.held_by_gateways(session, gateway.lane, consumer)
        committed = leases.committed(session, gateway.lane, consumer)
        known = lanes.get_consumer(session, gateway.lane, consumer)
        return {
            "account": to_hex(consumer),
            "lane": to_hex(gateway.lane),
            "available": str(balances[available]),
            "leased": str(leased),
            "withdrawing": str(balances[withdrawing]),
            "spendable": str(min(means.available, means.room) + leased),
            "spent": str(committed - leased),
            "voucher": str(vouchers.mandate(session, gateway.lane, consumer)),
            "deposited": str(known.deposited) if known else "0",
        }

    return await gateway.db(read)


@router.post("/deposits", status_code=202)
async def ask_deposit(body: DepositBody, gateway: Here) -> dict[str, Any]:
    """Have a signed authorization relayed into the lane. Asking again changes nothing."""
    deposit = _deposit_request(gateway, body, digest(body.salt), body.valid_after, body.valid_before)
    now = now_ms()
    if gateway.private:
        raise Refusal(400, "private_grid", "this is a private grid: its operator credits deposits")
    if deposit.amount == 0:
        raise Refusal(400, "invalid_deposit", "the authorization's value is 0")
    if body.valid_before <= now // 1000:
        raise Refusal(400, "invalid_deposit", f"the authorization has expired (validBefore {body.valid_before})")
    await gateway.db(lambda session: deposits.request(session, deposit, now))
    return _requested(deposit)


@router.post("/credits", status_code=202)
async def credit(body: CreditBody, gateway: Here) -> dict[str, Any]:
    """Credit a consumer of a private grid. The same reference again changes nothing; GET /v1/deposits/{id} shows it."""
    if not gateway.private:
        raise Refusal(400, "not_private", "this lane has a chain: deposits are made there")
    deposit = replace(_deposit_request(gateway, body, digest(body.reference)), kind=credits.KIND)
    if deposit.amount == 0:
        raise Refusal(400, "invalid_credit", "a credit is of at least one atom", param="amount")
    await gateway.db(lambda session: credits.request(session, deposit, gateway.domain, gateway.operator, now_ms()))
    return _requested(deposit)


def _deposit_request(
    gateway: Gateway, body: DepositBody | CreditBody, salt: Digest, valid_after: int = 0, valid_before: int = 0
) -> DepositRequest:
    account = address(body.account)
    return DepositRequest(
        id=publications.deposit_id(gateway.lane, account, salt),
        lane=gateway.lane,
        account=account,
        amount=atoms.parse(body.amount),
        valid_after=valid_after,
        valid_before=valid_before,
        salt=salt,
        signature=bytes.fromhex(body.signature[2:]),
    )


def _requested(deposit: DepositRequest) -> dict[str, Any]:
    return {
        "id": to_hex(deposit.id),
        "status": deposit.status,
        "amount": str(deposit.amount),
        "account": to_hex(deposit.account),
    }


@router.get("/deposits/{deposit_id}")
async def show_deposit(
    deposit_id: Annotated[str, Path(pattern="^0x[0-9a-fA-F]{64}$")], gateway: Here
) -> dict[str, Any]:
    """A deposit's status: requested, sent, credited, or failed, with the reason."""
    found = await gateway.db(lambda session: deposits.get(session, gateway.lane, digest(deposit_id)))
    if found is None:
        raise Refusal(404, "no_such_deposit", f"there is no deposit {deposit_id}")
    return _requested(found) | ({"reason": found.error} if found.error else {})


@router.get("/receipts")
async def list_receipts(
    gateway: Here,
    caller: Asking,
    consumer: str | None = None,
    before: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The caller's receipts, newest first. `before` (ms) pages back."""
    if consumer is not None and party(consumer) != caller.consumer:
        raise Refusal(403, "not_yours", "an API key can only read its own account's receipts")
    found = await gateway.db(
        lambda session: receipts.of_consumer(session, gateway.lane, caller.consumer, before, limit)
    )
    rows = [{**receipt_fields(one.receipt), "id": receipt_id(one.receipt), "noted": noted(one)} for one in found]
    return {"object": "list", "data": rows, "has_more": len(found) == limit}


@router.get("/receipts/{receipt_id}")
async def show_receipt(receipt: Annotated[str, Path(alias="receipt_id")], gateway: Here) -> dict[str, Any]:
    """One signed receipt by its call id, or by `gateway-seq`, with its terms, sub-calls and batch.

    Anybody who knows a call id may see its receipt: it has digests and amounts, never prompts.
    """

    def read(session: Session) -> dict[str, Any]:
        found = _find(session, gateway.lane, receipt)
        if found is None:
            raise Refusal(404, "no_such_receipt", f"there is no receipt {receipt!r}")
        shown = shown_receipt(found, gateway)
        body = terms.get(session, [found.receipt.terms])[found.receipt.terms]
        batch = batches.holding(session, gateway.lane, found.receipt.gateway, found.receipt.seq)
        subs = receipts.children(session, gateway.lane, found.receipt.call_id)
        return shown | {
            "terms": shown_terms(decode(body)) | {"body": to_hex(body)},
            "subs": [shown_receipt(sub, gateway) for sub in subs],
            "batch": {"number": batch.number, "status": batch.status.value} if batch else None,
        }

    return await gateway.db(read)


@router.get("/earnings/{payee}")
async def earnings(payee: str, gateway: Here) -> dict[str, Any]:
    """A payee's earnings by role: earned, not yet settled, claimable and claimed."""
    who = party(payee)

    def read(session: Session) -> dict[str, Any]:
        def entry(account: str) -> Balance:
            return postings.entries(session, gateway.lane, account).get(account, Balance())

        roles = {role.name: entry(accounts.accrued(who, role)) for role in Role}
        claimable = entry(accounts.claimable(who))
        return {
            "payee": to_hex(who),
            "index": parties.index_of(session, who, gateway.lane),
            "roles": [
                {"role": role, "earned": str(one.credits), "unsettled": str(one.credits - one.debits)}
                for role, one in roles.items()
                if one.credits
            ],
            "earned": str(sum(one.credits for one in roles.values())),
            "claimable": str(claimable.credits - claimable.debits),
            "claimed": str(claimable.debits),
        }

    return await gateway.db(read)


def _find(session: Session, lane: Lane, text: str) -> Signed | None:
    signer, dash, seq = text.partition("-")
    if dash and len(signer) == 42 and seq.isdigit() and len(seq) < 19:
        return receipts.by_seq(session, lane, party(signer), int(seq))
    if len(text) == 66:
        try:
            return receipts.by_call(session, lane, digest(text))
        except ValueError:
            return None
    return None
