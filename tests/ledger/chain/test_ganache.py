"""The contracts on a second chain: Ganache, whose newest opcodes are Shanghai's. `make ganache` installs and runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from tests.conftest import free_port, stop, wait_until_open
from tests.javascript import NODE
from tests.ledger.chain import test_life as life
from tests.ledger.chain.conftest import FUNDS, FUNDS_KEY

GANACHE = Path(__file__).parent / "ganache" / "node_modules" / "ganache" / "dist" / "node" / "cli.js"
WEI = 10**21

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GANACHE.exists(), reason="180 MB that nothing else needs: make ganache"),
]


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    port, people = free_port(), (FUNDS, life.OPERATOR, life.CONSUMER, life.PAYEE)
    secrets = (FUNDS_KEY, *(bytes(31) + bytes((n,)) for n in (1, 2, 3)))
    command = [
        str(NODE),
        str(GANACHE),
        "--server.port",
        str(port),
        "--chain.chainId",
        "1337",
    ]
    for secret in secrets:
        command += ["--wallet.accounts", f"0x{secret.hex()},{WEI}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port, process)
        url = f"http://127.0.0.1:{port}"
        made = Chain(url, deploy(url, FUNDS, Parameters(60), tmp_path))
        for who in people[1:]:
            made.transact(FUNDS, made.calls.transfer(who.address, 10**12))
            for taker in (made.calls.settlement, made.calls.consumers):
                made.transact(who, made.calls.approve(taker, 10**18))
        yield made
    finally:
        stop(process)


def test_a_lane_lives_from_bond_to_withdrawal_on_ganache(chain: Chain) -> None:
    life.test_a_lane_lives_from_bond_to_withdrawal(chain)


def test_a_refusal_is_told_in_the_contracts_words_on_ganache(chain: Chain) -> None:
    life.test_a_batch_that_does_not_add_up_is_refused_in_the_contracts_words(chain)
