"""Arrays in lines of JSON: what a child process answers with, to the bit."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

_MARK = "ndarray"


def packed(value: Any) -> dict[str, Any]:
    """What JSON holds in the place of an array; for ``json.dumps(default=...)``.

    Raises:
        TypeError: it is no array of numbers.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise TypeError(f"expected plain values and arrays of numbers, got {type(value).__name__}")
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
    return {_MARK: data, "dtype": value.dtype.str, "shape": list(value.shape)}


def unpacked(plain: dict[str, Any]) -> Any:
    """The array behind such a value, any other as it is; for ``json.loads(object_hook=...)``."""
    if plain.keys() != {_MARK, "dtype", "shape"}:
        return plain
    flat = np.frombuffer(base64.b64decode(plain[_MARK]), dtype=np.dtype(plain["dtype"]))
    return flat.reshape(plain["shape"])
