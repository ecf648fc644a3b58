# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A real browser for the tests of pages: Chromium, without a screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

CHROMIUM = Path("/usr/bin/chromium")

_ARGUMENTS = ("--no-sandbox", "--disable-gpu")


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))
        yield browser
        browser.close()


class OpenPage:
    """A page in a window of its own.

    Attributes:
        page: Playwright's.
        complaints: what the page wrote to the console, and what went wrong in it.
        requests: what it asked for beyond itself and what it carries.
    """

    def __init__(self, browser: Any, path: Path, **window: Any) -> None:
        self._context = browser.new_context(**window)
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        own = path.resolve().as_uri()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, own))
        self.page.goto(own)
        self.page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=60_000)

    def __enter__(self) -> OpenPage:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def wait_for_position(self, position: int) -> None:
        self.page.wait_for_selector(f"html[data-position='{position}']", state="attached")

    def click_timeline(self, place: int, seconds: float) -> None:
        """Click where a timeline shows a time, by the axis that Plotly drew."""
        x, y = self.page.evaluate(
            """([place, seconds]) => {
                const timeline = document.querySelectorAll(".timeline")[place];
                timeline.scrollIntoView({block: "center"});
                const plot = timeline.querySelector(".plot");
                const box = plot.getBoundingClientRect();
                const axis = plot._fullLayout.xaxis;
                return [box.left + axis._offset + axis.l2p(seconds), box.top + 60];
            }""",
            [place, seconds],
        )
        self.page.mouse.click(x, y)

    def video_image(self, place: int = 0) -> np.ndarray:
        """What a video shows once it has settled, (H, W, 3) uint8."""
        self.page.wait_for_function(
            "place => { const v = document.querySelectorAll('video')[place];"
            " return v.readyState >= 2 && !v.seeking; }",
            arg=place,
        )
        encoded = self.page.evaluate(
            """place => {
                const video = document.querySelectorAll("video")[place];
                const canvas = document.createElement("canvas");
                canvas.width = video.videoWidth;
                canvas.height = video.videoHeight;
                canvas.getContext("2d").drawImage(video, 0, 0);
                return [...new Uint8Array(
                    Uint8Array.from(atob(canvas.toDataURL("image/png").split(",")[1]),
                    (character) => character.charCodeAt(0)))];
            }""",
            place,
        )
        return cv2.imdecode(np.array(encoded, np.uint8), cv2.IMREAD_COLOR)

    def _note(self, url: str, own: str) -> None:
        if url != own and not url.startswith(("data:", "blob:")):
            self.requests.append(url)
