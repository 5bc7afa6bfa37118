"""The reference of errors: every code that the gateway refuses with, from its source, and what helps."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from docs.book.markdown import code, page, table
from gateway.errors import TYPES
from roles.cli.shared.remedies import BY_CODE

GATEWAY = Path(__file__).parents[2] / "gateway"
ADVICE = {
    "above_max_price": "Allow more, ask for fewer tokens, or take another model: `tollway consumer discover TASK`.",
    "answer_not_kept": "The call was made and charged, and its answer is gone. The receipt is in the message.",
    "body_cut": "Send the whole request again.",
    "body_too_large": "Send less: the message says how much is taken.",
    "body_too_slow": "Send it again, faster. Where a proxy stands between, let it buffer requests.",
    "bond_reached": "Wait until batches are final, or use another operator. The operator: `tollway operator add-bond`.",
    "chain_stale": "The gateway does not see new blocks, so it takes no calls. Its operator looks at the worker.",
    "client_abort": "You left before the end of a stream, and paid for what you got.",
    "client_left": "Nobody reads this: the client has gone, and nothing was charged.",
    "conflict": "The same id with other content, or a state that changed: read the message, look again, then repeat.",
    "draining": "This gateway ends. Send the request again; another one takes it.",
    "gateway_not_in_lane": "The operator adds the gateway's key: `tollway operator add-gateway ADDRESS`.",
    "glue_missing": "The workflow's WebAssembly is not here. Its weaver publishes it again: `tollway weaver publish`.",
    "head_too_large": "Send fewer or shorter headers.",
    "head_too_slow": "Send it again, faster.",
    "idempotency_mismatch": "An `Idempotency-Key` names one request. Use a new one for another request.",
    "in_progress": "The same call is being made. Ask again with the same `Idempotency-Key`.",
    "input_too_large": "Shorten the input, or take a model with more context.",
    "insufficient_balance": "`tollway consumer deposit AMOUNT`, or ask for less. The message says what is short.",
    "internal": "A fault of the gateway. Nothing was charged unless a receipt says so. Try again; tell its operator.",
    "invalid_address": "An address is 0x and 40 hex digits.",
    "invalid_api_key": "`tollway consumer keys` lists yours; `tollway consumer key` makes one.",
    "invalid_credentials": "Give the server's API key as `TOLLWAY_UPSTREAM_KEY`; the command does the rest.",
    "invalid_credit": "Credit at least one atom.",
    "invalid_deposit": "Sign a new authorization, of more than 0, that has not expired: `tollway consumer deposit`.",
    "invalid_encoding": "The body is not packed as its `Content-Encoding` says.",
    "invalid_header": "The message names the header and what it may say.",
    "invalid_json": "The body is not JSON, or is more than is read: the message says which.",
    "invalid_payment": "Sign the payment again with the stock client of x402 or MPP.",
    "invalid_realm": "A realm is `0xOWNER/NAME`, or a token that its owner signed: `tollway realm token`.",
    "invalid_referral": "Leave the token out, or ask its curator for a new one.",
    "invalid_request": "The message and `param` name the field, and what it may be.",
    "invalid_signature": "Sign it again with the right key; a signed request is good for a minute.",
    "invalid_url": "A webhook is an https URL whose host is public. The message says what this one is not.",
    "invalid_voucher": "Sign a voucher for this lane, by the account or by a session key of it.",
    "key_budget_exhausted": "Ask for less, or `tollway consumer change-key ID --budget AMOUNT`.",
    "lane_not_indexed": "The ledger does not know the lane yet. The operator looks at the worker.",
    "lane_stopped": "The lane is paused or fell. The operator: `tollway operator resume`. You can withdraw meanwhile.",
    "lease_ended": "Send it again: the gateway takes a new lease.",
    "method_not_allowed": "`Allow` in the answer says what the path takes.",
    "missing_key": "Send `Authorization: Bearer tw_...`. `tollway consumer key` makes a key.",
    "model_not_allowed": "The key is for other models: `tollway consumer keys`, then `tollway consumer use-key ID`.",
    "model_not_found": "`tollway consumer models` lists what there is. The message says the nearest names.",
    "no_proof": 'Read the batch\'s file: `tollway consumer verify ID`, or "Read the whole batch file" on the page.',
    "no_book": "The operator builds the book: `make docs`, and starts the gateway again.",
    "no_capacity": "All providers are busy. Try again.",
    "no_credentials": "The operator sets `GATEWAY_SECRET`.",
    "no_key": "Send the key that is to be rotated with the request.",
    "no_provider": "Nobody serves it now; the message says what is missing. Try again, or take another model.",
    "no_provider_fits": "Nobody serves it within the limits you set. Loosen them.",
    "no_such_batch": "`tollway batch list`",
    "no_such_deposit": "Only its account sees a deposit. Ask with the account's key.",
    "no_such_document": "Nothing was published under this id here.",
    "no_such_file": "A file of the console that this version does not have: load the page again.",
    "no_such_key": "`tollway consumer keys`",
    "no_such_model": "`tollway consumer models`",
    "no_such_page": "Begin at `/help/`.",
    "no_such_offer": "The offer has ended, or was never made: `tollway provider offer`.",
    "no_such_realm": "`tollway realm make NAME`; only its owner sees a realm.",
    "no_such_receipt": "`tollway consumer receipts`",
    "no_such_webhook": "`tollway webhook list`; a webhook is its account's alone.",
    "no_secret": "The operator sets `GATEWAY_SECRET`.",
    "no_such_route": "[HTTP](http.md) lists the paths.",
    "node_busy": "All nodes that were tried are busy. Try again after `Retry-After`.",
    "node_cancelled": "The call was cancelled while a node served.",
    "node_cut": "The node broke off. Send the request again; another node is drawn.",
    "node_error": "The node answered with an error. Send the request again.",
    "node_late": "No node answered in time. Send the request again, or ask for less.",
    "node_nonsense": "The node's answer could not be read. Send the request again.",
    "node_refused": "The node refuses the request; the message is the node's.",
    "node_timeout": "No node answered in time. Send the request again, or ask for less.",
    "node_too_long": "The answer is longer than can be passed on. Ask for less.",
    "node_unreachable": "No node could be reached. Send the request again.",
    "not_a_gateway": "Only gateways of a lane ask each other this.",
    "not_allowed": "The key lacks the right: `--manage` or `--delegate`, when it is made.",
    "not_private": "Credits are for private grids. Here, deposit: `tollway consumer deposit`.",
    "not_public": "A batch's file is public once the batch is on its way to the chain. Wait.",
    "nothing_final": "Wait until a batch that holds you is final.",
    "origin_not_allowed": "A page of another site may not ask this in a browser.",
    "overloaded": "Too much is open. Try again.",
    "payment_invalid": "The message says what is wrong with the payment. Sign a new one.",
    "payment_pending": "The payment is on its way. Send the same request with the same header again.",
    "payment_required": "Pay as the answer asks (x402 or MPP), or send an API key.",
    "price_infeasible": "The prices of its parts add up to none that can be paid. Its owner lowers a share.",
    "private_grid": "Its operator credits deposits: ask the operator.",
    "providers_down": "Every provider fails at the moment. Try again, or take another model.",
    "rate_limited": "Wait as `Retry-After` says. A key's own limit: `tollway consumer change-key ID --rate CALLS`.",
    "receipt_log_down": "The database does not store receipts, so no call is made. Try again.",
    "refused": "The message says why.",
    "rejected": "The message and `param` name the field, and what it may be.",
    "sent_before": "A signed request counts once. Sign it again.",
    "starting": "Try again in a second.",
    "too_deep": "Keys make sub-keys only so deep. Make the key with one further up.",
    "too_far_ahead": "Read answers before you send more on the connection.",
    "too_many_channels": "Pay by `exact`, or use the channel that is open.",
    "too_many_keys": "Revoke sub-keys that are not used: `tollway consumer revoke ID`.",
    "too_many_webhooks": "Delete one that is not used: `tollway webhook delete ID`.",
    "unknown_account": "`tollway consumer deposit AMOUNT`: an account that never paid in or earned gets no webhook.",
    "unavailable": "Not possible now. Try again.",
    "unknown_encoding": "Pack a body by gzip or deflate, or not at all.",
    "unsupported_parameter": "The model or its node does not do this. Leave the field out.",
    "unsupported_value": "The message names the field, and what it may be.",
    "upto_unavailable": "Pay by `exact`, or come back tomorrow. The operator looks at its key's budget a day.",
    "voucher_exhausted": "`tollway consumer key` signs a voucher for the deposit as it is now.",
    "voucher_not_larger": "Each voucher says a larger total than the one before.",
    "voucher_too_low": "Sign the total that the message says. Stock x402 clients with an RPC URL do so by themselves.",
    "weaver_bond": "The weaver adds to its deposit: `tollway weaver bond AMOUNT`. Or take another workflow.",
    "webhook_disabled": "`tollway webhook change ID --enable`, when its receiver answers again.",
    "workflow_failed": "A step failed; the message says which. What you paid is on the receipt.",
    "workflow_too_deep": "Workflows stand in each other too deep. Its weaver flattens it.",
    "workflow_too_large": "The workflow has too many steps. Its weaver splits it.",
    "wrong_protocol": "The model speaks another protocol: the message says which. Tensors: `tollway consumer infer`.",
}
"""What helps against each code. A code that is not here, or is here and in no source, breaks the build."""
ELSEWHERE = {
    "no_such_route": {404},
    "refused": {400},
    "insufficient_balance": {402},
    "voucher_exhausted": {402},
    "node_busy": {429, 503},
    **{
        name: {503}
        for name in ("bond_reached", "chain_stale", "gateway_not_in_lane", "lane_not_indexed", "lane_stopped")
    },
    **{
        f"node_{kind}": {502}
        for kind in ("cancelled", "cut", "error", "nonsense", "refused", "too_long", "unreachable")
    },
    "node_timeout": {504},
}
"""Codes whose refusals are put together from parts, and their statuses."""


def pages() -> dict[str, str]:
    """The one page. Rejected by a KeyError or an AssertionError when codes and advice differ."""
    codes = refusals()
    assert codes.keys() == ADVICE.keys(), f"advice is missing or stale: {codes.keys() ^ ADVICE.keys()}"
    rows = [(code(name), ", ".join(map(str, sorted(codes[name]))), ADVICE[name]) for name in sorted(codes)]
    kinds = [(status, code(kind)) for status, kind in TYPES.items()]
    return {
        "reference/errors.md": page(
            "Errors, and what to do",
            "An error says what is wrong and what helps. Its `code` never changes for the same cause, so a program may"
            " rely on it; the message is for people.",
            "Three kinds exist everywhere. **Rejected**: change the request. **Conflict**: a person should look."
            " **Unavailable**: the same request may work later, after `Retry-After` seconds if that is said.",
            "## Codes of the gateway",
            table(("code", "status", "what to do"), rows),
            "A failed call is not charged, with two exceptions that the table names: a stream that its reader left, and"
            " a workflow whose finished steps are paid for.",
            "## Types",
            "`type` is OpenAI's word for the status; above 499 it is `server_error`.",
            table(("status", "type"), kinds),
            "## On the command line",
            "`tollway` prints the message, and below it a command that helps. With `--json` that is `remedy`. The"
            " [exit code](cli.md#exit-codes) says the kind.",
            table(("code", "it says"), ((code(name), said) for name, said in sorted(BY_CODE.items()))),
            "Errors of the contracts are in [Contracts](contracts.md).",
        )
    }


def refusals() -> dict[str, set[int]]:
    """Each code with the statuses it comes with, from the gateway's source."""
    found: dict[str, set[int]] = defaultdict(set)
    for file in GATEWAY.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):  # of `Refusal`, or of what it is a base of
                match [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args[:2]]:
                    case [int(status), str(name)] if 400 <= status < 600:
                        found[name].add(status)
    for name, statuses in ELSEWHERE.items():
        found[name] |= statuses
    return dict(found)
