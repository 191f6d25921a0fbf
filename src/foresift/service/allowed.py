"""Which addresses the server may read: under its roots, on its hosts, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foresift.core.errors import UsageError
from foresift.sources.addresses import host_of, public
from foresift.sources.fence import Fence
from foresift.sources.read import local_path

_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class ForbiddenError(UsageError):
    """An address outside of what the operator allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Folders whose files may be read, and hosts of remote addresses."""

    roots: tuple[Path, ...]
    """Resolved: a link that leads out of them is outside."""
    hosts: tuple[str, ...] = ()
    """``host``, ``host:port`` or ``s3://bucket``."""
    allow_private: bool = False
    """Whether hosts may lie in this machine or its own network."""

    @classmethod
    def of(cls, roots: Iterable[str], hosts: Iterable[str], *, base: Path, allow_private: bool = False) -> Allowed:
        """From a configuration; without roots the one is ``base``.

        Raises:
            UsageError: a root is no folder.
        """
        given = [base / Path(root).expanduser() for root in roots] or [base]
        for root in given:
            if not root.is_dir():
                raise UsageError(f"data.roots: {root} is no folder")
        return cls(
            roots=tuple(root.resolve() for root in given),
            hosts=tuple(host.lower() for host in hosts),
            allow_private=allow_private,
        )

    @property
    def fence(self) -> Fence:
        """What is asked before every connection: a name may resolve to anything, and a redirect lead anywhere."""
        return Fence(hosts=self.hosts, allow_private=self.allow_private)

    def places(self, uris: Sequence[str]) -> list[str]:
        """Where each address is read from; all or none.

        Raises:
            ForbiddenError: one of them may not be read; says which and what would be allowed.
        """
        return [self.place(uri) for uri in uris]

    def place(self, uri: str) -> str:
        """Where one address is read from: a resolved path under a root, or the public name of a remote object."""
        if "\x00" in uri:
            raise ForbiddenError("an address holds a NUL character")
        scheme = _REMOTE.match(uri)
        if scheme is not None and scheme[1].lower() != "file":
            return self._remote(uri)
        path = Path(local_path(uri))
        whole = (path if path.is_absolute() else self.roots[0] / path).resolve()
        if not any(whole.is_relative_to(root) for root in self.roots):
            raise ForbiddenError(f"{uri[:200]!r} lies outside of the folders that this server may read (data.roots)")
        return str(whole)

    def _remote(self, uri: str) -> str:
        host = host_of(uri)
        name = host if "://" in host else re.sub(r":\d*$", "", host)
        if host not in self.hosts and name not in self.hosts:
            raise ForbiddenError(f"{host[:200]!r} is no host that this server may ask (data.hosts)")
        return public(uri)
