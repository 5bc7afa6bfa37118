"""The gateway: meters, prices and signs every call."""
