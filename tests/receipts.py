"""Receipts of made-up frames."""

from __future__ import annotations

from typing import Any

from foresift.core.digests import digest_bytes
from foresift.core.hits import AT_ONCE, Hit


def hit(data: bytes = b"frame", **values: Any) -> Hit:
    """The receipt of some bytes, with other values where they are given."""
    made_up: dict[str, Any] = {
        "fleet": "1" * 40,
        "generation": "2" * 40,
        "device": "cam-1",
        "day": "day-1",
        "number": 1,
        "quota": 12,
        "digest": digest_bytes(data),
        "size_bytes": len(data),
        "suffix": ".png",
        "uri": "/cam/frame.png",
        "score": 0.5,
        "score_name": "margin",
        "why": AT_ONCE,
        "seen": "2026-05-04T12:30:55+00:00",
    }
    return Hit(**made_up | values)
