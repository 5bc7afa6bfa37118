"""Credits: on a private grid, the operator's signed word that it holds money for a consumer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from gateway.api.accounts import Amount, Hex32, HexAddress, Strict
from gateway.api.requests import Here
from gateway.clock import now_ms
from gateway.errors import Refusal
from ledger.core.values import atoms
from ledger.core.values.ids import address, digest, to_hex
from ledger.flows import credits, publications
from ledger.store.access.deposits import DepositRequest

router = APIRouter(prefix="/v1", tags=["credits"])


class CreditBody(Strict):
    """`Credit(lane, account, amount, reference)`, signed by the operator."""

    account: HexAddress
    amount: Amount
    reference: Hex32
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")


@router.post("/credits", status_code=202)
async def credit(body: CreditBody, gateway: Here) -> dict[str, Any]:
    """Credit a consumer. The same reference again changes nothing; GET /v1/deposits/{id} says how far it is."""
    if not gateway.private:
        raise Refusal(400, "not_private", "this lane has a chain: deposits are made there")
    account, reference = address(body.account), digest(body.reference)
    amount = atoms.parse(body.amount)
    if amount == 0:
        raise Refusal(400, "invalid_credit", "a credit is of at least one atom", param="amount")
    made = DepositRequest(
        publications.deposit_id(gateway.lane, account, reference),
        gateway.lane,
        account,
        amount,
        0,
        0,
        reference,
        bytes.fromhex(body.signature[2:]),
        credits.KIND,
    )
    await gateway.db(lambda session: credits.request(session, made, gateway.domain, gateway.operator, now_ms()))
    return {"id": to_hex(made.id), "status": "requested", "amount": body.amount, "account": to_hex(account)}
