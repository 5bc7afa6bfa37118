"""What the wallet's page has an account send is what the command line sends, to the byte. That its signatures are taken
is shown on a live network, by `tests/journey/test_console.py`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ledger.chain.calls import Calls
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.core.values.typed_data import request_digest, word
from tests.gateway.world import MAKER, a_deployment
from tests.javascript import BUNDLE, ROOT, evaluate, run

PROGRAM = Path(__file__).with_name("wallet_calls.mjs")
SIBLINGS = [Digest(bytes((n,)) * 32) for n in (1, 2, 3)]
SALT = Digest(b"\x05" * 32)
BODY = '{"label":"größer"}'


def test_the_wallets_page_sends_and_signs_what_the_command_line_does() -> None:
    deployment, account = a_deployment(), MAKER.address
    found = run(
        PROGRAM,
        BUNDLE.with_name("wallet.js"),
        told={
            "lane": {"lane": to_hex(PRIVATE_LANE), "deployment": asdict(deployment), "domain": {}, "chain_id": 1},
            "account": to_hex(account),
            "debit": {"cumulative": str(2**63 - 1), "proof": [to_hex(one) for one in SIBLINGS]},
            "payout": {"index": 7, "cumulative": "12", "proof": []},
            "deposit": {"amount": "5", "salt": to_hex(SALT), "validBefore": 9},
            "sent": {"method": "PATCH", "path": "/v1/keys/key_1", "body": BODY, "at": 1},
        },
    )
    calls = Calls(deployment)
    expected = [
        calls.to("Consumers", "requestWithdraw", PRIVATE_LANE),
        calls.to("Consumers", "cancelWithdraw", PRIVATE_LANE),
        calls.withdraw(PRIVATE_LANE, account, 2**63 - 1, SIBLINGS),
        calls.claim(PRIVATE_LANE, 7, account, 12, []),
    ]
    assert found["calls"] == [[to_hex(to), to_hex(data)] for to, data in expected]
    assert found["nonce"] == to_hex(keccak256(word(PRIVATE_LANE), word(account), SALT))
    assert found["digest"] == to_hex(request_digest("PATCH", b"/v1/keys/key_1", BODY.encode()))


def test_a_wallet_is_told_the_chain_of_what_it_sends() -> None:
    """It may be on another one when the reader clicks: then it refuses."""
    script = f"""
    globalThis.addEventListener = globalThis.dispatchEvent = () => {{}};
    const {{ Connection }} = await import({str(ROOT / "gateway/console/js/src/provider.js")!r});
    const asked = [];
    const request = async (one) => {{ asked.push(one); return one.params[0].to ? "0x01" : {{ status: "0x1" }}; }};
    const hash = await new Connection({{ request }}, "0xa").send(31337, "0xb", "0xc");
    console.log(JSON.stringify([hash, asked[0]]));
    """
    sent = {"from": "0xa", "to": "0xb", "data": "0xc", "chainId": "0x7a69"}
    assert evaluate(script) == ["0x01", {"method": "eth_sendTransaction", "params": [sent]}]
