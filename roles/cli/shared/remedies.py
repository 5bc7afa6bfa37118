"""What to type after an error: a command that can be pasted, by the error's code or the contract's own name for it."""

from ledger.core.values.errors import TollwayError
from roles.cli import amounts

KEY = "tollway consumer key, or tollway consumer use-key ID"
FAUCET = "on a local network: tollway wallet faucet"
BY_CODE = {
    "invalid_api_key": KEY,
    "missing_key": KEY,
    "payment_required": KEY,
    "no_key": KEY,
    "voucher_exhausted": "tollway consumer key",
    "key_budget_exhausted": "fewer --max-tokens, or tollway consumer change-key ID --budget AMOUNT",
    "model_not_allowed": "tollway consumer keys, then tollway consumer use-key ID",
    "rate_limited": "wait, or tollway consumer change-key ID --rate CALLS",
    "no_such_key": "tollway consumer keys",
    "no_such_model": "tollway consumer models",
    "model_not_found": "tollway consumer models",
    "no_such_receipt": "tollway consumer receipts",
    "no_such_batch": "tollway batch list",
    "no_such_webhook": "tollway webhook list",
    "too_many_webhooks": "tollway webhook delete ID",
    "webhook_disabled": "tollway webhook change ID --enable",
    "unknown_account": "tollway consumer deposit AMOUNT",
    "ERC20InsufficientBalance": FAUCET,
    "NotOwner": "the wallet that owns it: -w NAME",
}


def of(error: TollwayError) -> str:
    """What helps after an error; nothing where its message says it, or where nothing is known to help."""
    facts = error.facts
    if "rpc" in facts:
        return "tollway up, or another chain: --rpc URL"
    if "insufficient funds" in str(facts.get("reason", "")).lower():
        return f"{FAUCET} (it brings ETH for gas too)"
    code = str(facts.get("code") or facts.get("error") or "")
    if code == "wallet_balance":
        return f"{FAUCET} {amounts.typed(int(str(facts['short'])))} -w {facts['wallet']}"
    if code == "insufficient_balance":
        short = str(facts.get("shortfall", ""))
        return f"tollway consumer deposit {amounts.typed(int(short)) if short.isdecimal() else 'AMOUNT'}"
    return BY_CODE.get(code, "")
