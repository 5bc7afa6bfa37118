"""Accounts: a consumer's balance, deposits, credits and receipts; a payee's earnings."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from sqlmodel import Session

from gateway import bounds
from gateway.api.dependencies import Anybody, Asking, Here, party
from gateway.api.representations import noted, receipt_fields, receipt_id, shown_receipt, shown_terms
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import MAX_INT, CreditBody, DepositBody
from gateway.api.schemas.openapi import Typed
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import authorizations
from gateway.payment.auth import Caller, require
from gateway.payment.billing import Note
from ledger.core.accounts import accounts, permissions
from ledger.core.accounts.permissions import Act, Subject
from ledger.core.accounts.postings import Balance
from ledger.core.catalog.bids import Role, decode
from ledger.core.settlement.batches import PUBLIC
from ledger.core.values import atoms
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest, Lane, address, digest, to_hex
from ledger.core.values.typed_data import RECEIVE_TYPEHASH, TokenAuthorization, signed_by, signing_digest, word
from ledger.flows import credits, publications
from ledger.flows import leases as leasing
from ledger.store.access import deposits, leases, vouchers
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import receipts, terms
from ledger.store.receipts.receipts import Signed
from ledger.store.settlement import batches

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=Typed)


@router.get("/balance", response_model=answers.Balance)
async def balance(gateway: Here, caller: Asking) -> dict[str, Any]:
    """The account's balance: spendable, held by gateways, spent, and what its voucher allows. Only for the account, or
    a key with `manage`; another key sees its own budget at GET /v1/keys.
    """
    consumer = caller.consumer
    require(caller, Act.read_account, Subject(consumer))

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
            "spendable": str(means.spendable + leased),
            "spent": str(committed - leased),
            "voucher": str(vouchers.mandate(session, gateway.lane, consumer)),
            "deposited": str(known.deposited) if known else "0",
        }

    return await gateway.aside(read)


@router.post("/deposits", status_code=202, response_model=answers.Deposit)
async def ask_deposit(body: DepositBody, gateway: Here) -> dict[str, Any]:
    """Have a signed authorization relayed into the lane. Asking again changes nothing; without the account's signature
    nothing is stored.
    """
    deposit = _deposit_request(gateway, body, digest(body.salt), body.valid_after, body.valid_before)
    now = now_ms()
    if gateway.private:
        raise Refusal(400, "private_grid", "this is a private grid: its operator credits deposits")
    if deposit.amount == 0:
        raise Refusal(400, "invalid_deposit", "the authorization's value is 0")
    if body.valid_before <= now // 1000:
        raise Refusal(400, "invalid_deposit", f"the authorization has expired (validBefore {body.valid_before})")
    _check_signature(gateway, deposit)
    await gateway.aside(lambda session: deposits.request(session, deposit, now))
    return _requested(deposit)


def _check_signature(gateway: Gateway, deposit: DepositRequest) -> None:
    """Refuse an authorization that its account did not sign: the token would."""
    nonce = keccak256(word(deposit.lane), word(deposit.account), deposit.salt)
    window = (deposit.valid_after, deposit.valid_before)
    signed = TokenAuthorization(deposit.account, deposit.lane, deposit.amount, *window, nonce)
    digest = signing_digest(authorizations.token_domain(gateway), signed.hash(RECEIVE_TYPEHASH))
    if not signed_by(digest, deposit.signature, deposit.account):
        raise Refusal(401, "invalid_signature", "the authorization is not signed by its account", param="signature")


@router.post("/credits", status_code=202, response_model=answers.Deposit)
async def credit(body: CreditBody, gateway: Here) -> dict[str, Any]:
    """Credit a consumer of a private grid. The same reference again changes nothing; GET /v1/deposits/{id} shows it
    to the consumer.
    """
    if not gateway.private:
        raise Refusal(400, "not_private", "this lane has a chain: deposits are made there")
    deposit = replace(_deposit_request(gateway, body, digest(body.reference)), kind=credits.KIND)
    if deposit.amount == 0:
        raise Refusal(400, "invalid_credit", "a credit is of at least one atom", param="amount")
    await gateway.aside(lambda session: credits.request(session, deposit, gateway.domain, gateway.operator, now_ms()))
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


@router.get("/deposits/{deposit_id}", response_model=answers.Deposit)
async def show_deposit(
    deposit_id: Annotated[str, Path(pattern="^0x[0-9a-fA-F]{64}$")], gateway: Here, caller: Anybody
) -> dict[str, Any]:
    """A deposit's status: requested, sent, credited, or failed, with the reason. Only for its account, or a key of it
    with `manage`.
    """
    missing = Refusal(404, "no_such_deposit", f"there is no deposit {deposit_id} of yours")
    found = await gateway.aside(lambda session: deposits.get(session, gateway.lane, digest(deposit_id)))
    if found is None:
        raise missing
    require(caller, Act.read_account, Subject(found.account), hidden=missing)
    return _requested(found) | ({"reason": found.error} if found.error else {})


@router.get("/receipts", response_model=answers.Receipts)
async def list_receipts(
    gateway: Here,
    caller: Asking,
    consumer: str | None = None,
    before: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The account's receipts, newest first; for a key without `manage` those of its own calls. `before` (ms) pages
    back: while `has_more`, `before` of the answer is where the next page begins, which may be an empty one.
    """
    whose = Subject(party(consumer) if consumer is not None else caller.consumer)
    every = permissions.may(caller.asker, Act.read_account, whose)
    if not every and whose.account != caller.consumer:
        require(caller, Act.read_account, whose)

    def read(session: Session) -> tuple[list[Signed], int | None]:
        if not every:
            return receipts.of_key(session, gateway.lane, (caller.consumer, caller.key_id), before, limit)
        found = receipts.of_consumer(session, gateway.lane, whose.account, before, limit)
        return found, found[-1].receipt.ended_at if len(found) == limit else None

    found, earlier = await gateway.aside(read)
    rows = [{**receipt_fields(one.receipt), "id": receipt_id(one.receipt), "noted": noted(one)} for one in found]
    return {"object": "list", "data": rows, "has_more": earlier is not None, "before": earlier}


