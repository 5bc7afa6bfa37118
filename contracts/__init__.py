"""Compiled contracts by name, and their deployment."""
