"""Messages of the KServe v2 protocol as protobuf classes: the fields that an engine sends and reads.

Field numbers are those of the protocol's published specification; what is left out here (parameters,
identifiers of requests) is skipped by protobuf when it comes. They live in a pool of their own, so that
another client of the protocol may be loaded beside them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_REPEATED = "*"
_TENSOR = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")}
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Tensor": _TENSOR,
    "Contents": {"fp32_contents": (6, "float*"), "fp64_contents": (7, "double*")},
    "Output": {**_TENSOR, "contents": (5, "Contents")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "string*")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse": {"name": (1, "string"), "inputs": (4, "Tensor*"), "outputs": (5, "Tensor*")},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "inputs": (5, "Tensor*"),
        "outputs": (6, "Tensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "outputs": (5, "Output*"),
        "raw_output_contents": (6, "bytes*"),
    },
}


def message_type(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="kserve_v2.proto", package=PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            described.field.add(name=field, number=number, **_kind(kind))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _kind(text: str) -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    bare = text.removesuffix(_REPEATED)
    label = field.LABEL_REPEATED if text.endswith(_REPEATED) else field.LABEL_OPTIONAL
    if bare in _MESSAGES:
        return {"label": label, "type": field.TYPE_MESSAGE, "type_name": f".{PACKAGE}.{bare}"}
    return {"label": label, "type": getattr(field, f"TYPE_{bare.upper()}")}
