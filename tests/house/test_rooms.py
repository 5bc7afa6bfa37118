"""Rooms: how many files a folder has, who imports whom, and that the libraries the project is built on are used."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.house.source import PRODUCT, ROOT, imported, module, pages, parsed

FEWEST, MOST, SHORT = 2, 16, 40

CORE_USES = {"numpy", "numba", "sha3", "Crypto", "blake3", "coincurve", "jsonschema_rs"}
ELSEWHERE = {"bench.triage.train": "onnx"}
"""Programs that run in an environment of their own, and the library that only that one has."""
GATEWAY_FLOWS = {f"ledger.flows.{name}" for name in ("leases", "receipt_log", "publications", "credits", "reports")}
IMPORTING = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        library = error.name if isinstance(error, ModuleNotFoundError) else None
        print(name, library or repr(error), sep="\\t")
"""
BUILT_ON = {"web3", "solcx", "eth_account", "fastapi", "sqlmodel", "onnxruntime", "celery", "redis"}


def counted(pages: list[Path], root: Path) -> dict[str, int]:
    """Python files a folder, without `__init__` and `__main__`. Alembic says what is in `migrations`."""
    names = [page.parent.relative_to(root) for page in pages if page.name not in {"__init__.py", "__main__.py"}]
    return {str(folder): count for folder, count in Counter(names).items() if "migrations" not in folder.parts}


def unimportable(modules: list[str], folder: Path) -> dict[str, str]:
    """Why each of these modules cannot be imported, if it cannot: the library that is missing, or the error."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTING, *modules],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(line.split("\t", 1) for line in ended.stdout.splitlines())


def silent(page: Path) -> bool:
    """True for a file that is short, does something, and does not say why it is alone."""
    text = page.read_text()
    said = (ast.get_docstring(ast.parse(text)) or "").lower()
    return page.name not in {"__init__.py", "__main__.py"} and text.count("\n") < SHORT and "alone" not in said


def graph(pages: list[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """Every module and the modules of `pages` it imports."""
    known = {module(page, root) for page in pages}
    return {module(page, root): imported(ast.parse(page.read_text()), known) & known for page in pages}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, if there is one."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_a_folder_has_two_to_sixteen_files() -> None:
    counts = counted(pages(*PRODUCT), ROOT)
    assert {folder for folder, n in counts.items() if not FEWEST <= n <= MOST} == set()


def test_a_short_file_says_why_it_is_alone() -> None:
    silent_pages = [page for page in pages(*PRODUCT) if silent(page) and page.parent.name != "versions"]
    assert [str(page.relative_to(ROOT)) for page in silent_pages] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle(graph(pages(*PRODUCT))) == []


def test_every_module_of_the_benches_and_of_the_chaos_trial_can_be_imported() -> None:
    modules = [module(page) for page in pages("bench", "tests/chaos")]
    wrong = unimportable(modules, ROOT)
    assert {name: why for name, why in wrong.items() if ELSEWHERE.get(name) != why} == {}


def test_a_name_or_a_library_that_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "sound.py").write_text("import json\n")
    (tmp_path / "name.py").write_text("from json import unheard_of\n")
    (tmp_path / "library.py").write_text("import unheard_of\n")
    wrong = unimportable(["sound", "name", "library"], tmp_path)
    assert (set(wrong), wrong["library"]) == ({"name", "library"}, "unheard_of")
    assert "cannot import name 'unheard_of'" in wrong["name"]


def test_the_core_uses_no_library_but_its_own() -> None:
    used = {name.partition(".")[0] for page in pages("ledger/core") for name in imported(parsed(page), set())}
    assert used - set(sys.stdlib_module_names) - {"ledger"} <= CORE_USES


def test_the_gateway_uses_five_flows() -> None:
    used = {name for page in pages("gateway") for name in imported(parsed(page), FLOWS)}
    assert {name for name in used if name.startswith("ledger.flows")} <= GATEWAY_FLOWS


def test_the_store_and_the_chain_use_core_and_settings_only() -> None:
    allowed = {
        "ledger/store": ("ledger.core", "ledger.settings", "ledger.store"),
        "ledger/chain": ("ledger.core", "ledger.settings", "ledger.deployments", "ledger.chain", "contracts"),
        "ledger/flows": (
            "ledger.core",
            "ledger.settings",
            "ledger.flows",
            "ledger.store",
            "ledger.chain",
            "ledger.log",
        ),
    }
    for room, rooms in allowed.items():
        used = {name for page in pages(room) for name in imported(parsed(page), MODULES)}
        ours = {name for name in used if name.split(".")[0] in PRODUCT}
        assert {name for name in ours if not name.startswith(rooms)} == set(), room


def test_product_code_uses_what_the_project_is_built_on() -> None:
    used = {name.partition(".")[0] for page in pages(*PRODUCT) for name in imported(parsed(page), set())}
    assert used >= BUILT_ON


MODULES = {module(page) for page in pages(*PRODUCT)}
FLOWS = {name for name in MODULES if name.startswith("ledger.flows.")}


@pytest.mark.parametrize("count", [1, MOST + 1])
def test_a_folder_of_one_or_seventeen_is_found(count: int, tmp_path: Path) -> None:
    names = [*(tmp_path / "room" / f"noun{i}.py" for i in range(count)), tmp_path / "room" / "__init__.py"]
    assert counted(names, tmp_path) == {"room": count}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("'''A noun.'''\n", True),
        ("'''A noun. It is alone because two rooms use it.'''\n", False),
        ("x = 1\n" * SHORT, False),
    ],
)
def test_a_short_file_that_says_nothing_is_found(text: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "noun.py").write_text(text)
    assert silent(tmp_path / "noun.py") is found


def test_a_circle_through_a_function_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\n")
    (tmp_path / "b.py").write_text("def f():\n    from c import g\n")
    (tmp_path / "c.py").write_text("import_module('a')\n")
    arrows = graph(sorted(tmp_path.glob("*.py")), tmp_path)
    assert sorted(set(circle(arrows))) == ["a", "b", "c"]


def test_an_import_for_type_checkers_is_no_arrow() -> None:
    tree = ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nfrom b import c, d\n")
    assert imported(tree, {"a", "b", "b.c"}) == {"typing", "b", "b.c"}


PLANTED = {
    "ledger/core/values/ids.py": "import os, jsonschema, ledger.core.pricing.price",
    "ledger/store/session.py": "import ledger.flows.leases",
    "ledger/chain/abi.py": "import ledger.store.session",
    "ledger/flows/leases.py": "import celery, web3, ledger.flows.batches",
    "gateway/errors.py": "import ledger.chain.abi",
    "roles/cli/output.py": "import gateway.errors",
    "roles/wallet/home.py": "import roles.cli.output",
    "contracts/build.py": "import ledger.core.values.atoms",
}
"""An import that is not allowed, for each contract of import-linter."""


def test_every_import_contract_is_broken_by_an_import_it_forbids(tmp_path: Path) -> None:
    for page in pages(*PRODUCT):
        copy = tmp_path / page.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, copy)
    for name, line in PLANTED.items():
        with (tmp_path / name).open("a") as file:
            file.write(f"\n{line}\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    program = Path(sys.executable).parent / "lint-imports"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "300"}
    ended = subprocess.run(
        [program, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    broken = set(re.findall(r"^(.*) BROKEN", ended.stdout, re.MULTILINE))
    assert broken == {contract["name"] for contract in contracts}, ended.stdout[-3000:]
