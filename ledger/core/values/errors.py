"""The tree of errors: tell the caller, alert a person, or try again. Alone because every module raises them."""


class TollwayError(Exception):
    """An error with its facts. `facts` are safe to show to the caller and to log: no secrets, no prompts."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class Rejected(TollwayError):
    """The request is invalid: tell the caller what to change."""


class Conflict(TollwayError):
    """The same cause with other content, or a broken law: alert a person."""


class Unavailable(TollwayError):
    """Temporary: try again."""
