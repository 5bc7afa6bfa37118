"""The gateway over real HTTP, against a real PostgreSQL."""
