"""The book: pure functions over frozen values. No clock, network, database or log."""
