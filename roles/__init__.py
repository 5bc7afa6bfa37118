"""What people and programs outside the ledger run: command line, wallet, auditor, provider node, local network."""
