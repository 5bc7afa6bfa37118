"""Attacks that must fail: one file a class of attack."""
