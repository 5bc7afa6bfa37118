"""The ledger: from receipts to shares to settled batches."""
