"""A lane on a chain in memory, with money and calls: where tests of settling, of laws and of random lives happen."""

from sqlalchemy import Engine, text

from ledger.chain.calls import Calls as RealCalls
from ledger.core.settlement import events
from ledger.core.settlement.batches import Status
from ledger.core.settlement.header import EMPTY_HEADER, NO_BATCH, NO_HEADER, Header
from ledger.core.settlement.transactions import Call, Policy, Step
from ledger.core.values.ids import Address, Digest, Lane
from ledger.flows import audits, indexer, postings, transactions
from ledger.flows import batches as settling
from ledger.store.chain import lanes
from ledger.store.money import postings as book
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches, proofs
from ledger.store.settlement.batches import Batch
from tests import builders as b
from tests.fakechain import SENDER, FakeChain

LANE = settling.Lane(b.LANE, b.DOMAIN, SENDER, batch_calls=1_000, batch_ms=60_000)
NETWORK = indexer.Network(chain_id=31337, lane=b.LANE, start_block=0, confirmations=1, epoch_seconds=100)
POLICY = Policy(confirmations=1, stuck_ms=1_000, max_fee=10_000)
SETTLEMENT = Address(b"\x5c" * 20)
WINDOW = 60
PAYEES = (b.MAKER, b.COMPUTE, b.OPERATOR, b.TREASURY)


HEADERS: dict[str, Header] = {}
"""Every header that was ever committed, by its id in hex: what a real commit's calldata would carry."""


class Calls(RealCalls):
    """Calldata a fake contract understands: words joined by blanks."""

    def __init__(self) -> None:
        pass

    def commit(
        self, lane: Lane, header: Header, finalize_id: int = NO_BATCH, finalize_header: Header = EMPTY_HEADER
    ) -> Call:
        HEADERS[header.id.hex()] = header
        return SETTLEMENT, f"commit {header.id.hex()} {header.prev.hex()} {finalize_id}".encode()

    def finalize(self, lane: Lane, batch_id: int, header: Header) -> Call:
        return SETTLEMENT, f"finalize {batch_id}".encode()


class Contract:
    """As much of Settlement as settling needs: a chain of headers, and finality. Its state is its chain's logs."""

    def __init__(self) -> None:
        self.chain: FakeChain | None = None
        self.refuses = False

    def __call__(self, target: Address, data: bytes) -> list[events.Event] | None:
        word, *rest = data.decode().split()
        standing = self.headers()
        if self.refuses:
            return None
        if word == "finalize":
            return [events.Finalized(b.LANE, int(rest[0]))] if int(rest[0]) <= len(standing) else None
        named, prev, finalize_id = rest
        if prev != (standing[-1] if standing else NO_HEADER.hex()):
            return None
        assert self.chain is not None, "the room gives it one"
        until = self.chain.blocks[-1].block.timestamp + WINDOW
        committed = events.Committed(b.LANE, len(standing) + 1, HEADERS[named], until)
        return [committed, *([] if int(finalize_id) == NO_BATCH else [events.Finalized(b.LANE, int(finalize_id))])]

    def headers(self) -> list[str]:
        """Header ids of the standing batches, in order."""
        standing: list[str] = []
        for event in self._events():
            if isinstance(event, events.Committed):
                standing.append(event.header.id.hex())
            elif isinstance(event, events.Fell):
                del standing[event.first - 1 :]
        return standing

    def held(self, lane: Lane, block: events.Block) -> int:
        """What the lane holds at a block: deposits less exits, less claims."""
        total = 0
        for event in self._events(block.number):
            if isinstance(event, events.Deposited):
                total += event.amount
            elif isinstance(event, events.Claimed | events.Withdrawn):
                total -= event.amount
        return total

    def _events(self, block: int | None = None) -> list[events.Event]:
        assert self.chain is not None, "the room gives it one"
        made = self.chain.blocks if block is None else self.chain.blocks[: block + 1]
        return [log.event for one in made for log in one.logs]


