"""The YAML of a server: our own shape, and the two that the ALaaS paper and its public code have.

Ours::

    name: crossings
    strategy: margin                # or auto
    model: {name: resnet18, weights: generations/7, batch_size: 16, device: auto}
    server: {protocol: http, host: 127.0.0.1, port: 8888, replicas: 1}
    data: {roots: [images], hosts: [media.example.org]}
    labels: labels.csv
    auth: {tokens: tokens.yml}
    storage: {home: workspace}
    limits: {body_mib: 64}
    ray: auto                       # a cluster in the place of replicas

The paper's (its Figure 2) and the public code's have ``active_learning`` with ``strategy``, ``model``, ``device`` and
``al_worker``; sections of ours may stand beside it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from foresift.core.errors import UsageError

DEFAULT_HTTP_PORT = 8888
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_ALAAS = "active_learning"
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Which network looks at the pool."""

    name: Text = "resnet18"
    """An architecture."""
    weights: Text | None = None
    """A generation (folder, id or alias), a file of weights, or ``random``; None = the published ones of ``name``."""
    hub: str | None = None
    """Where ALaaS had its weights from; only read: published weights are timm's."""
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    """Images a call; None = measured."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Text = "auto"
    image_size: int | None = Field(default=None, ge=8, le=4096)
    """Side of the input in pixels; None = that of the generation or of the published weights."""
    classes: tuple[Text, ...] = ()
    """Names in the order of the logits, where ``weights`` is a file."""

    @field_validator("device", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


class ServerSection(_Section):
    """Where the server listens."""

    protocol: Literal["http", "grpc"] = "http"
    host: Text = "127.0.0.1"
    port: Port | None = None
    """Of the named protocol."""
    http_port: Port | None = None
    """Of HTTP: 8888 unless ``protocol: http`` names another."""
    replicas: int = Field(default=1, ge=1, le=64)
    """Processes that share the work on a pool; 1 = the server's own alone."""
    tls_certificate: Text | None = None
    tls_key: Text | None = None

    @model_validator(mode="after")
    def _both(self) -> ServerSection:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self

    @field_validator("protocol", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


class DataSection(_Section):
    """What the server may read."""

    roots: tuple[Text, ...] = ()
    """Folders; none = the directory that the server was started in."""
    hosts: tuple[Text, ...] = ()
    """Hosts of remote addresses, ``host`` or ``host:port`` or ``s3://bucket``; none = no remote address."""
    allow_private: bool = False
    """Whether hosts may resolve to private or link-local addresses."""


class AuthSection(_Section):
    """Who may ask."""

    tokens: Text | None = None
    """A file of hashed tokens, written by ``foresift token``."""
    token: Text | None = None
    """One token with all scopes; give it as ``${VARIABLE}``, not in the file."""


class StorageSection(_Section):
    """Where the server keeps what it must remember."""

    home: Text | None = None
    """A workspace folder; None = ``$FORESIFT_HOME``, else ``~/.foresift``."""
    store: Text | None = None
    """Address of the predictions store; None = in the workspace."""


class LimitsSection(_Section):
    """What a request may ask for."""

    body_mib: int = Field(default=64, ge=1, le=4096)
    """Of a request, and of an image that is uploaded."""
    image_mpixel: int = Field(default=100, ge=1, le=178)
    """Million pixels of an image that is uploaded."""
    samples_a_request: int = Field(default=100_000, ge=1)
    requests_a_minute: int = Field(default=1_200, ge=1)
    """For each token, or each address where there are no tokens."""
    budget: int | None = Field(default=None, ge=1)
    """Labels a query may ask for; None = no limit."""


class Settings(_Section):
    """A server's configuration, whichever shape it was written in."""

    name: Text = "foresift"
    version: str = ""
    strategy: Text = "auto"
    seed: int = 0
    model: ModelSection = ModelSection()
    server: ServerSection = ServerSection()
    data: DataSection = DataSection()
    labels: Text | None = None
    """A labels file to begin with."""
    budget: int | None = Field(default=None, ge=1)
    """Of a query that names none."""
    target: float | None = Field(default=None, gt=0, le=1)
    auth: AuthSection = AuthSection()
    storage: StorageSection = StorageSection()
    limits: LimitsSection = LimitsSection()
    ray: Text | None = None
    """A Ray cluster that shares the work in the place of replicas: local, auto, host:port or ray://host:port."""

    @field_validator("version", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @property
    def port(self) -> int:
        """Of the named protocol."""
        if self.server.port is not None:
            return self.server.port
        return self.http_port if self.server.protocol == "http" else DEFAULT_HTTP_PORT + 1

    @property
    def http_port(self) -> int:
        """Of HTTP."""
        if self.server.http_port is not None:
            return self.server.http_port
        by_name = self.server.port if self.server.protocol == "http" else None
        return DEFAULT_HTTP_PORT if by_name is None else by_name

    @property
    def http_ports(self) -> tuple[int, ...]:
        """All on which HTTP is served: that of ``protocol: http``, and ``http_port`` where it is another."""
        return tuple(
            dict.fromkeys((self.port, self.http_port) if self.server.protocol == "http" else (self.http_port,))
        )


def read_settings(path: str | Path, *, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in a YAML file; ``${NAME}`` and ``${NAME:-default}`` come from the environment.

    Raises:
        UsageError: no such file, no YAML, an unknown key (the nearest one is named), or a value out of range.
    """
    import yaml

    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or 'not readable'}; expected the YAML file of a server") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not a text file in UTF-8; expected the YAML file of a server") from None
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        where = f", line {at.line + 1}" if at is not None else ""
        raise UsageError(f"{file}{where}: not YAML ({getattr(error, 'problem', None) or 'can not be read'})") from None
    return parse_settings(plain, where=str(file), environment=environment)


def parse_settings(plain: Any, *, where: str = "settings", environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in what YAML held; raises as :func:`read_settings`."""
    if plain is None or not isinstance(plain, Mapping):
        raise UsageError(f"{where}: expected keys such as name, strategy and model, got {type(plain).__name__}")
    filled = _filled(plain, os.environ if environment is None else environment, where)
    if _ALAAS in filled:
        filled = _from_alaas(filled, where)
    try:
        return Settings.model_validate(filled)
    except ValidationError as error:
        raise UsageError(f"{where}: {_complaint(error)}") from None


def with_http_port(settings: Settings, port: int) -> Settings:
    """The settings with HTTP on this port alone."""
    server = settings.server.model_copy(update={"protocol": "http", "port": port, "http_port": port})
    return settings.model_copy(update={"server": server})


def json_schema() -> dict[str, Any]:
    """A JSON Schema of our own shape, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def _filled(value: Any, environment: Mapping[str, str], where: str) -> Any:
    """The value with every ``${NAME}`` replaced."""
    if isinstance(value, Mapping):
        return {str(key): _filled(item, environment, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment, where) for item in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        if found is None:
            raise UsageError(f"{where}: the environment has no {match[1]}; set it, or write ${{{match[1]}:-default}}")
        return found

    return _ENV.sub(replaced, value)


def _from_alaas(plain: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our shape of a file in one of the two that ALaaS has.

    ``model`` stands in ``active_learning`` (the paper) or in its ``strategy`` (the public code); ``device`` in the
    model, in ``active_learning`` or at the top; ``al_worker`` in ``active_learning`` or at the top.
    """
    rest = {key: value for key, value in plain.items() if key not in (_ALAAS, "al_worker", "device")}
    learning = _mapping(plain[_ALAAS], where, _ALAAS)
    _refuse_unknown(learning, ("strategy", "model", "device", "al_worker"), f"{where}: {_ALAAS}")
    strategy = learning.get("strategy", {})
    strategy = {"type": strategy} if isinstance(strategy, str) else _mapping(strategy, where, f"{_ALAAS}.strategy")
    _refuse_unknown(strategy, ("type", "model"), f"{where}: {_ALAAS}.strategy")
    model = {
        **_mapping(learning.get("model", {}), where, f"{_ALAAS}.model"),
        **_mapping(strategy.get("model", {}), where, f"{_ALAAS}.strategy.model"),
    }
    if "hub_name" in model:
        model["hub"] = model.pop("hub_name")
    device = model.get("device", learning.get("device", plain.get("device")))
    if device is not None:
        model["device"] = device
    worker = {
        **_mapping(plain.get("al_worker", {}), where, "al_worker"),
        **_mapping(learning.get("al_worker", {}), where, f"{_ALAAS}.al_worker"),
    }
    _refuse_unknown(worker, tuple(ServerSection.model_fields), f"{where}: al_worker")
    server = {**worker, **_mapping(rest.pop("server", {}), where, "server")}
    server.setdefault("http_port", DEFAULT_HTTP_PORT)  # where the paper's client looks for the paper's server
    return {**rest, "strategy": strategy.get("type", "auto"), "model": model, "server": server}


def _mapping(value: Any, where: str, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {name} must hold keys, got {value!r}")
    return dict(value)


def _refuse_unknown(plain: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in plain:
        if key not in known:
            raise UsageError(f"{where}: {_unknown(key, known)}")


def _unknown(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key {key!r}{hint} (known: {', '.join(names)})"


def _complaint(error: ValidationError) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        section: Any = Settings
        for part in place[:-1]:
            section = section.model_fields[part].annotation
        prefix = f"{'.'.join(place[:-1])}: " if place[:-1] else ""
        return prefix + _unknown(place[-1], section.model_fields)
    got = first.get("input")
    return f"{'.'.join(place)}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {str(got)[:60]!r}"
