"""Objects behind a real HTTP server that is slow, fails, cuts connections and lies about lengths."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, UnreachableError
from foresift.core.samples import Pool
from foresift.sources import UriListSource, remote
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.read import UnreadableError, fetch
from foresift.sources.remote import Limits, Remote
from web_server import WebServer

pytestmark = pytest.mark.timeout(60)
QUICK = Limits(pause_s=0.01, timeout_s=0.5, tries=3, at_once=16, per_host=8)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer({f"{number:02d}.png": bytes([number]) * (1000 + number) for number in range(20)})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Remote]:
    """The process's own, quick to give up and with nothing known."""
    made = Remote(limits=QUICK)
    made.keep_in(tmp_path / "spool")
    monkeypatch.setattr(remote, "_made", [made])
    yield made
    made.close()


def pool_of(lines: list[str], memory: DictDigestMemory | None = None) -> Pool:
    return UriListSource(lines).pool(memory or DictDigestMemory(), need_digests=True)


# ---- one object ------------------------------------------------------------------------------


def test_bytes_and_digests_are_those_of_the_server(web: WebServer, far: Remote) -> None:
    pool = pool_of(web.urls)
    assert sorted(pool.ids.tolist()) == sorted(digest_bytes(data) for data in web.files.values())
    assert fetch(web.urls[3]) == web.files["03.png"]


@pytest.mark.parametrize("fault", ["503", "500", "429", "408", "reset", "truncate", "chunked", "slow"])
def test_a_fault_that_passes_is_not_seen(web: WebServer, far: Remote, fault: str) -> None:
    web.faults["05.png"] = [fault, fault]
    assert far.read(web.urls[5]).data == web.files["05.png"]
    assert [path for _, path in web.asked].count("/05.png") == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "no such object (HTTP 404)"),
        ("403", "forbidden (HTTP 403)"),
        ("401", "the server wants to know who asks (HTTP 401)"),
        ("503", "HTTP 503 Service Unavailable, 3 times"),
        ("truncate", "cut short: 503 bytes of it are missing, 3 times"),
        ("chunked", "cut short, 3 times"),
        ("reset", "the connection was cut, 3 times"),
        ("slow", "timed out, 3 times"),
    ],
)
def test_a_fault_that_stays_is_one_sample_in_quarantine(web: WebServer, far: Remote, fault: str, reason: str) -> None:
    web.faults["05.png"] = ["always", fault]
    pool = pool_of(web.urls)
    assert len(pool) == 19
    assert [(one.uri, one.reason) for one in pool.quarantined] == [(web.urls[5], reason)]


def test_what_is_gone_is_asked_for_once(web: WebServer, far: Remote) -> None:
    with pytest.raises(UnreadableError, match="404"):
        far.read(f"{web.url}/none.png")
    assert len(web.asked) == 1


def test_a_server_that_asks_for_time_gets_it(web: WebServer, far: Remote) -> None:
    begun = time.monotonic()
    web.retry_after = "1"
    web.faults["05.png"] = ["429"]
    far.read(web.urls[5])
    assert time.monotonic() - begun >= 1


def test_empty_and_oversized_objects_are_refused(web: WebServer, far: Remote) -> None:
    web.files["05.png"] = b""
    with pytest.raises(UnreadableError, match="zero bytes long"):
        far.read(web.urls[5])
    with pytest.raises(UnreadableError, match="1006 bytes long, above the limit of 1000"):
        far.read(web.urls[6], limit_bytes=1000)


def test_redirects_are_followed_but_not_for_ever(web: WebServer, far: Remote) -> None:
    web.faults["05.png"] = ["redirect=/06.png"]
    assert far.read(web.urls[5]).data == web.files["06.png"]
    web.faults["07.png"] = ["always", "redirect=/07.png"]
    with pytest.raises(UnreadableError, match="more than 5 redirects"):
        far.read(web.urls[7])


@pytest.mark.parametrize("address", ["http://", "http://[/a", "http://host:port/a", "http:///a", "http://a b/c"])
def test_addresses_that_make_no_sense_are_unreadable(far: Remote, address: str) -> None:
    with pytest.raises(DataError):
        far.read(address)


def test_an_answer_that_is_no_http(far: Remote) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            for _ in range(QUICK.tries):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(UnreadableError, match="no HTTP"):
            far.read(f"http://127.0.0.1:{server.getsockname()[1]}/a.png")


# ---- hosts -----------------------------------------------------------------------------------


def test_a_host_that_is_down_is_one_error(web: WebServer, far: Remote) -> None:
    web.faults["*"] = ["always", "503"]
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:\d+ is down: HTTP 503.* for 8 objects in a row"):
        pool_of(web.urls)
    web.faults.clear()
    assert len(pool_of(web.urls)) == 20


def test_nobody_listens(far: Remote) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnreachableError, match="refuses connections"):
        pool_of([f"http://127.0.0.1:{port}/{number}.png" for number in range(100)])


