"""Does a component answer yet?"""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from pathlib import Path


def healthy(check: str, log: Path, offset: int = 0) -> bool:
    """True when `http://...` answers 200, `tcp:PORT` accepts, `file:PATH` is there, `log:TEXT` was logged since."""
    kind, _, what = check.partition(":")
    if kind in ("http", "https"):
        return _answers(check)
    if kind == "tcp":
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(what)), timeout=1):
            return True
        return False
    if kind == "file":
        return Path(what).exists()
    if kind == "log":
        with log.open("rb") as file:
            file.seek(offset)
            return what.encode() in file.read()
    raise ValueError(f"unknown health check {check!r}")


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
