"""Money into a lane and out of it: a gasless deposit, a voucher behind an API key, an exit.

A consumer does all of it to call; a weaver deposits as the bond of its all-or-nothing workflows.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ledger.core.settlement.batches import settles_exit
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.typed_data import Voucher
from roles.client import credentials
from roles.client.gateway import GatewayClient, Json
from roles.wallet import api_keys, keystore, signing, transactions
from roles.wallet.context import Context

VALID_SECONDS = 3_600


def deposit(context: Context, atoms: Atoms, wait_seconds: float) -> Json:
    """Sign an authorization, have the gateway relay it, wait until it is credited. Its last status."""
    from ledger.chain.calls import Authorization  # not imported by commands that ask only the gateway

    lane, signer, chain = context.lane_id, context.signer, transactions.chain(context)
    transactions.check_balance(context, atoms)
    signed = Authorization(lane, signer.address, atoms, 0, good_until(context), Digest(os.urandom(32)))
    signature = signing.deposit_authorization(signer, chain.deployment.token_domain, signed)
    window = {"valid_after": signed.valid_after, "valid_before": signed.valid_before}
    whose = {"account": to_hex(signed.account), "amount": str(signed.amount), "salt": to_hex(signed.salt)}
    said = context.gateway.post("/v1/deposits", {**whose, **window, "signature": to_hex(signature)})
    deadline = time.monotonic() + wait_seconds
    with context.working("waiting for the chain and the ledger"):
        while said["status"] not in ("credited", "failed") and time.monotonic() < deadline:
            time.sleep(0.2)
            said = context.account_gateway.get(f"/v1/deposits/{said['id']}")
    if said["status"] == "failed":
        raise Rejected(f"the deposit failed, and nothing was taken: {said.get('reason', 'no reason given')}", **said)
    return said


def deposit_directly(context: Context, atoms: Atoms) -> Json:
    """Deposit by the wallet's own transactions, without a gateway's help."""
    chain, lane = transactions.chain(context), context.lane_id
    transactions.allow(context, chain.calls.consumers, atoms)
    return {"status": "on chain", **transactions.send(context, chain.calls.deposit(lane, context.account, atoms))}


def make_key(context: Context, limits: Mapping[str, Any]) -> tuple[Json, Path, Atoms]:
    """An API key with these limits, behind a voucher for the whole deposit; its file; and the most it may spend.
    Calls are sent with it when the wallet has no other.
    """
    lane = context.lane_id
    ceiling = transactions.chain(context).account(lane, context.account).deposited
    body = {"label": context.wallet, **limits}
    vouched = credentials.voucher(context.signer, context.domain, Voucher(lane, context.account, ceiling))
    try:
        key = context.gateway.post("/v1/keys", {**body, "voucher": vouched})
    except Rejected as refused:
        if "cum_max" not in refused.facts:
            raise
        key = context.signed_gateway.post("/v1/keys", body)  # a voucher of as much is on record
    path = api_keys.keep(context.wallet, key["id"], key["key"])
    if api_keys.current(context.wallet) is None:
        api_keys.use(context.wallet, key["id"])
    return key, path, ceiling if key["budget"] is None else int(key["budget"])


def rotate_key(context: Context, id: str | None) -> tuple[Json, Path]:
    """Another secret for an API key that is kept beside the wallet, by default the current one, in its place."""
    wallet = context.wallet
    old = api_keys.secret(wallet, id)
    if old is None:
        raise Rejected(f"no secret of {f'key {id!r}' if id else 'a key'} is kept for {wallet}: tollway consumer keys")
    key = GatewayClient(context.url, old).post("/v1/keys/rotate", {})
    return key, api_keys.keep(wallet, key["id"], key["key"])


class Exit:
    """A consumer's way out of a lane: ask, wait for a final batch, receive. Each step is found on chain, so that any
    command can go on with it."""

    def __init__(self, context: Context, relayer: str | None) -> None:
        self._context = context
        self.lane = context.lane_id
        self.account = context.account
        self.payer = keystore.unlock(relayer) if relayer else None
        self.chain = transactions.chain(context)

    @property
    def is_asked(self) -> bool:
        """Whether the request is on chain."""
        return self.chain.account(self.lane, self.account).requested_at > 0

    def check_depositor(self) -> None:
        """Rejected when the wallet never deposited."""
        if not self.chain.account(self.lane, self.account).index:
            raise Rejected(
                f"{self._context.wallet} never deposited into lane {to_hex(self.lane)}", lane=to_hex(self.lane)
            )

    def ask(self, *, stay: bool = False) -> dict[str, object]:
        """Ask to leave, or to stay after all: by the wallet's own transaction, or signed for the relayer to send."""
        function = "cancelWithdraw" if stay else "requestWithdraw"
        calls, lane = self.chain.calls, self.lane
        if self.payer is None:
            return transactions.send(self._context, calls.to("Consumers", function, lane))
        nonce, until = int(self.chain.view("Consumers", "nonces", self.account)), good_until(self._context)
        signature = signing.leave(self._context.signer, self._context.domain, lane, nonce, until, stay=stay)
        call = calls.to("Consumers", f"{function}For", lane, self.account, until, signature)
        return transactions.send(self._context, call, signer=self.payer)

    def stay(self) -> dict[str, object]:
        """Take the request back. Rejected when there is none, or its notice is over: batches may have met it."""
        requested_at = self.chain.account(self.lane, self.account).requested_at
        if not requested_at:
            raise Rejected(f"{self._context.wallet} has not asked to leave lane {to_hex(self.lane)}")
        if transactions.now(self._context) > requested_at + self.chain.deployment.exit_notice_seconds:
            raise Rejected("the request stands once its notice is over: withdraw, then deposit again")
        return self.ask(stay=True)

    def take(self) -> tuple[int, dict[str, object]] | None:
        """Withdraw with the final debit, if a final batch settles it by now. Atoms received, and the transaction."""
        notice = self.chain.deployment.exit_notice_seconds
        requested_at = self.chain.account(self.lane, self.account).requested_at
        if not settles_exit(self.chain.head(self.lane).final_closed_at, requested_at, notice):
            return None
        return self._receive(escape=False)

    def escape(self) -> tuple[int, dict[str, object]]:
        """Leave a lane that closed no batch for the escape delay. Rejected, with the time, when it is too early."""
        head, account = self.chain.head(self.lane), self.chain.account(self.lane, self.account)
        if not account.requested_at:
            raise Rejected("ask to leave first: tollway consumer withdraw")
        if settles_exit(head.final_closed_at, account.requested_at, self.chain.deployment.exit_notice_seconds):
            raise Rejected("a final batch settles this exit: tollway consumer withdraw")
        if head.finalized + 1 != head.next:
            raise Rejected("a batch waits for its window: withdraw once it is final; anybody may finalize it")
        since = max(account.requested_at, head.final_closed_at)
        free_at = since + int(self.chain.settlement("ESCAPE_DELAY"))
        if transactions.now(self._context) < free_at:
            raise Rejected(f"the escape exit opens at {free_at} (seconds since 1970)", free_at=free_at)
        return self._receive(escape=True)

    def _receive(self, *, escape: bool) -> tuple[int, dict[str, object]]:
        debit, siblings = self._final_debit()
        before = self.chain.balance(self.account)
        call = self.chain.calls.withdraw(self.lane, self.account, debit, siblings, escape=escape)
        sent = transactions.send(self._context, call, signer=self.payer)
        return self.chain.balance(self.account) - before, sent

    def _final_debit(self) -> tuple[int, list[bytes]]:
        """The final debit and its proof. An account beyond the final tree was debited nothing, and needs no proof."""
        if self.chain.account(self.lane, self.account).index >> self.chain.head(self.lane).debit_height:
            return 0, []
        proof = self._context.gateway.get(f"/v1/proofs/debit/{to_hex(self.account)}")
        return int(proof["cumulative"]), [bytes.fromhex(word[2:]) for word in proof["proof"]]


def good_until(context: Context) -> int:
    """Until when a signature is good: by the chain's clock and by the gateway's, whichever is ahead."""
    return max(transactions.now(context), int(time.time())) + VALID_SECONDS
