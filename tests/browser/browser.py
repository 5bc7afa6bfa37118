"""A real browser for tests, without root: the system's Chromium, else npm's. Alone, because only visits start one.

A visit is a module of `visits`. What a page must not do (`visitor.mjs`) fails the test. With TOLLWAY_IMAGES=docs/images
the visits write the screenshots that the documents show.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.javascript import run

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Browser:
    """Starts a browser for each visit. `folder` has what npm's Chromium unpacks, once for all."""

    folder: Path

    def visits(
        self, name: str, url: str, *, key: str = "", elsewhere: Sequence[str] = (), seconds: float = 240, **given: Any
    ) -> Any:
        """What a visit to a gateway returns. Fails on whatever a page did that it must not."""
        images = os.environ.get("TOLLWAY_IMAGES", "")
        how = {"key": key, "elsewhere": elsewhere, "images": images and str(Path(images).resolve())}
        visit = HERE / "visits" / f"{name}.mjs"
        told = {"visit": str(visit), "folder": str(self.folder), "url": url, "how": how, "given": given}
        found = run(HERE / "run.mjs", told=told, seconds=seconds)
        assert not found["findings"], "\n".join(found["findings"])
        return found["result"]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    if not (HERE / "node_modules").is_dir():
        pytest.skip("no browser is installed: make .venv/.stamp/browser")
    return Browser(tmp_path_factory.mktemp("browser"))
