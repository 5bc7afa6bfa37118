"""Asks by meter name, for tests."""

from ledger.core.values.meters import Meter, Rates


def asks(**named: int) -> Rates:
    """Rates from meter names: an ask of 0 is one."""
    return tuple(sorted((Meter[name], ask) for name, ask in named.items()))
