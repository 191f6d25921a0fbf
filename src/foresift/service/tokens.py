"""Tokens: a file of their hashes, what each may do, and how often."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foresift.core.errors import StoreError, UsageError
from foresift.core.times import utc_now
from foresift.stores.files import disk_errors, locked, read_json, write_atomically
from foresift.wire.calls import SCOPES

PREFIX = "fst"
_MODE = 0o600
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; nobody can tell the token from it."""

    id: str
    name: str
    sha256: str
    """Of the secret part: 256 random bits, for which one plain hash is enough."""
    scopes: tuple[str, ...]
    requests_a_minute: int | None = None
    """None = what the configuration says."""
    created_at: str = ""
    revoked_at: str = ""

    def allows(self, scope: str) -> bool:
        """Whether it may do what needs a scope: admin includes all, label and run include read."""
        return "admin" in self.scopes or scope in self.scopes or (scope == "read" and bool(self.scopes))


class TokenFile:
    """Tokens in a file of JSON that its owner alone may read; a change is seen by servers that run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def create(self, name: str, scopes: Collection[str], *, requests_a_minute: int | None = None) -> tuple[Token, str]:
        """A new token, and its text, which is nowhere kept.

        Raises:
            UsageError: an unknown scope, or a living token of that name.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise UsageError(f"unknown scope {', '.join(unknown) or '(none)'}; expected of: {', '.join(SCOPES)}")
        if not name or len(name) > 100 or not name.isprintable():
            raise UsageError(f"a token's name is 1 to 100 printable characters, got {name[:60]!r}")
        secret = secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(4),
            name=name,
            sha256=_hash(secret),
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            requests_a_minute=requests_a_minute,
            created_at=utc_now(),
        )
        with self._changing() as tokens:
            if any(one.name == name and not one.revoked_at for one in tokens.values()):
                raise UsageError(f"there is a token {name!r} already; revoke it or take another name")
            tokens[token.id] = token
        return token, f"{PREFIX}_{token.id}_{secret}"

    def revoke(self, name: str) -> Token:
        """Make the token of a name or id worthless from now on.

        Raises:
            UsageError: there is no such token.
        """
        with self._changing() as tokens:
            found = [one for one in tokens.values() if name in (one.name, one.id) and not one.revoked_at]
            if not found:
                raise UsageError(f"no token {name[:60]!r} in {self.path}; see: foresift token list")
            tokens[found[0].id] = replace(found[0], revoked_at=utc_now())
            return tokens[found[0].id]

    def all(self) -> list[Token]:
        """All tokens, revoked ones included."""
        return list(self._current().values())

    def find(self, text: str) -> Token | None:
        """The living token of a text; takes as long for a wrong secret as for the right one."""
        prefix, _, rest = text.partition("_")
        name, _, secret = rest.partition("_")
        token = self._current().get(name) if prefix == PREFIX else None
        known = hmac.compare_digest(_hash(secret), token.sha256 if token is not None else _hash(""))
        return token if token is not None and known and not token.revoked_at else None

    def _current(self) -> dict[str, Token]:
        """The tokens as the file has them now; read again only when it changed."""
        with disk_errors(self.path):
            stat = self.path.stat()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            if seen != self._seen:
                self._tokens, self._seen = _read(self.path), seen
            return self._tokens

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            tokens = _read(self.path) if self.path.exists() else {}
            yield tokens
            rows = [asdict(token) for token in tokens.values()]
            text = json.dumps({"format": _FORMAT, "tokens": rows}, indent=2) + "\n"
            write_atomically(self.path, lambda target: _write_private(target, text))


def _read(path: Path) -> dict[str, Token]:
    plain: Any = read_json(path)
    try:
        rows = [Token(**{**row, "scopes": tuple(row["scopes"])}) for row in plain["tokens"]]
    except (TypeError, KeyError) as error:
        raise StoreError(f"{path} is no file of tokens ({error}); foresift token create makes one") from None
    return {token.id: token for token in rows}


def _write_private(path: Path, text: str) -> None:
    path.chmod(_MODE)
    path.write_text(text, encoding="utf-8")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
