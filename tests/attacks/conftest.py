"""Fixtures of the attacks: the gateway's world."""

from tests.gateway.conftest import consumer, gateway, loom, node, other_node, world

__all__ = ["consumer", "gateway", "loom", "node", "other_node", "world"]
