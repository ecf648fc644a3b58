# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A file hub on this machine: entity tags, byte ranges, redirects, and ways to misbehave."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from referdino_core.progress import ProgressMonitor

from referdino_core.download import ASSETS, Fetched, fetch
from referdino_core.download.catalogue import RemoteFile

CHECKPOINT = ASSETS["ryt_swinb"].files[0]
CONTENT = bytes(range(256)) * 4096  # 1 MiB
STORAGE = "/storage/"


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked.

    Attributes:
        contents, entity_tags, content_types: by path.
        break_after: bytes after which a connection is cut, once for each entry.
        large: paths that are redirected to a storage path, with their checksum announced.
        elsewhere: paths that are redirected to any address.
        failures: statuses that the next requests are answered with.
        requests: path and range of each.
    """

    contents: dict[str, bytes] = field(default_factory=dict)
    entity_tags: dict[str, str] = field(default_factory=dict)
    content_types: dict[str, str] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    large: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    honours_ranges: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def hold(self, path: str, content: bytes, entity_tag: str = '"one"') -> None:
        self.contents[path] = content
        self.entity_tags[path] = entity_tag

    def ranges(self) -> list[str | None]:
        return [asked for path, asked in self.requests if path in self.contents]


class HubHandler(BaseHTTPRequestHandler):
    """Answers like a file hub: entity tags, byte ranges, redirects of large files."""

    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        hub.requests.append((self.path, self.headers.get("Range")))
        if hub.failures:
            return self.send_error(hub.failures.pop(0))
        if self.path in hub.large:
            announced = {"X-Linked-Etag": f'"{hub.large[self.path]}"', "X-Linked-Size": "1"}
            return self.redirect(STORAGE + self.path.rsplit("/", 1)[1], announced)
        if self.path in hub.elsewhere:
            return self.redirect(hub.elsewhere[self.path], {})
        if self.path not in hub.contents:
            return self.send_error(404)
        content = hub.contents[self.path]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked and hub.honours_ranges else 0
        if start >= len(content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if hub.entity_tags[self.path]:
            self.send_header("ETag", hub.entity_tags[self.path])
        if self.path in hub.content_types:
            self.send_header("Content-Type", hub.content_types[self.path])
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        sent = content[start:]
        if hub.break_after:
            sent = sent[: hub.break_after.pop(0)]
            self.close_connection = True
        self.wfile.write(sent)

    def redirect(self, location: str, headers: dict[str, str]) -> None:
        self.send_response(302)
        for name, value in {"Location": location, **headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """The test's output is no place for an access log."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up or trust no certificate are part of the tests."""


@contextmanager
def serving(hub: Hub, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server that answers from the hub, encrypted where there is a context."""
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (HubHandler,), {"hub": hub}))
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def path_of(file: RemoteFile) -> str:
    """Where the hub holds a file of the catalogue."""
    return f"/{file.repository}/resolve/{file.revision}/{file.path}"


PATH = path_of(CHECKPOINT)


def get(directory: Path, seen: list[tuple[int, int | None]] | None = None) -> Fetched:
    """Fetch the checkpoint; `seen` takes what is told of the progress."""
    told = [] if seen is None else seen
    monitor = ProgressMonitor(lambda progress: told.append((progress.done, progress.total)))
    return fetch(CHECKPOINT, directory, monitor)
