"""The one small tree of errors: tell the caller, wake a person, or try again."""

from __future__ import annotations


class TollwayError(Exception):
    """An error that says its facts. `facts` are safe to show to the caller and to log: no secrets, no prompts."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class Rejected(TollwayError):
    """The request cannot be served as it is: tell the caller what to change."""


class Conflict(TollwayError):
    """The same cause with other content, or a broken law: a person must look."""


class Unavailable(TollwayError):
    """Not now: try again."""
