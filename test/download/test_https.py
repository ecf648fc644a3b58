# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Downloads from real HTTPS servers on this machine: redirects, certificates, resume."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from file_hub import CONTENT, PATH, STORAGE, Hub, get, serving

from referdino_core.download import DownloadError

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl, which makes the certificate"
)


@dataclass
class Web:
    """An encrypted and an unencrypted server, with their addresses."""

    hub: Hub
    secure: str
    plain_hub: Hub
    plain: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of this machine, with its key in the same file."""
    folder = tmp_path_factory.mktemp("certificate")
    key, signed = folder / "key.pem", folder / "signed.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", signed], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> Iterator[Web]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    hub, plain_hub = Hub(), Hub()
    with serving(hub, tls) as secure, serving(plain_hub) as plain:
        monkeypatch.setenv("HF_ENDPOINT", secure)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setattr("referdino_core.download.transfer._FIRST_PAUSE", 0.01)
        yield Web(hub, secure, plain_hub, plain)


def test_a_cut_transfer_is_resumed_and_its_announced_checksum_holds(
    web: Web, tmp_path: Path
) -> None:
    web.hub.large[PATH] = hashlib.sha256(CONTENT).hexdigest()
    web.hub.hold(STORAGE + "ryt_swinb.pth", CONTENT)
    web.hub.break_after = [250_000, 250_000]
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert web.hub.ranges() == [None, "bytes=250000-", "bytes=500000-"]


def test_a_wrong_file_is_refused_after_a_resume(web: Web, tmp_path: Path) -> None:
    web.hub.large[PATH] = hashlib.sha256(CONTENT).hexdigest()
    web.hub.hold(STORAGE + "ryt_swinb.pth", CONTENT[:-1] + b"!")
    web.hub.break_after = [250_000]
    with pytest.raises(DownloadError, match="announced was"):
        get(tmp_path)
    assert not (tmp_path / "ryt_swinb.pth").exists()


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_no_redirect_leads_from_an_encrypted_to_an_unencrypted_address(
    web: Web, tmp_path: Path, hops: int
) -> None:
    stations = [PATH, *(f"/hop/{number}" for number in range(1, hops))]
    for station, following in pairwise(stations):
        web.hub.elsewhere[station] = web.secure + following
    web.hub.elsewhere[stations[-1]] = f"{web.plain}/file"
    web.plain_hub.hold("/file", CONTENT)
    with pytest.raises(DownloadError, match=r"redirects to http://.*which is not encrypted"):
        get(tmp_path)
    assert web.plain_hub.requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_way_that_becomes_encrypted_stays_so(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A mirror without encryption is the user's choice; what it leads to may not fall back."""
    monkeypatch.setenv("HF_ENDPOINT", web.plain)
    web.plain_hub.elsewhere[PATH] = f"{web.secure}/file"
    web.hub.hold("/file", CONTENT)
    assert get(tmp_path / "encrypted").path.read_bytes() == CONTENT
    web.hub.elsewhere["/back"] = f"{web.plain}/file"
    web.plain_hub.elsewhere[PATH] = f"{web.secure}/back"
    web.plain_hub.hold("/file", CONTENT)
    with pytest.raises(DownloadError, match="not encrypted"):
        get(tmp_path / "back")


def test_a_redirect_while_a_transfer_is_resumed_is_held_to_the_same(
    web: Web, tmp_path: Path
) -> None:
    (tmp_path / "ryt_swinb.pth.part").write_bytes(CONTENT[:1000])
    (tmp_path / "ryt_swinb.pth.part.etag").write_text('"one"')
    web.hub.elsewhere[PATH] = f"{web.plain}/file"
    web.plain_hub.hold("/file", CONTENT)
    with pytest.raises(DownloadError, match="not encrypted"):
        get(tmp_path)
    assert web.plain_hub.requests == []
    assert (tmp_path / "ryt_swinb.pth.part").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/file", "FTP://127.0.0.1/file"])
def test_a_redirect_away_from_the_web_is_refused(web: Web, tmp_path: Path, target: str) -> None:
    web.hub.elsewhere[PATH] = target
    with pytest.raises(DownloadError, match="not encrypted"):
        get(tmp_path)


def test_a_redirect_without_end_is_one_line(web: Web, tmp_path: Path) -> None:
    web.hub.elsewhere[PATH] = web.secure + PATH
    with pytest.raises(DownloadError, match="infinite loop") as caught:
        get(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resumed: bool
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    web.hub.hold(PATH, CONTENT)
    if resumed:
        (tmp_path / "ryt_swinb.pth.part").write_bytes(CONTENT[:1000])
        (tmp_path / "ryt_swinb.pth.part.etag").write_text('"one"')
    with pytest.raises(DownloadError, match=r"cannot be trusted \(self.signed certificate"):
        get(tmp_path)
    assert web.hub.requests == []
