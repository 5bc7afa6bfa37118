"""MkDocs' hooks: READMEs and references become pages, names of documents become links, pages need no script in them."""

from __future__ import annotations

import hashlib
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.book import measured, plots, references

ROOT = Path(__file__).parents[2]
READMES = {
    "README.md": "rooms/tollway.md",
    "CONTRIBUTING.md": "rooms/contributing.md",
    "CHANGELOG.md": "rooms/changelog.md",
    "ledger/README.md": "rooms/ledger.md",
    "gateway/README.md": "rooms/gateway.md",
    "contracts/README.md": "rooms/contracts.md",
    "contracts/FIELDS.md": "rooms/fields.md",
    "roles/README.md": "rooms/roles.md",
    "roles/node/README.md": "rooms/node.md",
    "deploy/README.md": "rooms/deploy.md",
    "deploy/demo/README.md": "rooms/demo.md",
}
"""Documents outside of `docs`, and where they are in the book."""
SOURCES = {place: readme for readme, place in READMES.items()}
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
NAMED = re.compile(r"(?<![\[`\w])`([\w./-]+\.md)`(?![\]`\w])")
RECORDED = re.compile(r"\]\((?:\.\./)+bench/results/([\w-]+\.svg)\)")
PICTURE = re.compile(r"\]\(docs/images/([\w-]+\.png)\)")
"""As READMEs name a picture of the documents."""
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
HERE = "/help"
"""Where a gateway serves the book: the page for what is not there cannot know how deep it was asked for."""

scripts: dict[str, str] = {}
"""The scripts that were written into pages, by the name of the file that each becomes."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Begin anew; `mkdocs serve` builds more than once."""
    scripts.clear()
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what is written elsewhere, and what is made from the code and from measurements."""
    made: dict[str, str] = {place: (ROOT / readme).read_text() for readme, place in READMES.items()}
    made |= references.pages() | plots.drawings()
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links and names of documents lead to where these are in the book."""
    return linked(measured.filled(markdown), page.file.src_uri, {file.src_uri for file in files.documentation_pages()})


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Move scripts out of a page, so that a strict Content-Security-Policy holds."""
    return without_scripts(output, posixpath.relpath("assets/inline", posixpath.dirname(page.file.dest_uri) or "."))


def on_post_template(output: str, *, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page that stands for what is not there, at any depth."""
    if template_name == "404.html":
        return without_scripts(re.sub(r'((?:src|href)=")/', rf"\1{HERE}/", output), f"{HERE}/assets/inline")
    return output


def on_post_build(*, config: MkDocsConfig) -> None:
    """Write the scripts, and take away what nobody asks for: maps of minified code, other languages, a sitemap."""
    site = Path(config.site_dir)
    folder = site / "assets" / "inline"
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in scripts.items():
        (folder / name).write_text(code)
    for extra in (*site.rglob("*.map"), *site.glob("assets/javascripts/lunr/**/*.js"), *site.glob("sitemap.xml*")):
        extra.unlink()


def linked(markdown: str, place: str, known: set[str]) -> str:
    """A page's text with its links, and the names of documents in backticks, as links between pages of the book.

    `place` is the page's own, `known` are all places. What is no page, such as a source file, is named and not linked.
    """
    source = SOURCES.get(place, f"docs/{place}")

    def path_to(name: str, *, anywhere: bool) -> str | None:
        folders = (posixpath.dirname(source), "") if anywhere else (posixpath.dirname(source),)
        for folder in folders:
            found = posixpath.normpath(posixpath.join(folder, name))
            there = READMES.get(found, found.removeprefix("docs/") if found.startswith("docs/") else "")
            if there in known:
                return posixpath.relpath(there, posixpath.dirname(place) or ".")
        return None

    def of_link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if (found := path_to(target, anywhere=False)) is not None:
            return f"[{words}]({found}{anchor})"
        outside = (ROOT / posixpath.dirname(source) / target).exists()
        return words if outside else match[0]

    def of_name(match: re.Match[str]) -> str:
        found = path_to(match[1], anywhere=True)
        own = found is None or posixpath.normpath(posixpath.join(posixpath.dirname(place), found)) == place
        return match[0] if own else f"[`{match[1]}`]({found})"

    lines, fenced = [], False
    for line in markdown.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        is_code = fenced or line.startswith(("    ", "```"))
        folder = posixpath.dirname(place) or "."
        drawn = RECORDED.sub(rf"]({posixpath.relpath('plots', folder)}/\1)", line)
        drawn = PICTURE.sub(rf"]({posixpath.relpath('images', folder)}/\1)", drawn)
        lines.append(line if is_code else NAMED.sub(of_name, LINK.sub(of_link, drawn)))
    return "\n".join(lines)


def without_scripts(html: str, folder: str) -> str:
    """A page whose scripts are files in `folder`. Data in script elements stays: a browser runs none of it."""

    def moved(match: re.Match[str]) -> str:
        name = f"{hashlib.sha256(match[1].encode()).hexdigest()[:16]}.js"
        scripts[name] = match[1]
        return f'<script src="{folder}/{name}"></script>'

    return SCRIPT.sub(moved, html)
