# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One HTML file with everything in it."""

from __future__ import annotations

import base64
import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from referdino_core.errors import ReferDINOError
from referdino_core.files import AtomicFile, OutputError
from referdino_core.report.plots import LEFT, RIGHT, colour_of

_TEMPLATES = Path(__file__).with_name("templates")
_PLOTLY = Path("package_data", "plotly.min.js")


class ReportUnavailable(ReferDINOError):
    """A library that reports need is not installed."""


def write_page(path: Path, template: str, content: Mapping[str, Any]) -> Path:
    """Fill a template and write it, whole or not at all.

    Raises:
        ReportUnavailable: jinja2 or plotly is not installed.
        OutputError: the place cannot be written.
    """
    plotly = _plotly()
    environment = _environment()
    stream = environment.get_template(template).stream(
        content, plotly=plotly, margins={"left": LEFT, "right": RIGHT}
    )
    file = AtomicFile(path)
    try:
        # Names that are no UTF-8 are written so that JSON and people can read them: \udc80.
        with file.temporary_path.open("w", encoding="utf-8", errors="backslashreplace") as page:
            page.writelines(stream)
    except OSError as error:
        file.discard()
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    except BaseException:
        file.discard()
        raise
    file.commit()
    return path


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ReportUnavailable("A report needs jinja2: pip install jinja2.") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    environment.filters["colour"] = colour_of
    environment.filters["sortable"] = _sortable
    return environment


def _sortable(value: float | None) -> str:
    """A number as the page's script reads it, empty for None."""
    if value is None:
        return ""
    return str(float(value)).replace("inf", "Infinity")


def _plotly() -> str:
    """plotly.js, compressed, as base64: 2 MB in place of 4.8 MB; the browser unpacks it."""
    found = importlib.util.find_spec("plotly")  # the package itself is not imported
    folders = [] if found is None else list(found.submodule_search_locations or ())
    for folder in folders:
        script = Path(folder) / _PLOTLY
        if script.is_file():
            # No time in the file: the same run makes the same page.
            return base64.b64encode(gzip.compress(script.read_bytes(), mtime=0)).decode("ascii")
    raise ReportUnavailable("A report needs plotly: pip install plotly.")
