"""What each act costs in gas, from receipts on Anvil's default hardfork: `make gas` writes the snapshot.

`--check` compares instead, and fails when an act costs over 1 % more than contracts/snapshots/gas.json says. Acts are
measured in a lane of 20 payees and 100 consumers (but for the claims that name their own) that has lived: its ring of
headers is full, its roots are set, a payee has claimed before. A first time costs 17,100 more for each slot that goes
from zero.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.chain import a_chain
from ledger.chain.calls import Authorization, words
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement.header import EMPTY_HEADER, Header
from ledger.core.settlement.transactions import Call
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, address, to_hex
from ledger.core.values.sum_tree import DEBIT_TAG, PAYOUT_TAG, Tree, Word, leaf
from ledger.core.values.typed_data import Domain, Signer, Voucher, signing_digest, voucher_hash, word
from tests.rates import asks

Figures = dict[str, int | float]

SNAPSHOT = Path(__file__).resolve().parent.parent / "contracts" / "snapshots" / "gas.json"
TOLERANCE_PERCENT = 1
FUNDS = Signer(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
WINDOW = 86_400
ANSWER = 3_600
FEE = 10**15
RECEIVE = keccak256(
    b"ReceiveWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


def key(number: int) -> Signer:
    """The account of a small private key."""
    return Signer(number.to_bytes(32, "big"))


def party(number: int) -> Address:
    """An address nobody holds the key of, full of non-zero bytes."""
    return Address(keccak256(b"party", number.to_bytes(4, "big"))[:20])


@dataclass
class Lane:
    """A lane and its trees, in which every payee has earned the same, and every consumer spent the same."""

    chain: Chain
    id: Address
    operator: Signer
    payees: list[Address]
    consumers: list[Address]
    last: Header = EMPTY_HEADER
    posted: int = 0

    def trees(self, unit: int) -> tuple[Tree, Tree]:
        """Payouts and debits after each payee has earned `unit` from each consumer."""
        payouts = _tree(PAYOUT_TAG, self.payees, unit * len(self.consumers))
        debits = _tree(DEBIT_TAG, self.consumers, unit * len(self.payees))
        return payouts, debits

    def next(self, unit: int) -> Header:
        """The header of a batch after which the trees are those of `unit`."""
        payouts, debits = self.trees(unit)
        charged = payouts.total - int.from_bytes(self.last.payout_root[24:], "big")
        return Header(
            prev=self.last.hash if self.posted else ZERO_DIGEST,
            receipts_root=_noise("receipts", charged, self.posted),
            payout_root=Digest(payouts.root),
            debit_root=Digest(debits.root),
            lines_root=_noise("lines", 2 * charged, self.posted),
            book_root=_noise("book", 1, self.posted),
            receipt_logs=keccak256(b"journals", self.posted.to_bytes(4, "big")),
            data_ref=keccak256(b"data", self.posted.to_bytes(4, "big")),
            first_call=self.last.first_call + self.last.calls,
            calls=10_000,
            epoch=500_000,
        )

    def commit(self, header: Header, finalize: Header | None = None) -> int:
        """Post it, and finalize the oldest pending one. Returns gas."""
        calls = self.chain.calls
        final = self.chain.head(self.id).finalized + 1
        call = calls.commit(self.id, header, final, finalize) if finalize else calls.commit(self.id, header)
        used = self.chain.transact(self.operator, call).gas_used
        self.last, self.posted = header, self.posted + 1
        return used

    def settle(self, unit: int) -> Tree:
        """A final batch with the trees of `unit`. Returns its payout tree."""
        self.commit(self.next(unit))
        self.chain.transact(FUNDS, self.chain.calls.finalize(self.id, self.posted, self.last))
        return self.trees(unit)[0]


def measure(url: str, folder: Path) -> Figures:
    """Every figure of the snapshot."""
    chain = Chain(url, deploy(url, FUNDS, Parameters(3_600), folder))
    gas: Figures = {}
    _batches(chain, gas)
    _claims(chain, gas)
    _consumers(chain, gas)
    _disputes(chain, gas)
    _markets(chain, gas)
    per_batch = gas["commit_finalize"] + 20 * gas["claim_range_20_per_payee"]
    gas["per_call_10k_calls_100_consumers_20_payees"] = round(per_batch / 10_000, 3)
    gas["per_call_1m_calls_1000_consumers_20_payees"] = round(per_batch / 1_000_000, 4)
    return gas


def a_lane(chain: Chain, operator: int, window: int, payees: int, consumers: int) -> Lane:
    """A lane with one deposit that covers everything, and parties to fill its trees."""
    signer = key(operator)
    _fund(chain, signer)
    chain.transact(signer, chain.calls.open_lane(window, ANSWER, 10**12))
    lane = chain.lane_of(signer.address)
    assert lane is not None, "it was just opened"
    chain.transact(signer, chain.calls.deposit(lane, signer.address, 9 * 10**15))
    who = [signer.address, *(party(10_000 + n) for n in range(1, consumers))]
    return Lane(chain, lane, signer, [party(n) for n in range(payees)], who)


def _batches(chain: Chain, gas: Figures) -> None:
    lane = a_lane(chain, 11, 0, 20, 100)
    for unit in range(1, 259):  # the ring turns once
        lane.commit(lane.next(unit), lane.last if lane.posted else None)
    chain.transact(FUNDS, chain.calls.finalize(lane.id, lane.posted, lane.last))
    gas["commit"] = lane.commit(lane.next(300))
    gas["commit_finalize"] = lane.commit(lane.next(400), lane.last)


def _claims(chain: Chain, gas: Figures) -> None:
    for number, payees in enumerate((20, 100)):
        lane = a_lane(chain, 21 + number, 0, payees, 1)
        for unit in (10**6, 2 * 10**6):  # the second time: accounts exist, slots are in use
            tree = lane.settle(unit)
            rows = [(who, unit) for who in lane.payees]
            call = chain.calls.claim_range(lane.id, 1, tree.height, rows, tree.range_proof(1, payees))
            gas[f"claim_range_{payees}_per_payee"] = chain.transact(FUNDS, call).gas_used // payees
    for number, payees in enumerate((1_000, 100_000)):
        lane = a_lane(chain, 31 + number, 0, payees, 1)
        index = payees // 3
        for unit in (10**6, 2 * 10**6):
            tree = lane.settle(unit)
            call = chain.calls.claim(lane.id, index, lane.payees[index - 1], unit, tree.proof(index))
            gas[f"claim_{payees}"] = chain.transact(FUNDS, call).gas_used


def _consumers(chain: Chain, gas: Figures) -> None:
    lane = a_lane(chain, 12, 0, 20, 100)
    consumer, signer = key(13), Signer((13).to_bytes(32, "big"))
    _fund(chain, consumer)
    for name in ("deposit_authorization_first", "deposit_authorization_top_up"):
        gas[name] = chain.transact(FUNDS, _authorized(chain, lane.id, signer, name)).gas_used
    lane.consumers[1] = signer.address  # it deposited second
    lane.settle(10)
    gas["request_withdraw"] = chain.transact(consumer, chain.calls.request_withdraw(lane.id)).gas_used
    chain.rpc("evm_increaseTime", 10)
    lane.settle(20)
    debits = lane.trees(20)[1]
    call = chain.calls.withdraw(lane.id, signer.address, 20 * 20, debits.proof(2))
    gas["withdraw"] = chain.transact(FUNDS, call).gas_used


def _disputes(chain: Chain, gas: Figures) -> None:
    to, accuser = chain.calls.to_settlement, key(14)
    _fund(chain, accuser)
    lane = a_lane(chain, 15, WINDOW, 20, 100)
    lane.commit(lane.next(10))
    payouts, debits = lane.trees(10)
    header, consumer, debit = words(lane.last), lane.consumers[0], 10 * 20
    claim = (lane.id, 1, header, 1, consumer, debit, debits.proof(1))
    gas["challenge_debit"] = chain.transact(accuser, to("challengeDebit", *claim), FEE).gas_used
    domain = Domain(chain.deployment.chain_id, chain.calls.settlement)
    operator = Signer((15).to_bytes(32, "big"))
    signature = operator.sign(signing_digest(domain, voucher_hash(Voucher(lane.id, consumer, 10**15))))
    answer = to("answerDebit", lane.id, 1, 1, consumer, debit, 10**15, signature)
    gas["answer_debit"] = chain.transact(lane.operator, answer).gas_used
    node, index, proof = payouts.levels[2][3], 3, payouts.proof(12)[2:]
    demand = to("demandNode", lane.id, 1, header, 1, node, index, proof)
    gas["demand_node"] = chain.transact(accuser, demand, FEE).gas_used
    left, right = payouts.levels[1][6], payouts.levels[1][7]
    answer = to("answerNode", lane.id, 1, 1, node, index, len(proof), left, right)
    gas["answer_node"] = chain.transact(lane.operator, answer).gas_used
    gas["prove_bad_sum"] = chain.transact(accuser, _bad_sum(chain, lane)).gas_used
    gas["prove_overdraft"] = chain.transact(accuser, _overdraft(chain)).gas_used


def _bad_sum(chain: Chain, lane: Lane) -> Call:
    """A batch whose payout tree has an inner node one atom too large, with everything above it made to fit."""
    payouts, _ = lane.trees(10)
    left, right, proof = payouts.levels[1][6], payouts.levels[1][7], payouts.proof(12)[2:]
    lie = _plus(payouts.levels[2][3], 1)
    root, index = lie, 3
    for sibling in proof:
        root = Digest(Tree.build((sibling, root) if index & 1 else (root, sibling)).root)
        index >>= 1
    forged = replace(lane.next(10), payout_root=root, debit_root=_plus(lane.last.debit_root, 1))
    forged = replace(forged, receipts_root=_noise("receipts", 1, 1), lines_root=_noise("lines", 2, 1))
    lane.commit(forged)
    return chain.calls.to_settlement("proveBadSum", lane.id, 2, words(forged), 1, lie, left, right, 3, proof)


def _overdraft(chain: Chain) -> Call:
    lane = a_lane(chain, 16, WINDOW, 20, 100)
    lane.commit(lane.next(10))  # 99 of the consumers never deposited
    accused = (lane.consumers[30], 10 * 20, lane.trees(10)[1].proof(31))
    return chain.calls.to("Referee", "proveOverdraft", lane.id, 1, words(lane.last), 31, accused)


def _markets(chain: Chain, gas: Figures) -> None:
    calls, maker = chain.calls, key(17)
    _fund(chain, maker)
    chain.transact(maker, calls.approve(address(chain.deployment.stake_vault), 2**256 - 1))
    models = [keccak256(b"parent"), keccak256(b"child")]
    for number, model in enumerate(models):
        salt = keccak256(b"salt", bytes([number]))
        chain.transact(maker, calls.to("Registry", "commitModel", keccak256(model, word(maker.address), salt)))
        reveal = calls.register_model(model, models[:number], keccak256(b"terms"), salt)
        gas["register_model"] = chain.transact(maker, reveal).gas_used
    for inputs, outputs in ((150_000, 600_000), (140_000, 600_000), (160_000, 610_000)):
        ask = asks(input_token=inputs, output_token=outputs)
        gas["place_bid"] = chain.transact(maker, calls.place_bid(models[0], Role.compute, Bid(0, ask))).gas_used
    for _ in range(2):
        gas["stake_more"] = chain.transact(maker, calls.to("StakeVault", "stake", 5_000_000)).gas_used
    for _ in range(2):
        gas["unbond"] = chain.transact(maker, calls.to("StakeVault", "unbond", 1_000)).gas_used


def _authorized(chain: Chain, lane: Address, signer: Signer, name: str) -> Call:
    salt, before = keccak256(name.encode()), int(time.time()) + 10**8
    nonce = keccak256(word(lane), word(signer.address), salt)
    fields = (word(signer.address), word(chain.calls.settlement), word(10**9), word(0), word(before), nonce)
    domain = Domain(chain.deployment.chain_id, chain.calls.token, "AI Coin", "1")
    signature = signer.sign(signing_digest(domain, keccak256(RECEIVE, *fields)))
    asked = Authorization(lane, signer.address, 10**9, 0, before, salt)
    return chain.calls.deposit_with_authorization(asked, signature)


def _fund(chain: Chain, who: Signer) -> None:
    chain.rpc("anvil_setBalance", to_hex(who.address), hex(10**21))
    chain.transact(FUNDS, chain.calls.transfer(who.address, 10**16))
    chain.transact(who, chain.calls.approve(chain.calls.settlement, 2**256 - 1))


def _tree(tag: int, parties: list[Address], amount: int) -> Tree:
    return Tree.build([bytes(32), *(leaf(tag, n, who, amount) for n, who in enumerate(parties, 1))])


def _noise(name: str, total: int, salt: int) -> Digest:
    return Digest(keccak256(name.encode(), salt.to_bytes(4, "big"))[:24] + total.to_bytes(8, "big"))


def _plus(node: Word, more: int) -> Digest:
    return Digest(node[:24] + (int.from_bytes(node[24:], "big") + more).to_bytes(8, "big"))


def exceeded(measured: Figures, snapshot: Figures) -> list[str]:
    """What rose by more than the tolerance, or is missing on either side, in words."""
    found = [f"{name} is not measured any more" for name in snapshot.keys() - measured.keys()]
    for name, used in measured.items():
        known = snapshot.get(name)
        if known is None or used * 100 > known * (100 + TOLERANCE_PERCENT):
            found.append(f"{name}: {known} -> {used}")
    return sorted(found)


def main() -> int:
    """Measure; write the snapshot, or with --check compare with it."""
    with a_chain() as url, tempfile.TemporaryDirectory() as folder:
        measured = measure(url, Path(folder))
    for name, used in measured.items():
        print(f"{name:46} {used:>12,}")
    if "--check" in sys.argv:
        rose = exceeded(measured, json.loads(SNAPSHOT.read_text()))
        print("\n".join(rose) or "gas: nothing rose by more than 1 %")
        return 1 if rose else 0
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
