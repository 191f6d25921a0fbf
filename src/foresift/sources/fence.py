"""Which hosts a process may ask.

A server reads addresses that others give it, and must not be led into its own network.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass

from foresift.core.errors import DataError

_HOSTS = "FORESIFT_ONLY_HOSTS"
_PRIVATE = "FORESIFT_ALLOW_PRIVATE"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A check before every connection, redirects included: the host by its name, and what the name resolves to."""

    hosts: tuple[str, ...]
    """``host``, for all of its ports, or ``host:port``."""
    allow_private: bool = False
    """Whether they may lie in this machine or its own network."""

    def __call__(self, host: str, port: int, address: str) -> None:
        """Let a connection through.

        Raises:
            DataError: the host is none of ours, or is not where hosts of the outside are.
        """
        name = host.lower().rstrip(".")
        if name not in self.hosts and f"{name}:{port}" not in self.hosts:
            raise DataError(f"it leads to {name}:{port}, no host that may be asked (data.hosts)")
        if not self.allow_private and not is_outside(address):
            raise DataError(f"{name} lies in a private network (data.allow_private)")

    @property
    def environment(self) -> dict[str, str]:
        """Variables that put a child process behind the same fence."""
        return {_HOSTS: ",".join(self.hosts), _PRIVATE: "1" if self.allow_private else ""}

    @classmethod
    def inherited(cls, environment: Mapping[str, str] = os.environ) -> Fence | None:
        """The fence that a parent process put around this one."""
        if _HOSTS not in environment:
            return None
        hosts = tuple(host for host in environment[_HOSTS].split(",") if host)
        return cls(hosts=hosts, allow_private=bool(environment.get(_PRIVATE)))


def is_outside(address: str) -> bool:
    """Whether an IP address is one that everybody can reach; whatever hides another address counts as that one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_outside(str(inner))
    return ip.is_global and not ip.is_multicast
