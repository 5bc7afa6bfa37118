"""Documents in files, and the names of what they describe."""

import re
from pathlib import Path

from ledger.core.values.documents import Document, parse
from ledger.core.values.errors import Rejected

NAME = re.compile(r"@[a-z0-9-]+/[a-z0-9._-]+")


def read(path: Path) -> Document:
    """The JSON object in a file. Rejected, naming the file, when it is none."""
    try:
        return parse(path.read_bytes())
    except Rejected as error:
        raise Rejected(f"{path} is {error.message}", path=str(path)) from error


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Rejected(f"{name!r} is not a model's name: write @org/name, in lower case", name=name)