@router.get("/receipts/{receipt_id}", response_model=answers.Receipt)
async def show_receipt(
    receipt: Annotated[str, Path(alias="receipt_id")], gateway: Here, caller: Anybody
) -> dict[str, Any]:
    """One signed receipt by its call id, or by `gateway-seq`, with its terms, sub-calls and batch.

    `noted`, with the salt and the attempts, is shown to the account and to the key that made the call. To others a
    receipt is there once its batch is public, and without `noted`.
    """

    return await gateway.aside(lambda session: receipt_shown(session, gateway, caller, receipt))


def receipt_shown(session: Session, gateway: Gateway, caller: Caller | None, receipt: str) -> dict[str, Any]:
    """A receipt with its terms, sub-calls and batch, as a caller, None for a stranger, may see it. Refused with 404 if
    it is not there, or not for them.
    """
    found = find_receipt(session, gateway.lane, receipt)
    shown = _shown_to(session, gateway, caller, found) if found is not None else None
    if found is None or shown is None:
        raise Refusal(404, "no_such_receipt", f"there is no receipt {receipt!r}")
    body = terms.get(session, [found.receipt.terms])[found.receipt.terms]
    subs = receipts.children(session, gateway.lane, found.receipt.call_id)
    theirs = [_shown_to(session, gateway, caller, sub) for sub in subs]
    batch = batches.holding(session, gateway.lane, found.receipt.gateway, found.receipt.seq)
    return shown | {
        "terms": shown_terms(decode(body)) | {"body": to_hex(body)},
        "subs": [sub for sub in theirs if sub is not None],
        "batch": _place(batch) if batch is not None else None,
    }


def _place(batch: batches.Batch) -> dict[str, Any]:
    return {"number": batch.number, "status": batch.status.value, "public": batch.status in PUBLIC}


def _shown_to(session: Session, gateway: Gateway, caller: Caller | None, signed: Signed) -> dict[str, Any] | None:
    """A receipt as this caller may see it: whole, its signed fields, or not at all."""
    asker, key_id = caller.asker if caller is not None else None, Note.of(signed).key
    subject = Subject(signed.receipt.consumer, key_id)
    if permissions.may(asker, Act.read_receipt, subject):
        return shown_receipt(signed, gateway) | {"noted": noted(signed)}
    batch = batches.holding(session, gateway.lane, signed.receipt.gateway, signed.receipt.seq)
    if batch is None or batch.status not in PUBLIC or not permissions.may(asker, Act.read_public, subject):
        return None
    return shown_receipt(signed, gateway)


@router.get("/earnings/{payee}", response_model=answers.Earnings)
async def earnings(payee: str, gateway: Here, caller: Asking) -> dict[str, Any]:
    """A payee's earnings by role: earned, not yet settled, claimable and claimed. Only for the payee itself."""
    who = party(payee)
    require(caller, Act.read_account, Subject(who))

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

    return await gateway.aside(read)


def find_receipt(session: Session, lane: Lane, text: str) -> Signed | None:
    """A receipt by its call id, or by gateway and number; whoever may see it."""
    signer, dash, seq = text.partition("-")
    number = bounds.number(seq.encode())
    if dash and len(signer) == 42 and number is not None:
        return receipts.by_seq(session, lane, party(signer), number)
    if len(text) == 66:
        try:
            return receipts.by_call(session, lane, digest(text))
        except ValueError:
            return None
    return None
