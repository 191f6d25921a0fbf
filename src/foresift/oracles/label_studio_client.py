"""Label Studio's HTTP interface: a few requests with a token, and plain words for what goes wrong."""

from __future__ import annotations

import base64
import binascii
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from foresift.core.errors import OracleError, UsageError

PAGE = 100
"""Tasks or projects that are asked for at once."""
_REFUSED = (401, 403)


def read_token(variable: str, file: str) -> str:
    """The token from a file or, where none is named, from an environment variable.

    Raises:
        UsageError: there is none; says where to put it.
    """
    try:
        token = (Path(file).expanduser().read_text() if file else os.environ.get(variable, "")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file {file} of the Label Studio token can't be read ({type(error).__name__})") from None
    if not token or not token.isascii() or any(c.isspace() for c in token):
        where = f"the file {file}" if file else f"the environment variable {variable}"
        raise UsageError(f"label-studio needs an access token (Account & Settings there): put it into {where}")
    return token


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Requests to one server. The token is in no message, and nothing of it is printed."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        """Take notes; nothing is sent yet.

        Raises:
            UsageError: not an http or https address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(f"label-studio:url= expects an address such as http://localhost:8080, got {url!r}")
        self.url = url.rstrip("/")
        self._token = token
        self._access = ""
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.now = ""
        """The server's clock at its last answer: ISO 8601, UTC; "" if it does not tell."""

    def get(self, path: str, **parameters: object) -> Any:
        """Parsed JSON of a GET request.

        Raises:
            OracleError: the server can't be reached, refuses, or says no.
        """
        return self._call("GET", f"{path}?{urlencode(parameters)}" if parameters else path)

    def send(self, method: str, path: str, body: Any) -> Any:
        """Parsed JSON of a POST or PATCH request; raises as :meth:`get`."""
        return self._call(method, path, json.dumps(body, allow_nan=False).encode())

    def pages(self, path: str, key: str, **parameters: object) -> Iterator[Mapping[str, Any]]:
        """Entries of a list that comes in pages, in its order.

        Raises:
            OracleError: as :meth:`get`, or a list that lost entries while it was read.
        """
        seen, page = 0, 1
        while True:
            answer = self.get(path, page=page, page_size=PAGE, **parameters)
            entries, total = answer[key], int(answer.get("total", answer.get("count", 0)))
            yield from entries
            seen, page = seen + len(entries), page + 1
            if seen >= total:
                return
            if not entries:
                raise OracleError(f"the list of {self.url}{path} changed while it was read; ask again")

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        try:
            return self._request(method, path, body, self._authorization())
        except _NoError as error:
            if error.code != _REFUSED[0] or not self._access:
                raise self._no(error, method, path) from None
        self._access = ""  # access tokens last for minutes: get another
        try:
            return self._request(method, path, body, self._authorization())
        except _NoError as error:
            raise self._no(error, method, path) from None

    def _authorization(self) -> str:
        """A legacy token goes as it is; a personal access token is exchanged for one that lasts for minutes."""
        if not _is_personal(self._token):
            return f"Token {self._token}"
        if not self._access:
            answer = self._request("POST", "/api/token/refresh/", json.dumps({"refresh": self._token}).encode(), "")
            self._access = str(answer["access"])
        return f"Bearer {self._access}"

    def _request(self, method: str, path: str, body: bytes | None, authorization: str) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        request = urllib.request.Request(f"{self.url}{path}", data=body, headers=headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                self.now = _date(answer.headers.get("Date", ""))
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _NoError(error.code, error.read(400)) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            raise OracleError(
                f"Label Studio at {self.url} can't be reached ({reason}); what was labeled there is kept, try again"
            ) from None
        except ValueError:
            raise OracleError(f"{self.url}{path} answers with no JSON; is it a Label Studio server?") from None

    def _no(self, error: _NoError, method: str, path: str) -> OracleError:
        if error.code in _REFUSED:
            return OracleError(f"Label Studio at {self.url} refuses the token ({error.code}); give a valid one")
        if 300 <= error.code < 400:
            return OracleError(f"{self.url} sends elsewhere ({error.code}); give its final address as url")
        detail = " ".join(error.detail.decode("utf-8", "replace").split())
        asked = f"{method} {path.partition('?')[0]}"
        return OracleError(f"Label Studio at {self.url} answers {error.code} to {asked}: {detail}")


class _NoError(Exception):
    """An answer that is none: its code, and how it begins."""

    def __init__(self, code: int, detail: bytes) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def _is_personal(token: str) -> bool:
    """Whether a token is a JSON Web Token: three parts, the first of them an object in base64."""
    head, *rest = token.split(".")
    try:
        return len(rest) == 2 and base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)).startswith(b"{")
    except (binascii.Error, ValueError):
        return False


def _date(text: str) -> str:
    try:
        return parsedate_to_datetime(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError):
        return ""


def shifted(time: str, seconds: float) -> str:
    """A time in ISO 8601, so many seconds later; always with microseconds, without which the server takes none."""
    moved = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return moved.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
