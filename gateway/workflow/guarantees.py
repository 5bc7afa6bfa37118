"""What a workflow's money is held in: the consumer's hold, and the bond of every weaver that promises all or nothing.

A weaver's bond is its own deposit in the lane. It is held before anything runs, so a provider that has served is paid
even when the workflow fails and the consumer is charged nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller
from gateway.payment.billing import charge
from gateway.payment.leases import Hold
from gateway.workflow.plan import Plan
from ledger.core.values.ids import Address, to_hex
from ledger.flows.receipt_log import Draft
from ledger.store.receipts.receipts import Signed


class Holds:
    """The holds of one workflow. Settled once, together."""

    def __init__(self, consumer: Hold, bonds: Mapping[Address, Hold]) -> None:
        self.consumer = consumer
        self.bonds = dict(bonds)

    @classmethod
    async def take(cls, gateway: Gateway, caller: Caller, plan: Plan) -> Holds:
        """Hold the plan's price of the consumer, and its exposures of the weavers. Refused when either is short."""
        made = cls(await gateway.leases.hold(caller.consumer, plan.price, caller.budget), {})
        try:
            for weaver, exposure in plan.exposures.items():
                amount = min(exposure, gateway.settings.bond_cap_atoms)
                made.bonds[weaver] = await _bond(gateway, plan, weaver, amount)
        except BaseException:
            made.release()
            raise
        return made

    def release(self) -> None:
        """Give back what no charge is under way for."""
        for hold in (self.consumer, *self.bonds.values()):
            hold.release()

    async def charge(
        self, gateway: Gateway, guaranteed: Sequence[tuple[Address, Sequence[Draft]]], drafts: Sequence[Draft]
    ) -> tuple[Signed, ...]:
        """Make all receipts durable in one segment: what bonds pay, then what the consumer pays. Returns the latter."""
        bonded = [draft for _, paid in guaranteed for draft in paid]
        if not bonded and not drafts:
            return ()
        due = dict.fromkeys(self.bonds, 0)
        for weaver, paid in guaranteed:
            due[weaver] += sum(draft.receipt.charge for draft in paid)
        dues = [(self.consumer, sum(draft.receipt.charge for draft in drafts))]
        dues += [(hold, due[weaver]) for weaver, hold in self.bonds.items()]
        signed = await charge(gateway.receipt_log, (*bonded, *drafts), dues)
        return signed[len(bonded) :]


async def _bond(gateway: Gateway, plan: Plan, weaver: Address, amount: int) -> Hold:
    try:
        return await gateway.leases.hold(weaver, amount)
    except Refusal as refused:
        raise Refusal(
            503,
            "weaver_bond",
            f"{plan.entry.name} promises all or nothing, and its weaver's deposit does not cover {amount} atoms of "
            "sub-calls now (the weaver adds to it with `tollway weaver bond`)",
            facts={"weaver": to_hex(weaver), "required": str(amount), **refused.facts},
            retry_after=30,
        ) from refused
