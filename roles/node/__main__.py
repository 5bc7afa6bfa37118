"""`python -m roles.node --model DIR[=NAME] ... --host --port`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledger.core.errors import TollwayError
from roles.node.server import serve
from roles.node.state import Limits


def folder_and_name(text: str) -> Path | tuple[Path, str]:
    """DIR, or DIR=NAME to serve it under another name."""
    folder, _, name = text.partition("=")
    return (Path(folder), name) if name else Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m roles.node", description="Serve ONNX models over OpenAI and OIP v2."
    )
    parser.add_argument("--model", action="append", required=True, type=folder_and_name, metavar="DIR[=NAME]")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--queue", type=int, default=Limits().queue, help="calls that may wait for a model")
    parser.add_argument("--batch", type=int, default=Limits().batch, help="calls that run together")
    parser.add_argument("--call-seconds", type=float, default=Limits().call_seconds)
    given = parser.parse_args()
    limits = Limits(call_seconds=given.call_seconds, batch=given.batch, queue=given.queue)

    def ready(port: int) -> None:
        names = ", ".join(str(model) for model in given.model)
        print(f"serving {names} on http://{given.host}:{port}", flush=True)

    try:
        serve(given.model, given.host, given.port, limits=limits, ready=ready)
    except TollwayError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
