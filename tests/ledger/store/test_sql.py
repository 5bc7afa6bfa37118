"""How SQL is written: in SQLAlchemy Core; text only in the laws, psycopg only where it is the shorter way."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = {
    "ledger/migrations/__init__.py": "the lock of a connection that has no session",
    "ledger/store/money/audited_sums.py": "law L6",
    "ledger/store/money/laws.py": "the laws",
    "ledger/store/money/postings.py": "a column as one value",
    "ledger/store/settlement/tree_nodes.py": "a lookup for each of many positions",
}
PSYCOPG = {
    "ledger/store/receipts/appender.py": "the receipt log's pipeline",
    "ledger/store/session.py": "COPY",
    "roles/local/postgres.py": "makes the database before there is one to map",
}


def calls_text(tree: ast.AST) -> bool:
    names = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names} & {"text"}
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(
        (isinstance(f, ast.Name) and f.id in names) or (isinstance(f, ast.Attribute) and ast.unparse(f) == "sa.text")
        for f in called
    )


def imports(tree: ast.AST, package: str) -> bool:
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    return any(name.split(".")[0] == package for name in names)


def test_text_and_psycopg_are_used_only_where_a_reason_is_written() -> None:
    product = [p for room in ("ledger", "gateway", "roles") for p in sorted((ROOT / room).rglob("*.py"))]
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in product}
    assert {name for name, tree in trees.items() if calls_text(tree)} == set(TEXT)
    assert {name for name, tree in trees.items() if imports(tree, "psycopg")} == set(PSYCOPG)
