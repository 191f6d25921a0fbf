"""Remote addresses: which there are, and how they are named without the secrets that some carry.

A pre-signed link is a password in the shape of an address. Everywhere but on the wire an object goes by its *public*
name, which lacks the signature; the link itself stays in this process, and is what is asked for.
"""

from __future__ import annotations

import re
import threading
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

WEB = ("http", "https")
BUCKETS = ("s3", "gs", "az")
REMOTE = (*WEB, *BUCKETS)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SIGNED = re.compile(
    r"x-(amz|goog|oss|cos)-.*|.*(signature|token|secret|password|credential).*"
    r"|sig|awsaccesskeyid|googleaccessid|key-pair-id|policy|api[-_]?key|key|auth|authorization|expires|ossaccesskeyid"
)
"""Parameters that let whoever holds them in, and those that are worth nothing without them."""
_AZURE_SAS = re.compile("s[vsrtep]|srt|sip|spr|si|ske?|sk(oid|tid|t|s|v)|rsc[cdelt]")
_links: dict[str, str] = {}
_guard = threading.Lock()


class Place(NamedTuple):
    """A bucket and what lies in it."""

    scheme: str
    bucket: str
    key: str


def scheme_of(uri: str) -> str:
    """``http``, ``s3``, ``file`` and so on; "" for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match is not None else ""


def is_remote(uri: str) -> bool:
    """Whether the bytes lie behind a network."""
    return scheme_of(uri) in REMOTE


def public(uri: str) -> str:
    """The name of a remote object: its address without user, password, signature and fragment.

    The full address is kept in this process for :func:`link`; the one given last counts.
    """
    name = _stripped(uri)
    if name != uri:
        with _guard:
            _links[name] = uri
    return name


def link(name: str) -> str:
    """The full address behind a public name, as it was given; the name itself where nothing was left out."""
    return _links.get(name, name)


def is_signed(name: str) -> bool:
    """Whether the full address holds more than the public name."""
    return name in _links


def host_of(uri: str) -> str:
    """Host and port, or ``s3://bucket``: whatever is up or down as one."""
    scheme, _, rest = uri.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()
    return host if scheme.lower() in WEB else f"{scheme.lower()}://{host}"


def place_of(uri: str) -> Place:
    """Bucket (for Azure: container) and key of a bucket address; keys are taken as they are, unescaped."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return Place(scheme.lower(), bucket, key)


def _stripped(uri: str) -> str:
    if scheme_of(uri) not in WEB:
        return uri
    if "?" not in uri and "@" not in uri and "#" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:  # nobody can ask for it; what might be a secret goes all the same
        return re.split(r"[?#]", uri, maxsplit=1)[0]
    kept = _without_signature(parts.query.split("&")) if parts.query else []
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "&".join(kept), ""))


def _without_signature(pairs: list[str]) -> list[str]:
    names = [pair.partition("=")[0].lower() for pair in pairs]
    patterns = [_SIGNED, _AZURE_SAS] if "sig" in names else [_SIGNED]
    return [
        pair
        for pair, name in zip(pairs, names, strict=True)
        if not any(pattern.fullmatch(name) for pattern in patterns)
    ]
