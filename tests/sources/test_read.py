import os
import socket
from pathlib import Path

import pytest

from foresift.core.errors import DataError
from foresift.sources.read import UnreadableError, fetch, local_path, look, read

NOBODY = 65534


def reason(path: Path | str, **options: int) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(str(path), **options)
    assert str(caught.value) == f"{caught.value.uri}: {caught.value.reason}"
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_bytes_and_stamp(tmp_path: Path) -> None:
    file = tmp_path / "a b ä.png"
    file.write_bytes(b"12345")
    status = file.stat()
    assert read(str(file)) == (b"12345", (5, status.st_mtime_ns))
    assert look(str(file)) == (5, status.st_mtime_ns)
    assert fetch(str(file)) == b"12345"


def test_file_addresses(tmp_path: Path) -> None:
    file = tmp_path / "a b%20#?ä.png"
    file.write_bytes(b"1")
    assert fetch(file.as_uri()) == b"1"
    assert fetch("file://localhost" + file.as_uri().removeprefix("file://")) == b"1"
    assert local_path("/plain%20path") == "/plain%20path"


@pytest.mark.parametrize("uri", ["ftp://host/a.png", "hdfs://host/a.png"])
def test_addresses_of_unknown_kinds_are_refused(uri: str) -> None:
    with pytest.raises(DataError, match=r"expected a path, file://.*s3://"):
        fetch(uri)


def test_file_address_of_another_machine() -> None:
    with pytest.raises(DataError, match="other-host"):
        fetch("file://other-host/a.png")


def test_vanished_and_dangling(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.png") == "no such file"
    assert "not a folder" in reason("/dev/null/none.png")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "none.png")
    assert reason(link) == "a link to a file that does not exist"


def test_a_link_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    assert reason(link) == "a link that leads back to itself"


def test_empty_and_too_large(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert reason(file) == "zero bytes long"
    file.write_bytes(b"123")
    assert reason(file, limit_bytes=2) == "3 bytes long, above the limit of 2"


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    assert reason(tmp_path) == "a folder, not a regular file"
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe") == "a named pipe, not a regular file"  # and does not wait for a writer
    assert reason("/dev/null") == "a device, not a regular file"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert "socket" in reason("socket")


@pytest.mark.parametrize("path", ["nul\0byte", "n" * 300])
def test_impossible_names(path: str) -> None:
    assert "name" in reason(path)


def in_child_as_nobody(work: object) -> str:
    """What ``work()`` returns in a forked process without root's powers."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(sender, work().encode())
        finally:
            os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    with os.fdopen(receiver, "rb") as answer:
        return answer.read().decode()


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder that every user may enter."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    return tmp_path


@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # the child looks at one file and ends
def test_no_permission(open_path: Path) -> None:
    file = open_path / "secret.png"
    file.write_bytes(b"1")
    file.chmod(0)

    def work() -> str:
        try:
            read(str(file))
        except UnreadableError as error:
            return error.reason
        return "readable"

    assert in_child_as_nobody(work) == "no permission to read it"
