"""The product's source as the tests of the house read it. It stands alone: every file beside it uses it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("contracts", "gateway", "ledger", "roles")


def pages(*packages: str) -> list[Path]:
    """Every Python file of these top-level packages, sorted."""
    return [
        page for name in packages for page in sorted((ROOT / name).rglob("*.py")) if "node_modules" not in page.parts
    ]


@cache
def parsed(page: Path) -> ast.Module:
    return ast.parse(page.read_text())


def module(page: Path, root: Path = ROOT) -> str:
    """The dotted name of a file."""
    return ".".join(page.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """Dotted names that a module imports: also inside functions and by `import_module`, but not for type checkers only.

    `from a import b` is `a.b` when that is one of the `known` modules, else `a`.
    """
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & known) | ({node.module} if whole - known else set())
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_module":
            found |= {
                name.value for name in node.args if isinstance(name, ast.Constant) and isinstance(name.value, str)
            }
    return found