class Room:
    """A lane with a chain, some money and posted receipts; `sweep` is what the worker does."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.contract, self.calls, self.now = engine, Contract(), Calls(), 1_000
        self.chain = self.contract.chain = FakeChain(self.contract)
        self.chain.mine(
            events.LaneOpened(b.LANE, SENDER, WINDOW, 30, 1, 0),
            events.GatewayAdded(b.LANE, b.GATEWAY.address, 1),
            events.GatewayAdded(b.LANE, b.OTHER_GATEWAY.address, 2),
            *(events.PayeeRegistered(place + 3, payee) for place, payee in enumerate(PAYEES)),
        )
        self.deposit(b.ALICE, 10**9)
        self.deposit(b.BOB, 10**9)
        self.calls_made = self.leases = 0
        self.lease(b.ALICE, 10**9)
        self.lease(b.BOB, 10**9)

    def deposit(self, consumer: Address, amount: int) -> None:
        """A deposit is mined and confirmed."""
        self.see(events.Deposited(b.LANE, consumer, {b.ALICE: 1, b.BOB: 4}[consumer], amount))

    def lease(self, consumer: Address, amount: int) -> None:
        """A slice of a deposit is leased to the gateway."""
        self.leases += 1
        with unit_of_work(self.engine) as session:
            b.lease(session, consumer, amount, self.leases)
            session.execute(
                text("INSERT INTO leases VALUES (:lane, :id, :consumer, :gateway, :amount, 0, 0, 'open')"),
                {"id": b"lease %d" % self.leases, "lane": b.LANE, "consumer": consumer}
                | {"gateway": b.GATEWAY.address, "amount": amount},
            )

    def laws(self, *, thorough: bool = True) -> list[alarms.Alarm]:
        """What the audit finds."""
        scope = audits.Scope(b.LANE, b.DOMAIN, self.contract.held)
        with unit_of_work(self.engine) as session:
            return audits.reconcile(session, scope, self.now, thorough=thorough)

    def serve(self, count: int) -> None:
        """Charge some calls, and post them."""
        with unit_of_work(self.engine) as session:
            made = [
                b.a_receipt(self.calls_made + i + 1, consumer=(b.ALICE, b.BOB)[i % 2], ended_at=self.now)
                for i in range(count)
            ]
            b.write(session, made)
            postings.post_chunk(session, b.LANE, b.GATEWAY.address, 10_000, self.now)
        self.calls_made += count

    def close(self) -> Batch | None:
        with unit_of_work(self.engine) as session:
            return settling.close(session, LANE, 10, self.now)

    def closed(self) -> Batch:
        """Close a batch; there is something to close."""
        batch = self.close()
        assert batch is not None
        return batch

    def post(self, calls: int) -> None:
        """A batch of so many calls, on chain."""
        self.serve(calls)
        self.close()
        self.sweep()

    def commit(self) -> None:
        with unit_of_work(self.engine) as session:
            settling.commit(session, LANE, self.calls, self.now)

    def transmit(self) -> list[Step]:
        with unit_of_work(self.engine) as session:
            transactions.sign_next(session, b.LANE, self.chain, SENDER, self.now)
        steps = []
        with unit_of_work(self.engine) as session:
            under_way = transactions.under_way(session, b.LANE)
        for one in under_way:
            with unit_of_work(self.engine) as session:
                steps.append(transactions.review(session, b.LANE, self.chain, one, self.now, POLICY))
        return steps

    def index(self) -> None:
        done = 1
        while done:
            with unit_of_work(self.engine) as session:
                done = indexer.index_next(session, self.chain, NETWORK, self.now)

    def see(self, *happened: events.Event, seconds: int = 12, transaction: Digest | None = None) -> None:
        """A block with these events is mined, confirmed by another, and indexed."""
        self.chain.mine(*happened, seconds=seconds, transaction=transaction)
        self.chain.mine()
        self.index()

    def fork(self, depth: int, *, keep_pool: bool = False) -> None:
        """The newest blocks are replaced by empty ones, and one more."""
        self.chain.fork(depth, keep_pool=keep_pool)
        for _ in range(depth + 1):
            self.chain.mine()
        self.index()

    def sweep(self, rounds: int = 4) -> None:
        for _ in range(rounds):
            self.now += 300
            self.commit()
            self.transmit()
            self.chain.mine()
            self.index()

    def batches(self) -> list[tuple[int, str, int | None]]:
        with unit_of_work(self.engine) as session:
            found = batches.with_status(session, b.LANE, *Status)
            return [(batch.number, batch.status.value, batch.onchain_id) for batch in found]

    def header(self, number: int) -> Header:
        """A batch's header."""
        with unit_of_work(self.engine) as session:
            batch = batches.get(session, b.LANE, number)
        assert batch is not None
        return batch.header

    def balance(self, name: str) -> int:
        with unit_of_work(self.engine) as session:
            return book.balance(session, b.LANE, name)

    def finalize(self) -> None:
        """Intend what is ripe, and carry it to the chain."""
        with unit_of_work(self.engine) as session:
            settling.finalize(session, LANE, self.calls, self.now)

    def final_claim(self, payee: Address) -> int:
        """What a payee could claim of the last final batch."""
        with unit_of_work(self.engine) as session:
            final = batches.with_status(session, b.LANE, Status.final)
            proof = proofs.payout(session, final[-1], payee) if final else None
            claimed = lanes.claimed(session, b.LANE)
        return proof.cumulative - claimed.get(proof.index, 0) if proof is not None else 0

    def blocks_without_exits(self) -> int:
        """How many of the newest blocks a fork may drop without taking deposits or exits back that were built upon."""
        harmless = (events.Committed, events.Finalized, events.Fell)
        for depth, made in enumerate(reversed(self.chain.blocks)):
            if any(not isinstance(log.event, harmless) for log in made.logs):
                return min(depth, 3)
        return 0