def test_many_missing_objects_are_no_reason_to_call_a_host_down(web: WebServer, far: Remote) -> None:
    pool = pool_of([*web.urls, *(f"{web.url}/none-{number}.png" for number in range(30))])
    assert (len(pool), len(pool.quarantined)) == (20, 30)


def test_a_host_is_not_asked_for_more_at_once_than_it_may_be(web: WebServer, far: Remote) -> None:
    web.delay_s = 0.01
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(far.read, web.urls * 3))
    assert 2 <= web.most_at_once <= QUICK.per_host


# ---- the second look ---------------------------------------------------------------------------


def test_an_unchanged_object_is_not_downloaded_again(web: WebServer, far: Remote) -> None:
    memory = DictDigestMemory()
    first = pool_of(web.urls, memory)
    again = pool_of(web.urls, memory)
    assert again.version == first.version
    assert set(web.bodies.values()) == {1}
    web.files["05.png"] = b"another thing"
    changed = pool_of(web.urls, memory)
    assert digest_bytes(b"another thing") in changed.ids.tolist()
    assert web.bodies["05.png"] == 2
    assert web.bodies.total() == 21


def test_a_server_without_etag_and_time_is_never_taken_at_its_word(web: WebServer, far: Remote) -> None:
    web.stamped = False
    memory = DictDigestMemory()
    pool_of(web.urls, memory)
    pool_of(web.urls, memory)
    assert set(web.bodies.values()) == {2}


def test_a_server_that_knows_no_head_is_asked_for_the_bytes(web: WebServer, far: Remote) -> None:
    memory = DictDigestMemory()
    pool_of(web.urls, memory)
    web.faults["*"] = ["always", "no-head"]
    assert len(pool_of(web.urls, memory)) == 20
    assert set(web.bodies.values()) == {2}


def test_bytes_come_from_the_spool_once_they_were_downloaded(web: WebServer, far: Remote) -> None:
    pool_of(web.urls)
    assert [fetch(url) for url in web.urls] == [web.files[name] for name in sorted(web.files)]
    assert set(web.bodies.values()) == {1}


def test_a_spool_that_was_deleted_or_damaged_costs_a_download(web: WebServer, far: Remote, tmp_path: Path) -> None:
    pool_of(web.urls)
    digest = digest_bytes(web.files["05.png"])
    (tmp_path / "spool" / digest[:2] / digest).write_bytes(b"torn")
    gone = digest_bytes(web.files["06.png"])
    (tmp_path / "spool" / gone[:2] / gone).unlink()
    assert [fetch(web.urls[5]), fetch(web.urls[6])] == [web.files["05.png"], web.files["06.png"]]
    assert (web.bodies["05.png"], web.bodies["06.png"], web.bodies["07.png"]) == (2, 2, 1)


# ---- pre-signed links --------------------------------------------------------------------------


def test_a_presigned_link_goes_out_as_it_came_and_is_named_without_its_signature(web: WebServer, far: Remote) -> None:
    query = "?X-Amz-Credential=AK%2F2026&X-Amz-Signature=abc%2Bdef&versionId=7"
    web.faults["05.png"] = ["always", "403"]
    pool = pool_of([url + query for url in web.urls])
    assert set(pool.uris.tolist()) == {f"{url}?versionId=7" for url in web.urls} - {f"{web.urls[5]}?versionId=7"}
    assert [one.uri for one in pool.quarantined] == [f"{web.urls[5]}?versionId=7"]
    assert {path.partition("?")[2] for _, path in web.asked} == {query[1:]}


def test_a_link_that_was_signed_anew_is_the_same_object(web: WebServer, far: Remote) -> None:
    memory = DictDigestMemory()
    pool_of([f"{url}?sig=1&se=tomorrow" for url in web.urls], memory)
    pool_of([f"{url}?sig=2&se=today" for url in web.urls], memory)
    assert set(web.bodies.values()) == {1}
    assert not any(method == "HEAD" for method, _ in web.asked), "a signed link is good for GET only"


def test_a_password_in_an_address_is_used_and_not_told(web: WebServer, far: Remote) -> None:
    pool = pool_of([web.urls[1].replace("http://", "http://me:p%40ss@")])
    assert pool.uris.tolist() == [web.urls[1]]
    assert web.seen_headers[0]["Authorization"] == "Basic bWU6cEBzcw=="


# ---- addresses that must not be asked ----------------------------------------------------------


def test_a_check_sees_every_connection_and_forbids_it(web: WebServer, far: Remote) -> None:
    asked: list[tuple[str, int, str]] = []

    def check(host: str, port: int, address: str) -> None:
        asked.append((host, port, address))
        if host == "localhost":
            raise DataError("a loopback address")

    web.faults["05.png"] = ["always", f"redirect={web.url.replace('127.0.0.1', 'localhost')}/06.png"]
    with far.checking(check):
        assert far.read(web.urls[4]).data == web.files["04.png"]
        with pytest.raises(UnreadableError, match="a loopback address"):
            far.read(web.urls[5])
    assert asked[0] == ("127.0.0.1", int(web.url.rpartition(":")[2]), "127.0.0.1")
    assert far.read(web.urls[5]).data == web.files["06.png"]
