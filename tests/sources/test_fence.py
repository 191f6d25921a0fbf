"""Which addresses are outside, and which hosts may be asked."""

from __future__ import annotations

import pytest

from foresift.core.errors import DataError
from foresift.sources.fence import Fence, is_outside


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_everybody_can_reach(address: str) -> None:
    assert is_outside(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_addresses_of_this_machine_and_its_networks(address: str) -> None:
    assert not is_outside(address)
    with pytest.raises(DataError, match="private network"):
        Fence(hosts=("a.org",))("a.org", 80, address)
    Fence(hosts=("a.org",), allow_private=True)("a.org", 80, address)


def test_hosts_by_name_and_by_port() -> None:
    fence = Fence(hosts=("a.org", "b.org:81"))
    fence("a.org", 8080, "8.8.8.8")
    fence("A.org.", 80, "8.8.8.8")
    fence("b.org", 81, "8.8.8.8")
    for host, port in (("b.org", 80), ("c.org", 80), ("xa.org", 80)):
        with pytest.raises(DataError, match=r"data\.hosts"):
            fence(host, port, "8.8.8.8")


@pytest.mark.parametrize("fence", [Fence(hosts=()), Fence(hosts=("a.org", "b.org:81"), allow_private=True)])
def test_a_child_is_behind_the_fence_of_its_parent(fence: Fence) -> None:
    assert Fence.inherited(fence.environment) == fence
    assert Fence.inherited({}) is None
