"""The bundle that is committed is what the sources and the lock file make, to the byte; and the sources are typed."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.javascript import BUNDLE, NODE, ROOT

SOURCES = ROOT / "gateway" / "console" / "js"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def installed() -> None:
    if not (SOURCES / "node_modules").is_dir():
        pytest.skip("the bundler is not installed: make console")


def test_the_bundle_is_made_of_its_sources_to_the_byte(tmp_path: Path) -> None:
    subprocess.run([NODE, SOURCES / "build.mjs", tmp_path], check=True, cwd=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [BUNDLE.name]
    assert (tmp_path / BUNDLE.name).read_bytes() == BUNDLE.read_bytes(), "make console"


def test_the_sources_are_typed() -> None:
    compiler = SOURCES / "node_modules" / "typescript" / "bin" / "tsc"
    ended = subprocess.run([NODE, compiler, "-p", SOURCES], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_the_bundle_asks_nobody_and_runs_no_text() -> None:
    text = BUNDLE.read_text()
    assert set(re.findall(r"https?://[^\s\"'`]*", text)) <= {"https://…"}
    assert re.findall(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text) == []
