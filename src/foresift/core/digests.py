"""Content digests: the identity of bytes and of frozen values."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

DIGEST_CHARS = 40
"""Digests are SHA-256 cut to 160 bits, as 40 hexadecimal characters."""


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Digest of raw bytes: 40 hexadecimal characters."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_CHARS]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spare spaces; raises ``ValueError`` for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_value(value: Any) -> str:
    """Digest of a plain value (dicts, lists, strings, finite numbers) by its canonical JSON."""
    return digest_bytes(canonical_json(value).encode())


def digest_array(array: np.ndarray[Any, Any]) -> str:
    """Digest of an array's dtype, shape and contents; O(bytes), one block in memory at a time."""
    hasher = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    step = max(1, (1 << 24) // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        hasher.update(np.ascontiguousarray(array[start : start + step]).data)
    return hasher.hexdigest()[:DIGEST_CHARS]
