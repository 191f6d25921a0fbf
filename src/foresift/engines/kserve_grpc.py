"""KServe v2 over gRPC: tensors as raw bytes.

Source: the Open Inference Protocol (V2) of KServe, service ``inference.GRPCInferenceService``.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.engines.kserve_messages import SERVICE, message_type
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

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
_UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class GrpcTransport:
    """One channel, kept open."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address.host, options=_OPTIONS)
        weakref.finalize(self, self._channel.close)  # engines are dropped, not closed

    def version(self) -> str:
        """Name and version of the server."""
        told = self._call("ServerMetadata")
        return f"{told.name} {told.version}"

    def metadata(self) -> Metadata:
        """Inputs and outputs of the model."""
        told = self._call("ModelMetadata", name=self._address.model, version=self._address.version)
        return Metadata(tuple(map(_tensor, told.inputs)), tuple(map(_tensor, told.outputs)))

    def infer(self, pixels: Pixels) -> Mapping[str, npt.NDArray[Any]]:
        """Outputs by name."""
        answer = self._call(
            "ModelInfer",
            model_name=self._address.model,
            model_version=self._address.version,
            inputs=[{"name": PIXELS, "datatype": "UINT8", "shape": pixels.shape}],
            outputs=[{"name": name} for name in (LOGITS, EMBEDDINGS)],
            raw_input_contents=[pixels.tobytes()],
        )
        try:
            return _outputs(answer)
        except ValueError as error:
            raise strange(self._address, str(error)) from None

    def _call(self, method: str, **fields: Any) -> Any:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_type(f"{method}Response").FromString,
        )
        try:
            return call(message_type(f"{method}Request")(**fields), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            failed = unanswered if error.code() in _UNREACHED else refused
            raise failed(self._address, str(error.details())) from None


def _outputs(answer: Any) -> dict[str, npt.NDArray[Any]]:
    """Tensors from the raw bytes, or from typed fields where a server sends no raw ones."""
    raw = answer.raw_output_contents
    if raw and len(raw) != len(answer.outputs):
        raise ValueError(f"{len(raw)} tensors for {len(answer.outputs)} outputs")
    if raw:
        pairs = zip(answer.outputs, raw, strict=True)
        return {one.name: decoded(one.name, one.datatype, one.shape, data) for one, data in pairs}
    return {one.name: np.array(_typed(one), dtype=np.float64).reshape(tuple(one.shape)) for one in answer.outputs}


def _typed(output: Any) -> Any:
    held = output.contents
    return held.fp64_contents if output.datatype == "FP64" else held.fp32_contents


def _tensor(told: Any) -> Tensor:
    return Tensor(told.name, told.datatype, tuple(told.shape))
