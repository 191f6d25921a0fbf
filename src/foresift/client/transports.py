"""How a client reaches its server: HTTP or gRPC, the same calls over both."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from foresift.core.errors import ForesiftError, MissingExtraError
from foresift.wire.calls import Call

PART_BYTES = 1 << 20
CONNECT_S = 10.0
Plain = dict[str, Any]


class ServerError(ForesiftError):
    """What the server said, or that it can't be reached."""

    def __init__(self, message: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP, whatever the protocol; 0 = no answer."""
        self.kind = kind


class Transport(Protocol):
    """One way to the server."""

    def ask(self, call: Call, places: Mapping[str, str], asked: Plain, *, key: str = "") -> Plain:
        """The answer to a call.

        Args:
            places: names in the path.
            asked: the rest; None is left out.
            key: asked twice with the same one, it is done once.
        Raises:
            ServerError: it is refused, or nobody answers.
        """
        ...

    def upload(self, call: Call, data: bytes) -> Plain:
        """The answer to bytes that are sent in parts."""
        ...

    def watch(self, call: Call, places: Mapping[str, str]) -> Iterator[Plain]:
        """Answers as they come."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def transport_to(url: str, *, token: str | None, timeout_s: float, authority: bytes | None = None) -> Transport:
    """The way that a URL names; without a scheme HTTP, and gRPC where nobody answers HTTP.

    Args:
        authority: a certificate in PEM to trust, for TLS.
    Raises:
        ServerError: a URL of another kind.
    """
    if "://" not in url:
        return Found(url, token=token, timeout_s=timeout_s)
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        return Http(url, token=token, timeout_s=timeout_s, authority=authority)
    if scheme in ("grpc", "grpcs"):
        return Grpc(url, token=token, timeout_s=timeout_s, authority=authority)
    raise ServerError(f"{url}: expected http://, https://, grpc:// or grpcs://")


class Http:
    """Over HTTP."""

    def __init__(self, url: str, *, token: str | None, timeout_s: float, authority: bytes | None = None) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("the client", "client") from None
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
        trusted = ssl.create_default_context(cadata=authority.decode()) if authority is not None else True
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout, verify=trusted)

    def ask(self, call: Call, places: Mapping[str, str], asked: Plain, *, key: str = "") -> Plain:
        """As :meth:`Transport.ask`."""
        given = {name: value for name, value in asked.items() if value is not None}
        body: Plain = {"json": given} if call.has_body else {"params": given}
        return self._send(call, places, headers={"Idempotency-Key": key} if key else {}, **body)

    def upload(self, call: Call, data: bytes) -> Plain:
        """As :meth:`Transport.upload`."""
        return self._send(call, {}, content=data, headers={"Content-Type": "application/octet-stream"})

    def watch(self, call: Call, places: Mapping[str, str]) -> Iterator[Plain]:
        """As :meth:`Transport.watch`."""
        import httpx

        try:
            with self._client.stream(call.method, _path(call, places)) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from None

    def answers(self) -> bool:
        """Whether somebody speaks HTTP there."""
        import httpx

        try:
            self._client.get("/health")
        except httpx.HTTPError:
            return False
        return True

    def close(self) -> None:
        """As :meth:`Transport.close`."""
        self._client.close()

    def _send(self, call: Call, places: Mapping[str, str], **given: Any) -> Plain:
        import httpx

        try:
            answer = self._client.request(call.method, _path(call, places), **given)
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from None
        if not answer.is_success:
            raise _refusal(answer)
        return dict(answer.json())


