"""The money held for a workflow: the consumer's, and the bond of each weaver that promises all or nothing.

A weaver's bond is its own deposit in the lane. It is held before anything runs, so that a provider that served is paid
even when the workflow fails and the consumer is charged nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller
from gateway.payment.billing import charge
from gateway.payment.leases import Hold
from gateway.workflow.plan import Plan
from gateway.workflow.run import ServedCall
from ledger.core.values.ids import Address, to_hex
from ledger.store.receipts.receipts import Signed


@dataclass(slots=True)
class Holds:
    """The holds of one workflow. They are settled once, together."""

    consumer: Hold
    bonds: dict[Address, Hold] = field(default_factory=dict)

    @classmethod
    async def take(cls, gateway: Gateway, caller: Caller, plan: Plan) -> Holds:
        """Hold the plan's price for the consumer and its exposure for each weaver. Refused when one is short."""
        holds = cls(await gateway.leases.hold(caller.consumer, plan.price, caller.budget))
        try:
            for weaver, exposure in plan.exposures.items():
                amount = min(exposure, gateway.settings.bond_cap_atoms)
                holds.bonds[weaver] = await _bond(gateway, plan, weaver, amount)
        except BaseException:
            holds.release()
            raise
        return holds

    def release(self) -> None:
        """Give every hold back, unless a charge is under way."""
        for hold in (self.consumer, *self.bonds.values()):
            hold.release()

    async def charge(
        self, gateway: Gateway, guaranteed: Sequence[tuple[Address, ServedCall]], charged: Sequence[ServedCall]
    ) -> tuple[Signed, ...]:
        """Make all receipts durable together: of `guaranteed` calls, which bonds pay, and of those `charged` to the
        consumer. Returns the latter.
        """
        bonded = [(weaver, draft) for weaver, call in guaranteed for draft in call.drafts(weaver)]
        drafts = [draft for call in charged for draft in call.drafts()]
        if not bonded and not drafts:
            return ()
        due = dict.fromkeys(self.bonds, 0)
        for weaver, draft in bonded:
            due[weaver] += draft.receipt.charge
        dues = [(self.consumer, sum(draft.receipt.charge for draft in drafts))]
        dues += [(hold, due[weaver]) for weaver, hold in self.bonds.items()]
        signed = await charge(gateway.receipt_log, (*(draft for _, draft in bonded), *drafts), dues)
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
