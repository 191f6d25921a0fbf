"""What was asked, by whom, and what became of it: a line of JSON a request, and an audit file of what matters.

Neither holds tokens, headers, bodies or queries.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foresift.core.times import utc_now

LOG = logging.getLogger("foresift.service")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFUSED = (401, 403, 413, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request that was answered."""

    protocol: str
    call: str
    """"" = none that is known."""
    changes: bool
    """Whether it may change something."""
    where: str
    status: int
    """Of HTTP, for gRPC too."""
    seconds: float
    caller: str
    peer: str
    request: str


class Diary:
    """Writes every request to the log; what changes something or was kept out also to the audit file."""

    def __init__(self, audit: Path, *, also: Callable[[Seen], None]) -> None:
        """``also`` is told of every request."""
        self._audit, self._also = audit, also
        self._lock = threading.Lock()

    def write(self, seen: Seen) -> None:
        """Keep one."""
        row = {"at": utc_now(), "event": "request", **asdict(seen), "seconds": round(seen.seconds, 4)}
        LOG.info(json.dumps(row))
        if seen.changes or seen.status in _REFUSED:
            self._append(row)
        self._also(seen)

    def tell(self, event: str, **values: Any) -> None:
        """Keep something that the operator did."""
        self._append(log_event(event, level=logging.INFO, **values))

    def _append(self, row: dict[str, Any]) -> None:
        """One write a line, so that lines of several processes never mix; opened anew, so that it may be rotated."""
        line = (json.dumps(row) + "\n").encode()
        try:
            with self._lock:
                self._audit.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(self._audit, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(file, line)
                finally:
                    os.close(file)
        except OSError as error:  # the answer is on its way; the log has the line
            log_event("audit-failed", level=logging.ERROR, reason=error.strerror)


class JsonLines(logging.Formatter):
    """Every record as one line of JSON, those of libraries too."""

    def format(self, record: logging.LogRecord) -> str:
        """A line; ours are one already."""
        text = record.getMessage()
        if record.name == LOG.name and text.startswith("{"):
            return text
        row = {"at": utc_now(), "event": "log", "level": record.levelname, "logger": record.name, "text": text}
        if record.exc_info:
            row["trace"] = self.formatException(record.exc_info)
        return json.dumps(row)


def log_event(event: str, *, level: int, **values: Any) -> dict[str, Any]:
    """Write something that happened to the log, as a line of JSON; what was written."""
    row = {"at": utc_now(), "event": event, **values}
    LOG.log(level, json.dumps(row))
    return row


def log_to_stderr() -> None:
    """Send the log of the whole process to standard error, as lines of JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(logging.INFO)


def request_id(given: str) -> str:
    """The id that a client gave its request, if it is a plain one, else a new one."""
    return given if _ID.fullmatch(given) else secrets.token_hex(8)
