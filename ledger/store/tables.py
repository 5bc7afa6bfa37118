"""The metadata of all tables, for migrations. A row is columns only: `ledger.core` defines what it means.

Alone, because importing it imports every folder's tables.
"""

from sqlmodel import SQLModel

from ledger.store.access import tables as access
from ledger.store.chain import tables as chain
from ledger.store.money import tables as money
from ledger.store.network import tables as network
from ledger.store.receipts import tables as receipts
from ledger.store.settlement import tables as settlement

GROUPS = (access, receipts, money, chain, network, settlement)
"""One module for each folder of the store."""
metadata = SQLModel.metadata
