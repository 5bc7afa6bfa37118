"""`python -m roles.node.artifacts pack FOLDER LAYOUT` and `pull DIGEST LAYOUT --peer URL ... [--unpack FOLDER]`"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from ledger.core.values.errors import TollwayError
from roles.node.artifacts.download import pull
from roles.node.artifacts.layout import Layout


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m roles.node.artifacts", description="Pack and pull model artifacts."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack", help="put a model folder into an OCI layout and print its digest")
    packing.add_argument("folder", type=Path)
    packing.add_argument("layout", type=Path)
    pulling = verbs.add_parser("pull", help="bring an artifact here from nodes that have it")
    pulling.add_argument("digest")
    pulling.add_argument("layout", type=Path)
    pulling.add_argument("--peer", action="append", default=[], metavar="URL", help="a node to ask; repeat it")
    pulling.add_argument("--unpack", type=Path, metavar="FOLDER", help="write the model folder there")
    given = parser.parse_args()
    try:
        said = Layout(given.layout).pack(given.folder).as_json() if given.verb == "pack" else _pull(given)
    except TollwayError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    print(json.dumps(said))
    return 0


def _pull(given: argparse.Namespace) -> dict[str, object]:
    layout = Layout(given.layout)
    pulled = asyncio.run(pull(given.digest, layout, given.peer))
    if given.unpack:
        layout.unpack(given.digest, given.unpack)
    return {"digest": given.digest, "fetched_bytes": pulled.fetched_bytes, "reused_bytes": pulled.reused_bytes}


if __name__ == "__main__":
    sys.exit(main())
