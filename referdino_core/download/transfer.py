# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Resumable download of one file over HTTP.

huggingface_hub is not used for this: since 1.31 it restarts interrupted downloads.
"""

from __future__ import annotations

import fcntl
import http.client
import logging
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

from referdino_core.errors import DownloadError
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import cannot_be_written

_BLOCK = 1 << 18  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing new
_FIRST_PAUSE = 0.5  # seconds, doubled from attempt to attempt
_TRANSIENT_STATUSES = (408, 429, 500, 502, 503, 504)
_SHA256 = re.compile(r"[0-9a-f]{64}")

_logger = logging.getLogger("referdino.download")


@dataclass(frozen=True)
class Announcement:
    """A server's statements about a file; None if it makes none.

    Attributes:
        entity_tag: changes whenever the file does.
        size: bytes.
        checksum: SHA-256, 64 hexadecimal digits.
    """

    entity_tag: str | None
    size: int | None
    checksum: str | None


class _InterruptedTransferError(Exception):
    """The connection failed, and a retry may succeed."""


class _LinkedFile(urllib.request.HTTPRedirectHandler):
    """Redirect handler that keeps the hub's headers of a large file it redirects to.

    Never follows a redirect from an encrypted to an unencrypted URL.
    """

    def __init__(self) -> None:
        self.entity_tag: str | None = None
        self.size: int | None = None

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        self.entity_tag = headers.get("X-Linked-Etag") or self.entity_tag
        size = headers.get("X-Linked-Size")
        self.size = int(size) if size and size.isdecimal() else self.size
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("https", "http") or (req.type == "https" and scheme == "http"):
            fp.close()
            raise DownloadError(
                f"{req.full_url} redirects to {newurl}, which is not encrypted; nothing was "
                "taken from there. Check your proxy, and HF_ENDPOINT if you use a mirror."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def partial_path(path: Path) -> Path:
    """The path of an incomplete download."""
    return path.with_name(f"{path.name}.part")


def transfer(url: str, path: Path, monitor: ProgressMonitor) -> Announcement:
    """Download a file to `partial_path(path)`; returns the server's statements about it.

    Resumes an incomplete download if the entity tag of the server is still the same, else starts
    over. Dropped connections are retried.

    Args:
        url: of the file, over HTTP or HTTPS.
        path: its final path.
        monitor: for progress in bytes, block by block, and cancellation.

    Raises:
        DownloadError: the download fails, the disk is full, or another download of the same
            file is running; what has arrived is kept.
        Cancelled: the download was cancelled; what has arrived is kept.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url} is not a web address; check HF_ENDPOINT.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = partial_path(path).open("ab", buffering=0)
    except OSError as error:
        raise DownloadError(cannot_be_written(path, error)) from error
    with part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DownloadError(
                f"{path.name} is already being downloaded by another process."
            ) from error
        try:
            announcement = _with_new_attempts(url, part, _tag_path(path), monitor)
        except DownloadError:
            if part.seek(0, 2) == 0:
                partial_path(path).unlink()
                _tag_path(path).unlink(missing_ok=True)
            raise
    _tag_path(path).unlink(missing_ok=True)
    return announcement


def _tag_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.etag")


def _with_new_attempts(
    url: str, part: FileIO, tag_path: Path, monitor: ProgressMonitor
) -> Announcement:
    failures, furthest = 0, part.tell()
    while True:
        try:
            return _attempt(url, part, tag_path, monitor)
        except _InterruptedTransferError as interruption:
            failures = 1 if part.tell() > furthest else failures + 1
            furthest = max(furthest, part.tell())
            if failures >= _ATTEMPTS:
                raise DownloadError(
                    f"The connection to {url} keeps breaking ({interruption}); run the same "
                    "command again to resume."
                ) from interruption
            _logger.warning("The connection broke (%s); resuming.", interruption)
            time.sleep(_FIRST_PAUSE * 2 ** (failures - 1))


