"""The book builds, its links lead somewhere, nothing is loaded from elsewhere, and its example is the rule's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from docs.book import failures, hooks, measured, plots, references, routes
from gateway.settings import Settings as GatewaySettings
from ledger.core.pricing.price import Claim, compose
from ledger.core.values.meters import Meter
from ledger.settings import Settings as LedgerSettings
from roles.cli import main
from tests import book
from tests.house.source import ROOT

CONFIGURATION = ROOT / "docs" / "book" / "mkdocs.yml"
LOADING = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src", "link": "href",
    "use": "href", "embed": "src", "object": "data",
}  # fmt: skip
"""Elements that fetch something when a page is opened, by the attribute that names it."""
FETCHED = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])(https?:)?//""")
EXAMPLE = ROOT / "docs" / "how" / "price.md"


class Page(HTMLParser):
    """What a page of the built book loads, links to and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.against_policy: list[str] = []
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.places |= {said[name] for name in ("id", "name") if name in said}
        self.against_policy += [f"{tag} {name}" for name in said if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in said and said.get("type") != "application/json"):
            self.against_policy.append(tag)
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        elif LOADING.get(tag) in said:
            self.loads.append(said[LOADING[tag]])


def pages(site: Path) -> dict[str, Page]:
    """Every page of the built book, by its path."""
    return {file.relative_to(site).as_posix(): Page(file.read_text()) for file in sorted(site.rglob("*.html"))}


def dead_links(site: Path, found: dict[str, Page]) -> Iterator[str]:
    """Links and loads to files and places that are not there."""
    for path, page in found.items():
        for target in (*page.links, *page.loads):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or parts.path.startswith(hooks.HERE):
                continue
            there = (site / path).parent / unquote(parts.path) if parts.path else site / path
            there = there / "index.html" if there.is_dir() else there
            known = found.get(there.resolve().relative_to(site.resolve()).as_posix()) if there.is_file() else None
            if not there.is_file() or (parts.fragment and known and unquote(parts.fragment) not in known.places):
                yield f"{path}: {target}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book, built as `make docs` does, into a folder of its own."""
    folder = tmp_path_factory.mktemp("book") / "site"
    words = ["-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIGURATION), "--site-dir", str(folder)]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_the_book_builds_and_every_link_leads_somewhere(site: Path) -> None:
    found = pages(site)
    assert len(found) > 60
    assert [*dead_links(site, found)] == []
    assert "search_index.json" in {file.name for file in site.rglob("*.json")}


@pytest.mark.slow
def test_nothing_in_the_book_is_loaded_from_elsewhere_and_no_page_has_a_script_or_a_style_in_it(site: Path) -> None:
    found = pages(site)
    loaded = {target for page in found.values() for target in page.loads}
    assert [target for target in loaded if urlsplit(target).netloc] == []
    assert {path: page.against_policy for path, page in found.items() if page.against_policy} == {}
    assert [file.name for file in site.rglob("*.css") if FETCHED.search(file.read_text())] == []
    assert [file.name for file in site.rglob("*.html") if "fonts.g" in file.read_text()] == []


def test_a_load_from_elsewhere_a_script_and_a_dead_link_are_found(tmp_path: Path) -> None:
    text = '<script src="//cdn/x.js"></script><script>1</script><p style="a"><a href="no.html">a</a><a href="#no">b</a>'
    (tmp_path / "index.html").write_text(text)
    page = Page(text)
    assert (page.loads, page.against_policy) == (["//cdn/x.js"], ["script", "p style"])
    assert [*dead_links(tmp_path, {"index.html": page})] == ["index.html: no.html", "index.html: #no"]
    assert FETCHED.search("@import '//cdn/x.css'")
    assert FETCHED.search("src: url(https://fonts)")


def test_the_worked_example_is_the_rules() -> None:
    text = EXAMPLE.read_text()
    last = text.split("So try ")[1]
    (total,) = re.findall(r"The call costs ([\d,]+) atoms", text)
    shown = [int(cell.replace(",", "")) for cell in re.findall(r"\| ([\d,]+) \|$", last.split("Now")[0], re.MULTILINE)]
    priced = compose([Claim(0, plots.ASKED), *(Claim(ratio, 0) for ratio in plots.RATIOS)])
    assert (int(total.replace(",", "")), tuple(shown)) == (priced.price, priced.amounts), "each line, then together"
    assert plots.wanted(priced.price) == priced.price


def test_every_command_route_setting_meter_and_code_is_in_a_reference() -> None:
    made = references.pages()
    commands = made["reference/cli.md"]
    assert [name for name in main.GROUPS if f"`tollway {name} " not in commands] == []
    openapi = routes.document()
    named = [f"### {method.upper()} {path}\n" for path, known in openapi["paths"].items() for method in known]
    assert [name for name in named if name not in made["reference/http.md"]] == []
    settings = [f"`LEDGER_{name.upper()}`" for name in LedgerSettings.model_fields]
    settings += [f"`GATEWAY_{name.upper()}`" for name in GatewaySettings.model_fields]
    assert [name for name in settings if name not in made["reference/settings.md"]] == []
    assert [meter.name for meter in Meter if f"`{meter.name}`" not in made["reference/meters.md"]] == []
    assert [name for name in failures.refusals() if f"`{name}`" not in made["reference/errors.md"]] == []


def test_a_code_without_advice_breaks_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(failures.ADVICE, "no_provider")
    with pytest.raises(AssertionError, match="no_provider"):
        failures.pages()


def test_the_navigation_has_the_words_first_and_every_page_once() -> None:
    def entries(part: object) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            for one in part.values():
                yield from entries(one)
        elif isinstance(part, list):
            for one in part:
                yield from entries(one)

    listed = [*entries(yaml.safe_load(CONFIGURATION.read_text())["nav"])]
    assert listed[:2] == ["README.md", "glossary.md"]
    assert len(listed) == len(set(listed))
    written = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    assert set(listed) == written | set(hooks.READMES.values()) | set(references.pages())


def test_names_of_documents_become_links_and_code_stays() -> None:
    known = {"runbook.md", "meters.md", "rooms/gateway.md", "rooms/deploy.md"}
    text = (
        "See `docs/runbook.md`, [deploy](../deploy/README.md#x) and [code](../gateway/app.py).\n\n    `docs/runbook.md`"
    )
    assert hooks.linked(text, "meters.md", known) == (
        "See [`docs/runbook.md`](runbook.md), [deploy](rooms/deploy.md#x) and code.\n\n    `docs/runbook.md`"
    )
    assert hooks.linked("`docs/meters.md`", "rooms/gateway.md", known) == "[`docs/meters.md`](../meters.md)"
    assert hooks.linked("`docs/meters.md`", "meters.md", known) == "`docs/meters.md`", "no page links to itself"


def test_each_figure_names_its_command_and_its_record() -> None:
    page = measured.filled((ROOT / "docs" / "performance.md").read_text())
    assert "<!-- figures" not in page
    for name in measured.FIGURES:
        said = measured.FIGURES[name]()
        assert "`make " in said
        assert "recorded in `" in said


@pytest.mark.parametrize("page", sorted(book.ROLES.glob("*.md")), ids=lambda page: page.stem)
def test_a_roles_page_is_an_hour_of_commands_and_leads_on(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# Your first hour as a")
    assert 4 <= sum(len(block.lines) for block in book.blocks(page)) <= 40
    assert "## Next\n" in text
    assert f"../reference/cli/{page.stem}.md" in text
