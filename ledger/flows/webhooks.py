"""What holds for a while and webhooks are told of when it begins: a low balance, an alarm.

What happens at one moment (a batch is final, a claim is paid) is written where it is booked. These are looked at again
and again, a few at a time, and each beginning is one message: noting it and writing the message are one transaction.
"""

from collections.abc import Callable, Mapping, Sequence

from sqlmodel import Session

from ledger.core.accounts import webhooks
from ledger.core.accounts.webhooks import KEPT_MS, Kind
from ledger.core.settlement.troubles import Trouble, remedy_of
from ledger.core.values.atoms import Atoms, Currency
from ledger.core.values.ids import Address, Lane
from ledger.store.access import webhooks as hooks
from ledger.store.settlement.alarms import Alarm

AT_ONCE = 50
"""Balances that are looked at in one transaction."""
EVERY_MS = 5_000
"""How long after a look the next one at the same balance is, at least."""
LOW = "balance"


def tell_low_balances(
    session: Session, lane: Lane, spendable: Callable[[Session, Lane, Address], Atoms], currency: Currency, now: int
) -> int:
    """Look at the balances that webhooks wait for, and tell of each that fell below its threshold since the last look.
    `spendable` is what an account can spend. Returns how many were looked at.
    """
    known: dict[Address, Atoms] = {}
    found = hooks.to_look_at(session, lane, now - EVERY_MS, AT_ONCE, now)
    for hook in sorted(found, key=lambda one: one.account):  # in the order in which balances are locked elsewhere
        if hook.account not in known:
            known[hook.account] = spendable(session, lane, hook.account)
        left = known[hook.account]
        assert hook.threshold is not None, "only those with a threshold are looked at"
        if left >= hook.threshold:
            hooks.end(session, lane, hook.id, LOW)
        elif hooks.begin(session, lane, hook.id, LOW, now):
            hooks.write_to(session, lane, hook, webhooks.balance_low(lane, hook, left, now, currency), now)
    return len(found)


def tell_alarms(session: Session, lane: Lane, alarms: Sequence[Alarm], troubles: Sequence[Trouble], now: int) -> int:
    """Tell the operator's webhooks of what is wrong and was not at the last look. Returns how many messages are new."""
    wrong: Mapping[str, tuple[str, str, str]] = {
        **{f"trouble {one.name}": (one.name, one.message, one.remedy) for one in reversed(troubles)},
        **{f"alarm {one.id.hex()}": (one.law, one.message, remedy_of(one.law)) for one in alarms},
    }
    written = 0
    for hook in hooks.of_kind(session, lane, Kind.alarm_sounded):
        for subject in set(hooks.holding(session, lane, hook.id)) - wrong.keys() - {LOW}:
            hooks.end(session, lane, hook.id, subject)
        for subject, said in wrong.items():
            if hooks.begin(session, lane, hook.id, subject, now):
                hooks.write_to(session, lane, hook, webhooks.alarm_sounded(lane, subject, said, now), now)
                written += 1
    return written


def forget(session: Session, lane: Lane, now: int) -> int:
    """Delete messages that are too old, delivered or not, some at a time. Returns how many."""
    return hooks.forget(session, lane, now - KEPT_MS)
