"""timm's published weights, and a quick answer where the hub can't be reached."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from huggingface_hub import constants
from torch import nn

from foresift.core.errors import ModelError


def published(name: str, **sizes: int) -> nn.Module:
    """timm's network ``name`` with its published weights, from the local cache or the hub.

    Raises:
        ModelError: neither has them; says what else there is.
    """
    try:
        with _cache_only_without_network():
            network: nn.Module = timm.create_model(name, pretrained=True, **sizes)
    except Exception as error:  # noqa: BLE001 -- timm, the hub client and their transports raise all sorts
        line = (str(error).splitlines() or [""])[0][:120]
        raise ModelError(
            f"{name}: timm's published weights can't be had here ({type(error).__name__}: {line}); "
            "start from a generation folder, a weights file, or untrained"
        ) from None
    return network


@contextmanager
def _cache_only_without_network() -> Iterator[None]:
    """Spares the hub client's retries, three quarters of a minute of them, where its host has no address."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _hub_has_address()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _hub_has_address() -> bool:
    if getproxies() or "HF_ENDPOINT" in os.environ:
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443))
    except OSError:
        return False
