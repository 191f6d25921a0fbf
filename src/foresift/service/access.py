"""Who asks, whether they may, and how often."""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foresift.service.allowed import ForbiddenError
from foresift.service.refusals import TooManyError, UnauthorizedError
from foresift.service.tokens import Token, TokenFile
from foresift.wire.calls import SCOPES, Scope
from foresift.wire.config import Settings

MOST_REMEMBERED = 10_000
"""Callers whose rate is watched; the one not heard of for longest is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who was let in."""

    name: str
    """Of the token; "" where no token is asked for."""
    id: str
    """What their rate and their idempotency keys are kept under."""


class Access:
    """The door: tokens, scopes and rates, the same for every protocol."""

    def __init__(
        self,
        *,
        tokens: TokenFile | None = None,
        token: str | None = None,
        requests_a_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With neither a file of tokens nor a token everybody is let in."""
        self._file, self._single, self._rate = tokens, token, requests_a_minute
        self._rates = Rates(clock)

    @classmethod
    def of(cls, settings: Settings, base: Path) -> Access:
        """As a configuration says.

        Raises:
            StoreError: the file of tokens is not there, or is none.
        """
        given = settings.auth.tokens
        tokens = None if given is None else TokenFile(base / Path(given).expanduser())
        if tokens is not None:
            tokens.all()  # say now what is wrong with it
        return cls(tokens=tokens, token=settings.auth.token, requests_a_minute=settings.limits.requests_a_minute)

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked for a token."""
        return self._file is None and self._single is None

    def admit(self, authorization: str, peer: str, scope: Scope) -> Caller:
        """Who it is that asks.

        Args:
            authorization: ``Bearer TOKEN``, "" where there is none.
            peer: their address.
        Raises:
            UnauthorizedError: no token, or none that is known.
            ForbiddenError: the token lacks the scope.
            TooManyError: more requests than they may send.
        """
        if self.is_open:
            self._rates.take(peer, self._rate)
            return Caller(name="", id=peer)
        token = self._known(authorization, peer)
        self._rates.take(token.id, token.requests_a_minute or self._rate)
        if not token.allows(scope):
            raise ForbiddenError(f"the token {token.name!r} lacks the scope {scope} (has: {', '.join(token.scopes)})")
        return Caller(name=token.name, id=token.id)

    def _known(self, authorization: str, peer: str) -> Token:
        kind, _, given = authorization.partition(" ")
        text = given.strip() if kind.lower() == "bearer" else ""
        single = self._single
        if text and single is not None and hmac.compare_digest(text.encode(), single.encode()):
            return Token(id="configured", name="configured", sha256="", scopes=SCOPES)
        token = self._file.find(text) if text and self._file is not None else None
        if token is None:
            self._rates.take(f"unknown {peer}", self._rate)
            raise UnauthorizedError("this server asks for a token: Authorization: Bearer TOKEN")
        return token


class Rates:
    """Buckets of requests: each caller's fills up within a minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, a_minute: int) -> None:
        """Count a request.

        Raises:
            TooManyError: the bucket is empty; says when to come again.
        """
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(caller, (float(a_minute), now))
            left = min(float(a_minute), left + (now - at) * a_minute / 60)
            self._left[caller] = (left - 1 if left >= 1 else left, now)
            while len(self._left) > MOST_REMEMBERED:
                self._left.popitem(last=False)
        if left < 1:
            wait_s = (1 - left) * 60 / a_minute
            raise TooManyError(f"more than {a_minute} requests a minute; try again in {max(1, round(wait_s))} s")
