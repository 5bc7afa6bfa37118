"""How a gateway reaches nodes: pooled HTTP/1.1 connections, tunnels, and a guard over the addresses."""
