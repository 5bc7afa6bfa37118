"""Documents in files, and the names of what they describe. Alone: commands of makers, OEMs and weavers share it."""

from pathlib import Path

from ledger.core.catalog import names
from ledger.core.values.documents import Document, parse
from ledger.core.values.errors import Rejected


def read(path: Path) -> Document:
    """The JSON object in a file. Rejected, naming the file, when it is none."""
    try:
        return parse(path.read_bytes())
    except Rejected as error:
        raise Rejected(f"{path} is {error.message}", path=str(path)) from error


def check_name(name: str, version: str) -> None:
    """Rejected unless a document can have this name and version."""
    if not name.startswith("@") or "/" not in name:
        raise Rejected(f"{name!r} is not a model's name: write @org/name, in lower case", name=name)
    names.of_document({"name": name, "version": version})
