"""How a gateway calls nodes: pooled HTTP/1.1 connections, tunnels, and a guard over where they may lead."""