def _attempt(url: str, part: FileIO, tag_path: Path, monitor: ProgressMonitor) -> Announcement:
    known_tag = tag_path.read_text(encoding="utf-8") if tag_path.is_file() else None
    if known_tag is None:
        part.truncate(0)
    here = part.seek(0, 2)
    linked = _LinkedFile()
    response = _request(url, here, linked)
    if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        response.close()
        size = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        if size and int(size[1]) == here and linked.entity_tag in (None, known_tag):
            monitor.report(here, here)
            return Announcement(known_tag, here, _checksum(linked))
        part.truncate(0)
        return _attempt(url, part, tag_path, monitor)
    with response:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError(
                f"{url} returns a web page; log in to the network if it requires that, or check "
                "HF_ENDPOINT."
            )
        announcement, start = _read_announcement(response, linked)
        if here and start == here and announcement.entity_tag != known_tag:
            _logger.warning("The file has changed on the server; starting over.")
            part.truncate(0)
            return _attempt(url, part, tag_path, monitor)
        if start not in (0, here):
            raise DownloadError(f"{url} returns a part that was not requested; try again later.")
        part.truncate(start)
        part.seek(0, 2)
        if announcement.entity_tag is None:
            tag_path.unlink(missing_ok=True)
        else:
            _write(tag_path, announcement.entity_tag)
        _receive(response, part, announcement.size, monitor)
    return announcement


def _request(url: str, start: int, linked: _LinkedFile) -> http.client.HTTPResponse:
    """Request a file from a byte on; returns a response of status 416 if it ends there."""
    request = urllib.request.Request(
        url, headers={"User-Agent": "referdino", "Accept-Encoding": "identity"}
    )
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return urllib.request.build_opener(linked).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error  # type: ignore[return-value]
        error.close()
        if error.code in _TRANSIENT_STATUSES:
            raise _InterruptedTransferError(
                f"the server returns {error.code} {error.reason}"
            ) from error
        raise DownloadError(_advice(url, error.code, str(error.reason))) from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{url} cannot be trusted ({reason.verify_message}); if your proxy signs with a "
                "certificate of its own, name it with SSL_CERT_FILE."
            ) from error
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        if start:
            raise _InterruptedTransferError(text) from error
        raise DownloadError(
            f"{url} cannot be reached ({text}); check the network, and HTTPS_PROXY or "
            "HF_ENDPOINT if you need a proxy or a mirror."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedTransferError(str(error) or type(error).__name__) from error


def _advice(url: str, status: int, reason: str) -> str:
    if status == 404:
        return (
            f"{url} does not exist (404); its publisher may have moved it, or HF_ENDPOINT is wrong."
        )
    if status in (401, 403):
        return f"{url} may not be read ({status} {reason}); check HF_ENDPOINT and your proxy."
    return f"{url} cannot be downloaded: the server returns {status} {' '.join(reason.split())}."


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DownloadError(cannot_be_written(path, error)) from error


def _read_announcement(
    response: http.client.HTTPResponse, linked: _LinkedFile
) -> tuple[Announcement, int]:
    """The server's statements about the whole file, and the first byte that it sends."""
    start, size = 0, response.length
    content_range = re.fullmatch(
        r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "")
    )
    if response.status == http.client.PARTIAL_CONTENT and content_range:
        start = int(content_range[1])
        size = int(content_range[2]) if content_range[2] != "*" else None
    entity_tag = linked.entity_tag or response.headers.get("ETag")
    return Announcement(
        entity_tag, size if size is not None else linked.size, _checksum(linked)
    ), start


def _checksum(linked: _LinkedFile) -> str | None:
    """The checksum: the hub's entity tag of a large file is its SHA-256."""
    checksum = (linked.entity_tag or "").strip('"')
    return checksum if _SHA256.fullmatch(checksum) else None


def _receive(
    response: http.client.HTTPResponse, part: FileIO, size: int | None, monitor: ProgressMonitor
) -> None:
    here = part.tell()
    path = Path(str(part.name))
    if size is not None and size - here > shutil.disk_usage(path.parent).free:
        raise DownloadError(
            f"{path.stem} needs {size - here:,} more bytes than the disk has free; "
            "make room or choose another --directory."
        )
    monitor.report(here, size)
    while True:
        monitor.check(f"The download of {path.stem}")
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedTransferError(str(error) or type(error).__name__) from error
        if not block:
            break
        if size is not None and here + len(block) > size:
            raise DownloadError(f"{path} became longer than announced; delete it and try again.")
        try:
            _write_all(part, block)
        except OSError as error:
            raise DownloadError(cannot_be_written(path, error)) from error
        here += len(block)
        monitor.report(here, size)
    if size is not None and here < size:
        raise _InterruptedTransferError(f"{here:,} of {size:,} bytes arrived")


def _write_all(part: FileIO, block: bytes) -> None:
    """Write all data unbuffered, so that closing the file cannot fail on a full disk."""
    rest = memoryview(block)
    while rest:
        rest = rest[part.write(rest) :]