class Grpc:
    """Over gRPC."""

    def __init__(self, url: str, *, token: str | None, timeout_s: float, authority: bytes | None = None) -> None:
        try:
            import grpc
        except ImportError:
            raise MissingExtraError("the client over gRPC", "client") from None
        self.url, self._timeout_s = url, timeout_s
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        parts = urlsplit(url)
        options = (("grpc.max_receive_message_length", -1),)
        self._channel = (
            grpc.insecure_channel(parts.netloc, options=options)
            if parts.scheme == "grpc"
            else grpc.secure_channel(parts.netloc, grpc.ssl_channel_credentials(authority), options=options)
        )

    def ask(self, call: Call, places: Mapping[str, str], asked: Plain, *, key: str = "") -> Plain:
        """As :meth:`Transport.ask`."""
        from foresift.wire.protobuf import request_type, to_message

        message = to_message(request_type(call.name), {**places, **asked})
        return self._answer(self._channel.unary_unary, call, message, key=key)

    def upload(self, call: Call, data: bytes) -> Plain:
        """As :meth:`Transport.upload`."""
        from foresift.wire.protobuf import request_type

        kind = request_type(call.name)
        parts = (kind(data=data[at : at + PART_BYTES]) for at in range(0, len(data), PART_BYTES))
        return self._answer(self._channel.stream_unary, call, parts)

    def watch(self, call: Call, places: Mapping[str, str]) -> Iterator[Plain]:
        """As :meth:`Transport.watch`."""
        import grpc

        from foresift.wire.protobuf import request_type, to_message, to_plain

        message = to_message(request_type(call.name), places)
        try:
            for view in self._method(self._channel.unary_stream, call)(message, metadata=self._metadata):
                yield to_plain(view)
        except grpc.RpcError as error:
            raise self._refusal(error) from None

    def answers(self) -> bool:
        """Whether somebody speaks gRPC there."""
        import grpc

        try:
            grpc.channel_ready_future(self._channel).result(timeout=CONNECT_S)
        except grpc.FutureTimeoutError:
            return False
        return True

    def close(self) -> None:
        """As :meth:`Transport.close`."""
        self._channel.close()

    def _method(self, kind: Any, call: Call) -> Any:
        from foresift.wire.protobuf import answer_type, method_path, request_type

        return kind(
            method_path(call.name),
            request_serializer=request_type(call.name).SerializeToString,
            response_deserializer=answer_type(call.name).FromString,
        )

    def _answer(self, kind: Any, call: Call, message: Any, *, key: str = "") -> Plain:
        import grpc

        from foresift.wire.protobuf import to_plain

        metadata = (*self._metadata, *((("idempotency-key", key),) if key else ()))
        try:
            return to_plain(self._method(kind, call)(message, metadata=metadata, timeout=self._timeout_s))
        except grpc.RpcError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Any) -> ServerError:
        from foresift.wire.refusals import HTTP_OF, KIND

        kind = next((value for key, value in error.trailing_metadata() or () if key == KIND), "")
        if not kind and error.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return _unreachable(self.url, error.details())
        return ServerError(error.details(), status=HTTP_OF.get(error.code().name, 500), kind=kind)


class Found:
    """The first of HTTP and gRPC that somebody answers, looked for at the first call."""

    def __init__(self, address: str, *, token: str | None, timeout_s: float) -> None:
        self._address, self._token, self._timeout_s = address, token, timeout_s
        self._way: Transport | None = None

    def ask(self, call: Call, places: Mapping[str, str], asked: Plain, *, key: str = "") -> Plain:
        """As :meth:`Transport.ask`."""
        return self._found().ask(call, places, asked, key=key)

    def upload(self, call: Call, data: bytes) -> Plain:
        """As :meth:`Transport.upload`."""
        return self._found().upload(call, data)

    def watch(self, call: Call, places: Mapping[str, str]) -> Iterator[Plain]:
        """As :meth:`Transport.watch`."""
        return self._found().watch(call, places)

    def close(self) -> None:
        """As :meth:`Transport.close`."""
        if self._way is not None:
            self._way.close()

    def _found(self) -> Transport:
        if self._way is None:
            self._way = self._look()
        return self._way

    def _look(self) -> Transport:
        http = Http(f"http://{self._address}", token=self._token, timeout_s=self._timeout_s)
        if http.answers():
            return http
        http.close()
        other = Grpc(f"grpc://{self._address}", token=self._token, timeout_s=self._timeout_s)
        if other.answers():
            return other
        other.close()
        raise _unreachable(self._address, "nobody answers, neither HTTP nor gRPC")


def _path(call: Call, places: Mapping[str, str]) -> str:
    return call.path.format(**{name: quote(value, safe="") for name, value in places.items()})


def _unreachable(url: str, reason: object) -> ServerError:
    return ServerError(f"{url} can't be reached: {reason}; is `foresift serve` running there?")


def _refusal(answer: Any) -> ServerError:
    try:
        plain = answer.json()
        return ServerError(plain["detail"], status=answer.status_code, kind=plain["error"])
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the server answered {answer.status_code}", status=answer.status_code)
