"""The book: what Tollway knows, as pure functions over frozen values.

No clock, no network, no database, no log. Reading order: errors, atoms, keccak, ids, meters, bids, receipts,
typed_data, accounts, then pricing and the rest. Money is whole atoms, ratios are ppm, ids come from their cause.
"""
