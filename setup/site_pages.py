# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Hooks of MkDocs (mkdocs.yml): parts of the documentation site that stand elsewhere.

Nothing is written twice: README's sections, messages, the help of the command line and Markdown
files outside of docs/ are read while the site is built. A page asks for them on a line of its own:

    <!-- include README.md -->                   what stands before the first section
    <!-- include README.md # On a robot -->      a section, without those below it
    <!-- include msg/Command.msg -->             a file, as a block of code
    <!-- include referdino --help -->            the help of every command

Links are relative to the file that they stand in and are checked by MkDocs; one to a file that is
no page becomes plain text.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parent.parent
# Pages of the site whose sources lie outside of docs/.
OUTSIDE = {
    "changelog.md": "CHANGELOG.md",
    "code_of_conduct.md": "CODE_OF_CONDUCT.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "trt_plugins.md": "trt_plugins/README.md",
}
# Where links to files lead that are pages of the site under another name.
PAGE_OF = {source: page for page, source in OUTSIDE.items()} | {"README.md": "index.md"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".msg": "text", ".srv": "text"}
HELP_WIDTH = 88
# Loading the program takes longer than printing the help of all of its commands.
PRINT_HELP = """
import contextlib, io, json, sys
from referdino_core.cli import main

texts = []
for command in json.loads(sys.argv[1]):
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            main([*command, "--help"])
    except SystemExit as ended:
        assert ended.code == 0, ended.code
    texts.append(printed.getvalue())
print(json.dumps(texts))
"""

INCLUDE = re.compile(r"^<!-- include (?P<path>\S+?)(?: # (?P<section>.+?))? -->$", re.MULTILINE)
HELP = re.compile(r"^<!-- include referdino --help -->$", re.MULTILINE)
HEADING = re.compile(r"^(?P<marks>#{1,6}) (?P<title>.+?)\s*$")
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages whose sources lie outside of docs/."""
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with everything that it includes."""
    here = page.file.src_uri
    source = OUTSIDE.get(here, f"docs/{here}")
    markdown = with_links_of_site(markdown, source, here)
    markdown = HELP.sub(lambda _: help_of_every_command(), markdown)
    return INCLUDE.sub(lambda asked: included(asked["path"], asked["section"], here), markdown)


def included(path: str, section: str | None, page: str) -> str:
    """What an include line stands for.

    Args:
        path: the file, relative to the repository.
        section: a heading of a Markdown file; None for what stands before its first section.
        page: the page that includes it, relative to docs/.

    Raises:
        PluginError: there is no such file or section.
    """
    file = REPOSITORY / path
    if not file.is_file():
        raise PluginError(f"{page} includes {path}, which is not there")
    text = file.read_text()
    if file.suffix == ".md":
        return with_links_of_site(section_of(text, section, path, page), path, page)
    return f"```{LANGUAGES.get(file.suffix, 'text')}\n{text.strip()}\n```"


def section_of(text: str, title: str | None, path: str, page: str) -> str:
    """The text below a heading, down to the next heading."""
    found: list[str] | None = None
    in_code = False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        heading = None if in_code else HEADING.match(line)
        if heading and found is not None:
            break
        if heading and (heading["title"] == title or (title is None and heading["marks"] == "#")):
            found = []
        elif found is not None:
            found.append(line)
    if found is None:
        raise PluginError(f"{page} includes the section {title!r} of {path}, which has none")
    return "\n".join(found).strip()


def with_links_of_site(text: str, source: str, page: str) -> str:
    """Text whose links lead to pages of the site.

    Args:
        text: Markdown.
        source: the file that it comes from, relative to the repository.
        page: the page that it becomes part of, relative to docs/.
    """

    def replaced(link: re.Match[str]) -> str:
        path, mark, anchor = link["target"].partition("#")
        if not path or ":" in path:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target in PAGE_OF:
            target = f"docs/{PAGE_OF[target]}"
        elif not target.startswith("docs/") and (REPOSITORY / target).exists():
            name = link["text"].strip("`")
            return f"`{target}`" if name == target else f"{link['text']} (`{target}`)"
        folder = posixpath.dirname(f"docs/{page}")
        uri = posixpath.relpath(target, folder)
        return f"{link['image']}[{link['text']}]({uri}{mark}{anchor})"

    return LINK.sub(replaced, text)


def help_of_every_command() -> str:
    """The help texts of `referdino` and its commands, under a heading each."""
    (general,) = help_of([])
    commands = re.findall(r"^    ([a-z][a-z-]+)(?: |$)", general, re.MULTILINE)
    parts = [f"```text\n{general}\n```"]
    for command, text in zip(commands, help_of(*([one] for one in commands)), strict=True):
        parts.append(f"## {command}\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def help_of(*commands: list[str]) -> list[str]:
    """What `referdino COMMAND --help` prints for each of the commands, in one process."""
    asked = subprocess.run(
        [sys.executable, "-c", PRINT_HELP, json.dumps(commands)],
        cwd=REPOSITORY,
        env=os.environ | {"COLUMNS": str(HELP_WIDTH), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    if asked.returncode != 0:
        raise PluginError(f"referdino --help failed: {asked.stderr}")
    return [text.strip() for text in json.loads(asked.stdout)]
