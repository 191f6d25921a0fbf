"""Where a page listens."""

from __future__ import annotations

import socket

import pytest

from foresift.core.errors import UsageError
from foresift.web.serving import Address, listen


def close(*addresses: Address) -> None:
    for address in addresses:
        address.listener.close()


def test_a_taken_port_is_refused_if_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {taken} of 127.0.0.1 is taken; leave out --port"):
            listen("127.0.0.1", taken)
        monkeypatch.setattr("foresift.web.serving.USUAL_PORT", taken)
        address = listen("127.0.0.1", None)
        assert address.rules.port not in (0, taken)
        close(address)


def test_the_address_on_this_machine_is_plain() -> None:
    address = listen("127.0.0.1", 0)
    assert address.url == f"http://127.0.0.1:{address.rules.port}/"
    close(address)


def test_beyond_this_machine_the_address_holds_the_token() -> None:
    address = listen("0.0.0.0", 0)
    assert address.url == f"http://{socket.gethostname()}:{address.rules.port}/?token={address.rules.token}"
    assert address.rules.token
    close(address)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a b", "x" * 300])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(UsageError, match="can't listen at"):
        listen(host, 0)
