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


def digest_array(array: np.ndarray[Any, Any], *, rows: np.ndarray[Any, Any] | None = None) -> str:
    """Digest of an array's dtype, shape and contents; O(bytes), one block in memory at a time.

    Args:
        array: (n, ...); fields of a structured array count by name, and it must have no padding between them.
        rows: (n,) order in which to read the rows; None = as they lie.
    """
    kind = array.dtype.str if array.dtype.names is None else str(array.dtype.descr)
    hasher = hashlib.sha256(f"{kind}{array.shape}".encode())
    step = max(1, (1 << 24) // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        part = slice(start, start + step)
        chunk = np.ascontiguousarray(array[part] if rows is None else array[rows[part]])
        hasher.update(chunk.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()[:DIGEST_CHARS]


def digest_ids(ids: np.ndarray[Any, Any]) -> str:
    """Digest of (n,) ids in order; the same for the same texts whatever width the array reserves."""
    if ids.dtype.kind != "U" or not ids.size:
        return digest_array(ids if ids.size else np.empty(0, dtype=np.int64))
    used = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), -1).any(axis=0)
    width = int(np.flatnonzero(used).max(initial=0)) + 1
    return digest_array(ids.astype(f"U{width}", copy=False))
