"""django-hordak, run by its own environment: shares come in on stdin as JSON, receipts a second go out.

Euros without cents stand for atoms: it asks for a currency it knows.

A transaction a receipt, a leg a share, created in bulk 500 receipts at a time, one database transaction each: the
fastest way it has. Its triggers check that every transaction balances, as they would in a shop.
"""

import json
import sys
import time
from typing import Any

BULK = 500


def settings(database: dict[str, str]) -> dict[str, Any]:
    """What Django wants to know."""
    backend = {"ENGINE": "django.db.backends.postgresql", "HOST": database["host"], "USER": database["user"]}
    apps = ["django.contrib.contenttypes", "django.contrib.auth", "mptt", "djmoney", "hordak"]
    return {
        "DATABASES": {"default": {**backend, "NAME": database["dbname"]}},
        "INSTALLED_APPS": apps,
        "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
        "HORDAK_INTERNAL_CURRENCY": "EUR",
        "CURRENCIES": ["EUR"],
        "DEFAULT_CURRENCY": "EUR",
        "HORDAK_DECIMAL_PLACES": 0,
        "HORDAK_MAX_DIGITS": 19,
        "USE_TZ": True,
        "SECRET_KEY": "bench",
    }


def measure(shares: list[list[int]]) -> float:
    """Receipts a second: each a debit of its consumer and a credit of each payee."""
    from django.db import transaction
    from hordak.models import Account, AccountType, Leg, Transaction
    from moneyed import Money

    width = max(map(len, shares))
    consumer = Account.objects.create(name="consumer", code="0", type=AccountType.liability, currencies=["EUR"])
    payees = [
        Account.objects.create(name=f"payee {n}", code=str(n + 1), type=AccountType.liability, currencies=["EUR"])
        for n in range(width)
    ]
    start = time.perf_counter()
    for begin in range(0, len(shares), BULK):
        some = shares[begin : begin + BULK]
        with transaction.atomic():
            made = Transaction.objects.bulk_create([Transaction(description="call") for _ in some])
            legs = []
            for one, amounts in zip(made, some, strict=True):
                legs.append(Leg(transaction=one, account=consumer, debit=Money(sum(amounts), "EUR")))
                paid = zip(payees, amounts, strict=False)
                legs += [Leg(transaction=one, account=who, credit=Money(n, "EUR")) for who, n in paid if n]
            Leg.objects.bulk_create(legs)
    return len(shares) / (time.perf_counter() - start)


def main() -> None:
    """Migrate, measure, answer."""
    import django
    from django.conf import settings as django_settings
    from django.core.management import call_command

    asked = json.load(sys.stdin)
    django_settings.configure(**settings(asked["database"]))
    django.setup()
    call_command("migrate", verbosity=0)
    print(json.dumps({"receipts_per_s": measure(asked["shares"])}))


if __name__ == "__main__":
    main()
