"""Buckets: a real S3-compatible server for what is right, and a server with faults for what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from foresift.core.errors import DataError, UnreachableError
from foresift.sources import open_source, remote
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.read import UnreadableError, fetch
from foresift.sources.remote import Limits, Remote
from installed import installed_command
from s3_server import VARIABLE, S3Server
from web_server import WebServer

pytest.importorskip("obstore")
pytestmark = pytest.mark.timeout(200)
FILES = {"a/x.png": b"1", "a/b c%20ä#?.png": b"2", "a/y/z.jpg": b"3", "ab.png": b"4", "a/note.txt": b"5"}
FILES |= {"a/.hidden.png": b"6", "a/empty.png": b"", "labeled/cat/1.png": b"7", "labeled/dog/1.png": b"8"}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    server = S3Server(installed_command(VARIABLE, what="S3 server", target="s3"))
    server.put("bucket")
    for name, data in FILES.items():
        server.put(f"bucket/{quote(name)}", data)
    yield server
    server.stop()


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Remote:
    made = Remote(limits=Limits(pause_s=0.01, timeout_s=1, tries=3))
    made.keep_in(tmp_path / "spool")
    monkeypatch.setattr(remote, "_made", [made])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3CR3T")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return made


@pytest.fixture
def bucket(s3: S3Server, far: Remote, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    return far


def test_every_image_under_a_prefix(bucket: Remote) -> None:
    pool = open_source("s3://bucket/a").pool(DictDigestMemory(), need_digests=True)
    names = ["s3://bucket/a/b c%20ä#?.png", "s3://bucket/a/x.png", "s3://bucket/a/y/z.jpg"]
    assert sorted(pool.uris.tolist()) == names
    assert [fetch(name) for name in names] == [b"2", b"1", b"3"]
    assert [(one.uri, one.reason) for one in pool.quarantined] == [("s3://bucket/a/empty.png", "zero bytes long")]
    assert pool.notes == ("passed over 1 file: 1 .txt",)


def test_folders_of_a_prefix_are_labels(bucket: Remote) -> None:
    pool = open_source("s3://bucket/labeled/").pool(DictDigestMemory(), need_digests=True)
    assert (pool.name, pool.classes) == ("s3://bucket/labeled", ("cat", "dog"))


def test_objects_of_a_manifest_and_the_reasons_of_those_that_are_not_there(bucket: Remote, tmp_path: Path) -> None:
    manifest = tmp_path / "pool.csv"
    manifest.write_text("uri\ns3://bucket/a/x.png\ns3://bucket/a/none.png\ns3://none/a.png\n")
    pool = open_source(manifest).pool(DictDigestMemory(), need_digests=True)
    assert pool.uris.tolist() == ["s3://bucket/a/x.png"]
    assert {one.reason for one in pool.quarantined} == {"no such object (HTTP 404)"}


def test_a_second_look_asks_for_the_list_alone(bucket: Remote, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = DictDigestMemory()
    first = open_source("s3://bucket/a").pool(memory, need_digests=True)
    monkeypatch.setattr(Remote, "read", lambda *_, **__: pytest.fail("downloaded again"))
    monkeypatch.setattr(Remote, "look", lambda *_: pytest.fail("asked for its stamp"))
    assert open_source("s3://bucket/a").pool(memory, need_digests=True).version == first.version


def test_a_bucket_that_is_not_there_can_not_be_listed(bucket: Remote) -> None:
    with pytest.raises(DataError, match="s3://none/: no such object"):
        open_source("s3://none").pool(DictDigestMemory(), need_digests=True)


@pytest.mark.parametrize(("scheme", "says"), [("az", "AZURE_STORAGE_ACCOUNT_NAME"), ("s3", "no credentials")])
def test_what_has_to_be_set_is_said(far: Remote, monkeypatch: pytest.MonkeyPatch, scheme: str, says: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnreadableError, match=says) as error:
        far.read(f"{scheme}://bucket/a.png")
    assert "S3CR3T" not in str(error.value)


# ---- faults ----------------------------------------------------------------------------------


@pytest.fixture
def faulty(far: Remote, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Objects that a server with faults gives, unsigned and all."""
    server = WebServer({f"bucket/{n:02d}.png": bytes([n]) * 50_000 for n in range(12)})
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    yield server
    server.stop()


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset", "truncate", "slow"])
def test_a_fault_that_passes_is_not_seen(faulty: WebServer, far: Remote, fault: str) -> None:
    faulty.faults["bucket/05.png"] = [fault, fault]
    assert far.read("s3://bucket/05.png").data == faulty.files["bucket/05.png"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", r"no such object \(HTTP 404\)"),
        ("403", r"forbidden \(HTTP 403\)"),
        ("503", "HTTP 503, 3 times"),
        ("reset", "the connection was cut, 3 times|could not be asked, 3 times"),
        ("truncate", "cut short.*, 3 times"),
        ("slow", "timed out, 3 times"),
    ],
)
def test_a_fault_that_stays_has_a_reason_without_secrets(
    faulty: WebServer, far: Remote, fault: str, reason: str
) -> None:
    faulty.faults["bucket/05.png"] = ["always", fault]
    with pytest.raises(UnreadableError, match=rf"^s3://bucket/05\.png: ({reason})$"):
        far.read("s3://bucket/05.png")


def test_a_store_that_is_down_is_one_error(faulty: WebServer, far: Remote, tmp_path: Path) -> None:
    faulty.faults["*"] = ["always", "503"]
    manifest = tmp_path / "pool.csv"
    manifest.write_text("uri\n" + "\n".join(f"s3://bucket/{n:02d}.png" for n in range(12)))
    with pytest.raises(UnreachableError, match="s3://bucket is down: HTTP 503"):
        open_source(manifest).pool(DictDigestMemory(), need_digests=True)
