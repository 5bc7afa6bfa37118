"""Money into a lane, and leave to spend it: a gasless deposit, and a voucher behind an API key.

A consumer does both to call; a weaver does both to stand for its all-or-nothing workflows.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.typed_data import Voucher
from roles.cli import output
from roles.cli.context import here
from roles.client.gateway import Json
from roles.wallet import home, signing, transactions

VALID_SECONDS = 3_600


def deposit(atoms: Atoms, wait_seconds: float) -> Json:
    """Sign an authorization, have the gateway relay it, wait until it is credited. Its last status."""
    lane, signer, gateway = int(here().lane["lane"]), here().signer, here().gateway
    after, before, salt = 0, good_until(), Digest(os.urandom(32))
    settlement = transactions.address_of("settlement")
    signature = signing.deposit_authorization(
        signer, transactions.token_domain(), settlement, lane, atoms, after, before, salt
    )
    said = gateway.post(
        "/v1/deposits",
        {
            "account": to_hex(signer.address),
            "amount": str(atoms),
            "valid_after": after,
            "valid_before": before,
            "salt": to_hex(salt),
            "signature": to_hex(signature),
        },
    )
    deadline = time.monotonic() + wait_seconds
    with output.working("waiting for the chain and the ledger"):
        while said["status"] not in ("credited", "failed") and time.monotonic() < deadline:
            time.sleep(0.2)
            said = gateway.get(f"/v1/deposits/{said['id']}")
    return said


def make_key(budget: Atoms | None, label: str) -> tuple[Json, Path, Atoms]:
    """An API key behind a voucher for the whole deposit, kept beside the wallet; and the most it may spend."""
    context, lane = here(), int(here().lane["lane"])
    ceiling = int(transactions.read("settlement", "accounts", lane, context.account)["deposited"])
    signer, domain = context.signer, context.domain

    def vouched(most: Atoms) -> dict[str, object]:
        return signing.voucher(signer, domain, Voucher(lane, context.account, most))

    body: dict[str, Any] = {"voucher": vouched(ceiling), "label": label or context.wallet}
    if budget is not None:
        body["budget"] = str(budget)
    try:
        made = context.gateway.post("/v1/keys", body)
    except Rejected as refused:
        if "cum_max" not in refused.facts:
            raise
        larger = vouched(int(str(refused.facts["cum_max"])) + 1)  # one is on record: only a larger one is news
        made = context.gateway.post("/v1/keys", {**body, "voucher": larger})
    path = home.home() / "keys" / context.wallet
    home.write_private(path, made["key"])
    return made, path, ceiling if budget is None else budget


def good_until() -> int:
    """Until when a signature is good: by the chain's clock and by the gateway's, whichever is ahead."""
    return max(transactions.now(), int(time.time())) + VALID_SECONDS
