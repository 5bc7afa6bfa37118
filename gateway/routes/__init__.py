"""The gateway doors."""
