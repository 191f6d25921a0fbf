"""The application over gRPC: the same calls by foresift.proto, health and reflection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import BaseModel, ValidationError

from foresift.core.errors import ForesiftError, UsageError
from foresift.service.answers import answer
from foresift.service.application import Application
from foresift.service.diary import LOG, Seen, request_id
from foresift.service.jobs import OVER
from foresift.service.refusals import status_of
from foresift.wire.calls import BY_NAME, CALLS, STREAMS, Call
from foresift.wire.messages import JobView
from foresift.wire.protobuf import SERVICE, answer_type, request_type, to_message, to_plain
from foresift.wire.refusals import GRPC_OF, KIND

THREADS = 64
MOST_AT_ONCE = 1000
"""Calls that are answered or wait for a thread; more are refused."""
LOOK_S = 0.1
_MOST_TEXT = 2000
"""Characters of a refusal; it travels in a header."""


def grpc_server(
    application: Application, address: str, *, certificate: Path | None = None, key: Path | None = None
) -> tuple[Any, int]:
    """A server that listens once it is started, and its port.

    Raises:
        OSError: the port can't be had.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="foresift-grpc"),
        maximum_concurrent_rpcs=MOST_AT_ONCE,
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", application.settings.limits.body_mib << 20),
        ),
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, _handlers(application)),))
    state = health.HealthServicer()
    for name in ("", SERVICE):
        state.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    application.when_draining(state.enter_graceful_shutdown)
    try:
        port = _bound(server, address, certificate, key)
    except RuntimeError as error:
        raise OSError(0, str(error)) from None
    if not port:
        raise OSError(0, "the port is taken")
    return server, port


def _bound(server: Any, address: str, certificate: Path | None, key: Path | None) -> int:
    if certificate is None or key is None:
        return int(server.add_insecure_port(address))
    pair = (key.read_bytes(), certificate.read_bytes())
    return int(server.add_secure_port(address, grpc.ssl_server_credentials((pair,))))


def _handlers(application: Application) -> dict[str, Any]:
    found = {
        call.name: _handler(grpc.unary_unary_rpc_method_handler, call.name, _plain(application, call))
        for call in CALLS
        if call.name not in STREAMS
    }
    upload = _handler(grpc.stream_unary_rpc_method_handler, "Upload", partial(_upload, application))
    watch = _handler(grpc.unary_stream_rpc_method_handler, "Watch", partial(_watch, application))
    return {**found, "Upload": upload, "Watch": watch}


def _handler(kind: Callable[..., Any], name: str, does: Callable[[Any, Any], Any]) -> Any:
    read = request_type(name).FromString
    return kind(does, request_deserializer=read, response_serializer=answer_type(name).SerializeToString)


def _plain(application: Application, call: Call) -> Callable[[Any, Any], Any]:
    def does(message: Any, context: Any) -> Any:
        with _Asking(application, call, context) as asking:
            places, asked = _read(call, message)
            asking.where = "/".join(places.values())
            key = asking.said.get("idempotency-key", "")
            view = answer(application, call, places, asked, caller=asking.caller, key=key)
            return to_message(answer_type(call.name), application.discretion.view(view))

    return does


def _upload(application: Application, parts: Iterator[Any], context: Any) -> Any:
    with _Asking(application, BY_NAME["Upload"], context), application.uploads.begin() as coming:
        for part in parts:
            coming.write(part.data)
        view = coming.finish()
        application.metrics.uploaded(view.size_bytes)
        return to_message(answer_type("Upload"), application.discretion.view(view))


def _watch(application: Application, message: Any, context: Any) -> Iterator[Any]:
    with _Asking(application, BY_NAME["Watch"], context) as asking:
        asking.where = message.job
        last: JobView | None = None
        view = application.wait(message.job, timeout_s=0)
        while True:
            if view != last:
                yield to_message(answer_type("Watch"), application.discretion.view(view))
                last = view
            if view.state in OVER or application.draining.is_set() or not context.is_active():
                return
            view = application.wait(message.job, timeout_s=LOOK_S)


def _read(call: Call, message: Any) -> tuple[Mapping[str, str], BaseModel]:
    """Names in the path as HTTP has it, and what is asked.

    Raises:
        UsageError: a value that does not fit.
    """
    plain = to_plain(message)
    places = {place: plain.pop(place) for place in call.places}
    empty = [place for place, given in places.items() if not given]
    if empty:
        raise UsageError(f"{empty[0]}: a name is expected")
    if call.name == "Select" and not plain["uris"]:  # protobuf knows no difference between none and an empty list
        del plain["uris"]
    try:
        return places, call.asked.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{place or 'body'}: {first['msg']}") from None


@dataclass(slots=True)
class _Asking:
    """One call on its way: let in at the beginning, told of and refused in the words of gRPC at the end."""

    application: Application
    call: Call
    context: Any
    where: str = ""
    caller: str = ""
    began: float = field(default_factory=time.perf_counter)
    said: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> _Asking:
        self.said = {str(key): str(value) for key, value in self.context.invocation_metadata()}
        try:
            given = self.said.get("authorization", "")
            self.caller = self.application.access.admit(given, self._peer, self.call.scope).id
        except ForesiftError as error:
            self._end(error)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        status, name, text = self._told(error)
        self.application.diary.write(
            Seen(
                protocol="grpc",
                call=self.call.name,
                changes=self.call.method != "GET",
                where=self.where[:500],
                status=status,
                seconds=time.perf_counter() - self.began,
                caller=self.caller,
                peer=self._peer,
                request=request_id(self.said.get("x-request-id", "")),
            )
        )
        if error is not None and not isinstance(error, GeneratorExit):
            self.context.set_trailing_metadata(((KIND, name),))
            self.context.abort(getattr(grpc.StatusCode, GRPC_OF[status]), text[:_MOST_TEXT])

    def _told(self, error: BaseException | None) -> tuple[int, str, str]:
        if error is None or isinstance(error, GeneratorExit):
            return self.call.status, "", ""
        if isinstance(error, ForesiftError):
            return status_of(error), type(error).__name__, self.application.discretion.refusal(error)
        LOG.error("%s failed", self.call.name, exc_info=error)
        return 500, "InternalError", "something went wrong inside the server; its log says what"

    @property
    def _peer(self) -> str:
        """``ipv4:1.2.3.4:5`` as ``1.2.3.4``."""
        return str(self.context.peer()).partition(":")[2].rpartition(":")[0].strip("[]") or "local"
