"""KServe v2 over HTTP: JSON, with tensors as bytes behind it where the server knows that extension.

Source: the Open Inference Protocol (V2) of KServe, and Triton's binary tensor data extension to it.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.engines.kserve_protocol import (
    EMBEDDINGS,
    LOGITS,
    PIXELS,
    TIMEOUT_S,
    Address,
    Metadata,
    Tensor,
    decoded,
    refused,
    strange,
    unanswered,
)

_BINARY = "binary_tensor_data"
_JSON_LENGTH = "Inference-Header-Content-Length"


class HttpTransport:
    """One connection, kept open."""

    def __init__(self, address: Address) -> None:
        self._address = address
        timeout = httpx.Timeout(TIMEOUT_S, connect=10.0)
        # A proxy of the environment is for the world outside; the pixels of a pool stay between the two machines.
        self._client = httpx.Client(base_url=f"{address.scheme}://{address.host}", timeout=timeout, trust_env=False)
        weakref.finalize(self, self._client.close)  # engines are dropped, not closed
        self._binary: bool | None = None
        version = f"/versions/{address.version}" if address.version else ""
        self._model = f"/v2/models/{address.model}{version}"

    def version(self) -> str:
        """Name and version of the server."""
        told = self._json(self._ask("GET", "/v2"))
        self._binary = _BINARY in told.get("extensions", ())
        return f"{told.get('name')} {told.get('version')}"

    def metadata(self) -> Metadata:
        """Inputs and outputs of the model."""
        told = self._json(self._ask("GET", self._model))
        try:
            return Metadata(*(tuple(map(_tensor, told.get(side) or ())) for side in ("inputs", "outputs")))
        except (KeyError, TypeError, ValueError) as error:
            raise strange(self._address, str(error)) from None

    def infer(self, pixels: Pixels) -> Mapping[str, npt.NDArray[Any]]:
        """Outputs by name."""
        if self._binary is None:
            self.version()
        body, headers = _as_bytes(pixels) if self._binary else _as_json(pixels)
        answer = self._ask("POST", f"{self._model}/infer", content=body, headers=headers)
        length = int(answer.headers.get(_JSON_LENGTH, len(answer.content)))
        try:
            return _outputs(json.loads(answer.content[:length]), answer.content[length:])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise strange(self._address, str(error)) from None

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unanswered(self._address, str(error) or type(error).__name__) from None
        if answer.is_success:
            return answer
        raise refused(self._address, f"{answer.status_code} {_reason(answer)}")

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError as error:
            raise strange(self._address, str(error)) from None
        if not isinstance(told, dict):
            raise strange(self._address, f"expected an object, got {type(told).__name__}")
        return told


def _as_bytes(pixels: Pixels) -> tuple[bytes, dict[str, str]]:
    data = pixels.tobytes()
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in (LOGITS, EMBEDDINGS)]
    header = json.dumps({"inputs": [_input(pixels, parameters={"binary_data_size": len(data)})], "outputs": wanted})
    text = header.encode()
    return text + data, {_JSON_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}


def _as_json(pixels: Pixels) -> tuple[bytes, dict[str, str]]:
    wanted = [{"name": name} for name in (LOGITS, EMBEDDINGS)]
    whole = {"inputs": [_input(pixels, data=pixels.ravel().tolist())], "outputs": wanted}
    return json.dumps(whole).encode(), {"Content-Type": "application/json"}


def _input(pixels: Pixels, **rest: Any) -> dict[str, Any]:
    return {"name": PIXELS, "datatype": "UINT8", "shape": list(pixels.shape), **rest}


def _outputs(told: dict[str, Any], data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Tensors of an answer: their bytes follow the JSON in the order in which it names them."""
    outputs, start = {}, 0
    for one in told["outputs"]:
        size = (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            outputs[one["name"]] = np.array(one["data"], dtype=np.float64).reshape(one["shape"])
            continue
        outputs[one["name"]] = decoded(one["name"], one["datatype"], one["shape"], data[start : start + size])
        start += size
    return outputs


def _tensor(told: dict[str, Any]) -> Tensor:
    return Tensor(str(told["name"]), str(told["datatype"]), tuple(int(length) for length in told["shape"]))


def _reason(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        return answer.text[:200]
    return str(told.get("error") or told) if isinstance(told, dict) else str(told)
