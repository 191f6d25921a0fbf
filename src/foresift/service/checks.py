"""``foresift doctor --config``: what would keep a server from starting or serving, before anything listens."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from foresift.app.doctor import Finding
from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError
from foresift.service.server import bound, is_loopback
from foresift.service.tokens import TokenFile
from foresift.strategies import parse
from foresift.wire.config import Settings, read_settings


def examine_deployment(config: Path) -> list[Finding]:
    """Each part of a configuration, and whether it would do; nothing is read from the network.

    Raises:
        UsageError: the file is not as expected.
    """
    settings, base = read_settings(config), config.absolute().parent
    return [
        Finding(what="configuration", value=str(config)),
        *_strategy(settings),
        *_workspace(settings, base),
        *_weights(settings, base),
        *_roots(settings, base),
        *_tokens(settings, base),
        *_tls(settings, base),
        *_ports(settings),
    ]


def _strategy(settings: Settings) -> Iterator[Finding]:
    try:
        parse(settings.strategy)
        yield Finding(what="strategy", value=settings.strategy)
    except ForesiftError as error:
        yield _bad("strategy", settings.strategy, str(error))


def _workspace(settings: Settings, base: Path) -> Iterator[Finding]:
    home = settings.storage.home
    try:
        workspace = Workspace.open(None if home is None else base / Path(home).expanduser())
        workspace.records().close()
        yield Finding(what="server's workspace", value=str(workspace.home))
    except ForesiftError as error:
        yield _bad("server's workspace", str(home), str(error))


def _weights(settings: Settings, base: Path) -> Iterator[Finding]:
    name, given = settings.model.name, settings.model.weights
    if given is None:
        value = f"the published ones of {name}"
        yield Finding(what="weights", value=value, advice="fetched at the first push, unless timm has them already")
    elif given == "random":
        yield Finding(what="weights", value="random", advice="every selection is marked: its scores mean nothing")
    elif (base / Path(given).expanduser()).exists():
        yield Finding(what="weights", value=given)
    else:
        yield Finding(what="weights", value=given, advice="no such file here; taken for the id of a generation")


def _roots(settings: Settings, base: Path) -> Iterator[Finding]:
    for root in settings.data.roots:
        path = base / Path(root).expanduser()
        if path.is_dir():
            yield Finding(what="root", value=str(path))
        else:
            yield _bad("root", str(path), "no such folder (data.roots)")
    if not settings.data.roots:
        yield Finding(what="root", value="the folder that the server is started in (data.roots names others)")


def _tokens(settings: Settings, base: Path) -> Iterator[Finding]:
    server, auth = settings.server, settings.auth
    if auth.tokens is not None:
        yield _token_file(base / Path(auth.tokens).expanduser())
    if auth.token is not None:
        yield Finding(what="token", value="one with all scopes, in the configuration")
    if auth.tokens is None and auth.token is None:
        where = "" if is_loopback(server.host) else f", on 127.0.0.1 instead of {server.host}"
        yield Finding(what="tokens", value=f"none: whoever reaches the port is served{where}")


def _token_file(path: Path) -> Finding:
    try:
        living = [one for one in TokenFile(path).all() if not one.revoked_at]
    except ForesiftError as error:
        return _bad("tokens", str(path), str(error))
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return _bad("tokens", str(path), f"others can read it; chmod 600 {path}")
    if not living:
        return _bad("tokens", str(path), "none is valid; foresift token create makes one")
    return Finding(what="tokens", value=f"{len(living)} valid in {path}")


def _tls(settings: Settings, base: Path) -> Iterator[Finding]:
    server = settings.server
    if server.tls_certificate is None or server.tls_key is None:
        fine = is_loopback(server.host) or not (settings.auth.token or settings.auth.tokens)
        advice = (
            ""
            if fine
            else "tokens travel unencrypted (server.tls_certificate, server.tls_key), unless a proxy encrypts"
        )
        yield Finding(what="TLS", value="off", advice=advice)
        return
    certificate, key = (base / Path(one).expanduser() for one in (server.tls_certificate, server.tls_key))
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        yield Finding(what="TLS", value=f"{certificate}, {key}")
    except (OSError, ssl.SSLError) as error:
        yield _bad("TLS", f"{certificate}, {key}", f"can't be used: {error.strerror or error}")


def _ports(settings: Settings) -> Iterator[Finding]:
    named = [("gRPC", settings.port)] if settings.server.protocol == "grpc" else []
    for protocol, port in [*named, *(("HTTP", port) for port in settings.http_ports)]:
        try:
            bound(settings.server.host, port).close()
            yield Finding(what=f"port of {protocol}", value=f"{port} is free")
        except OSError as error:
            yield _bad(f"port of {protocol}", str(port), f"{error.strerror}; is a server running there already?")


def _bad(what: str, value: str, advice: str) -> Finding:
    return Finding(what=what, value=value, fine=False, advice=advice)
