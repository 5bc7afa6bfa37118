"""`python -m roles.node --model DIR[=NAME] ... --host --port`"""

import argparse
import sys
from pathlib import Path

from ledger.core.values.errors import TollwayError
from roles.node.artifacts.layout import Layout
from roles.node.models.resale import Upstream
from roles.node.server import NodeOptions, serve
from roles.node.state import Limits
from roles.wallet import home


def folder_and_name(text: str) -> tuple[Path, str | None]:
    """DIR, or DIR=NAME to serve it under another name."""
    folder, _, name = text.partition("=")
    return Path(folder), name or None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m roles.node",
        description="Serve ONNX models over the OpenAI API and the Open Inference Protocol v2.",
    )
    parser.add_argument("--model", action="append", default=[], type=folder_and_name, metavar="DIR[=NAME]")
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="NAME=URL[#MODEL]",
        help="resell an existing server; its API key, if it needs one, is read from TOLLWAY_UPSTREAM_KEY",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--queue", type=int, default=Limits().queue, help="calls that may wait for a model")
    parser.add_argument("--batch", type=int, default=Limits().batch, help="calls that run together")
    parser.add_argument("--call-seconds", type=float, default=Limits().call_seconds)
    parser.add_argument(
        "--artifacts", type=Path, metavar="LAYOUT", help="an OCI layout whose artifacts are served by digest"
    )
    given = parser.parse_args()
    if not given.model and not given.upstream and not given.artifacts:
        parser.error("nothing to serve: give --model DIR, --upstream NAME=URL or --artifacts LAYOUT")

    def ready(port: int) -> None:
        names = [name or str(folder) for folder, name in given.model]
        names += [name for name, _ in upstreams]
        names += [str(given.artifacts)] if given.artifacts else []
        print(f"serving {', '.join(names)} on http://{given.host}:{port}", flush=True)
        print("whoever reaches it is served without payment; `tollway provider serve` serves gateways only", flush=True)

    limits = Limits(call_seconds=given.call_seconds, batch=given.batch, queue=given.queue)
    try:
        upstreams = [Upstream.typed(text, home.upstream_key()) for text in given.upstream]
        artifacts = Layout(given.artifacts) if given.artifacts else None
        serve(NodeOptions(given.model, upstreams, given.host, given.port, artifacts, limits=limits), ready)
    except TollwayError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
