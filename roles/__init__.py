"""The roles: strangers who speak HTTP to the gateway and RPC to the chain."""
