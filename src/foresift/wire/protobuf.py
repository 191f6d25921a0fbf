"""The messages of :mod:`foresift.wire.messages` as protobuf and back; foresift.proto says how they look there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf import struct_pb2 as _struct  # what foresift.proto imports must be known first

from foresift.core.errors import UsageError

PACKAGE = "foresift.v1"
SERVICE = f"{PACKAGE}.Foresift"
KNOWN_FIRST = _struct.DESCRIPTOR.name


@cache
def service() -> Any:
    """The descriptor of the service; its methods have names, inputs and outputs."""
    pool = descriptor_pool.Default()
    held = descriptor_pb2.FileDescriptorSet.FromString((files("foresift.wire") / "foresift.pb").read_bytes())
    for file in held.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(SERVICE)


@cache
def request_type(call: str) -> Any:
    """The class of what a call takes."""
    return message_factory.GetMessageClass(service().methods_by_name[call].input_type)


@cache
def answer_type(call: str) -> Any:
    """The class of what a call gives."""
    return message_factory.GetMessageClass(service().methods_by_name[call].output_type)


def to_message(kind: Any, plain: Mapping[str, Any]) -> Any:
    """Plain values as a message; None is left out.

    Raises:
        UsageError: a field that the message lacks, or a value that does not fit it.
    """
    try:
        return json_format.ParseDict(dict(plain), kind())
    except json_format.ParseError as error:
        raise UsageError(" ".join(str(error).split())[:300]) from None


def to_plain(message: Any) -> dict[str, Any]:
    """A message as plain values; optional fields that are not set are left out."""
    plain = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    long = {field.name for field in message.DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_INT64}
    # JSON has text for whole numbers of 64 bits, since some readers of it know only floats.
    numbers = {name: int(value) for name, value in plain.items() if name in long}
    return {**_with_whole_numbers(plain), **numbers}


def method_path(call: str) -> str:
    """By which gRPC calls a method."""
    return f"/{SERVICE}/{call}"


def _with_whole_numbers(value: Any) -> Any:
    """2.0 as 2: a Struct knows no whole numbers."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
