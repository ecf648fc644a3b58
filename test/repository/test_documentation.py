# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation: the site builds, and what the pages name exists."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from repository import REPOSITORY

import referdino_core as rd

pytestmark = pytest.mark.slow

LIMIT = 240
"""Seconds that building the site may take on a busy machine."""

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def markdown_files() -> list[Path]:
    """Every Markdown file of the repository."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = [REPOSITORY / path for path in listing.stdout.splitlines()]
    return [file for file in files if file.exists()]


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a Markdown file."""
    titles = re.findall(r"^#+ +(.+?) *$", CODE.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(file: Path) -> list[str]:
    """Where the links of a Markdown file lead, those to other hosts left out."""
    found = LINK.findall(CODE.sub("", file.read_text()))
    return [target for target in found if "://" not in target and not target.startswith("mailto:")]


def test_links_between_files_lead_somewhere() -> None:
    files = markdown_files()
    assert REPOSITORY / "README.md" in files
    broken = []
    for file in files:
        for target in links(file):
            path, _, anchor = target.partition("#")
            page = (file.parent / path).resolve() if path else file
            # Names of the API have anchors that mkdocstrings makes; MkDocs checks them.
            made_by_site = anchor.startswith("referdino_core.") or page in outside_sources(file)
            known = not anchor or made_by_site or anchor in anchors(page)
            if not (page.exists() or made_by_site) or not known:
                broken.append(f"{file.relative_to(REPOSITORY)}: {target}")
    assert not broken


def outside_sources(file: Path) -> set[Path]:
    """Pages of the site beside a page of docs/ whose sources lie outside of docs/."""
    return {file.parent / name for name in re.findall(r'^    "(\w+\.md)": ', hooks_source(), re.M)}


def hooks_source() -> str:
    return (REPOSITORY / "setup" / "site_pages.py").read_text()


def test_files_of_the_architecture_exist_and_an_image_takes_at_most_15_hops() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = re.findall(r"(?:referdino_core|referdino_ros)/[\w/]+(?:\.py)?", text)
    assert len(named) > 20
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
    hops = [int(number) for number in re.findall(r'\["(\d+) ', text)]
    assert sorted(hops) == list(range(1, len(hops) + 1))
    assert len(hops) <= 15


def test_files_named_in_the_contributing_guide_exist() -> None:
    text = CODE.sub("", (REPOSITORY / "CONTRIBUTING.md").read_text())
    named = re.findall(r"`((?:referdino_\w+|test|setup|docs|config)/[\w./]+)`", text)
    assert len(named) > 10
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
    short = re.findall(r"`(\w+\.(?:h|json|py|cpp))`", text)
    folders = [REPOSITORY / name for name in ("referdino_core", "setup")]
    present = {file.name for folder in folders for file in folder.rglob("*.*")}
    assert [name for name in short if name not in present] == []


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text()
    assert sorted(re.findall(r"^::: referdino_core\.(\w+)$", page, re.M)) == sorted(rd.__all__)


def test_citation_is_of_this_version() -> None:
    declared = re.search(r'^version = "(.+?)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    cited = re.search(r"^version: (\S+)$", (REPOSITORY / "CITATION.cff").read_text(), re.M)
    assert declared and cited and declared[1] == cited[1]


# ---- The site, where MkDocs is installed ----


class Resources(HTMLParser):
    """What a page loads when it is opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        address = given.get("src") or (given.get("href") if tag == "link" else None)
        if address:
            self.loaded.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly and without network."""
    for package in ("material", "mkdocs", "mkdocstrings"):
        pytest.importorskip(package, reason="MkDocs is not installed")
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://localhost:9")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY,
        env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_site_shows_what_it_takes_from_elsewhere(site: Path) -> None:
    """A section of README, a message, the help of a command, a docstring, a parameter."""
    for page, words in {
        "quick_start.html": "make demo",
        "node.html": "uint8 TRACKING=1",
        "cli.html": "usage: referdino build-engine",
        "api.html": "referdino_core.Session.step",
        "parameters.html": "<code>mask_threshold</code>",
        "contributing.html": "Adding a CPU kernel",
    }.items():
        assert words in re.sub(r"</?span[^>]*>", "", (site / page).read_text()), page
    assert not [page for page in site.rglob("*.html") if "&lt;!-- include" in page.read_text()]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        for address in Resources(page.read_text()).loaded:
            if not address.startswith("data:"):
                assert "//" not in address, page
                relative = address.split("?")[0].split("#")[0]
                assert page.name == "404.html" or (page.parent / relative).exists(), page


@pytest.fixture
def hooks() -> ModuleType:
    """The hooks of the site."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed")
    path = REPOSITORY / "setup" / "site_pages.py"
    specification = importlib.util.spec_from_file_location("site_pages", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_page_that_includes_a_missing_section_is_refused(hooks: ModuleType) -> None:
    with pytest.raises(Exception, match=r"robot\.md .* section 'No such' of README\.md"):
        hooks.included("README.md", "No such", "robot.md")
    with pytest.raises(Exception, match=r"node\.md includes msg/No\.msg, which is not there"):
        hooks.included("msg/No.msg", None, "node.md")


def test_links_change_with_the_page_that_they_come_to(hooks: ModuleType) -> None:
    def moved(link: str, source: str, page: str) -> str:
        return hooks.with_links_of_site(link, source, page)

    assert moved("[a](docs/export.md#x)", "README.md", "robot.md") == "[a](export.md#x)"
    assert moved("[a](docs/export.md)", "README.md", "nano/README.md") == "[a](../export.md)"
    assert moved("[a](../trt_plugins/README.md)", "docs/a.md", "a.md") == "[a](trt_plugins.md)"
    assert moved("![a](curves.png)", "docs/nano/README.md", "nano/README.md") == "![a](curves.png)"
    assert moved("[`LICENSE`](LICENSE)", "README.md", "index.md") == "`LICENSE`"
    assert moved("[terms](LICENSE)", "README.md", "index.md") == "terms (`LICENSE`)"
    assert moved("[a](https://ros.org/x#y)", "README.md", "a.md") == "[a](https://ros.org/x#y)"
    assert moved("[a](no_such.md)", "README.md", "a.md") == "[a](../no_such.md)"
