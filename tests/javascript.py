"""Programs of the project's Node, which stands beside Python. Alone, because tests of many rooms run some."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import TOOLS

ROOT = Path(__file__).parents[1]
NODE = TOOLS / "node"
BUNDLE = ROOT / "gateway" / "console" / "static" / "receipt-verifier.js"


def run(program: Path, *arguments: object, told: object = None, seconds: float = 120) -> Any:
    """What a program says that must succeed, as JSON. It reads `told` as JSON from its standard input."""
    return _said([program, *map(str, arguments)], json.dumps(told), seconds)


def evaluate(script: str, seconds: float = 120) -> Any:
    """What a module that is a text logs, as JSON. It must succeed."""
    return _said(["--input-type=module", "-e", script], "", seconds)


def _said(arguments: Sequence[str | Path], told: str, seconds: float) -> Any:
    ended = subprocess.run([NODE, *arguments], input=told, capture_output=True, text=True, timeout=seconds, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return json.loads(ended.stdout)
