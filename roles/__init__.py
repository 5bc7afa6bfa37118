"""Programs outside the ledger: command line, wallet, auditor, provider node, local network."""
