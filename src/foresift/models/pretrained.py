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
from timm.data import resolve_data_config
from torch import nn

from foresift.core.errors import ModelError
from foresift.core.generations import Transform


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


def published_transform(name: str) -> Transform:
    """How images reached timm's network ``name`` when its published weights were trained; reads no weights.

    Images are square here: of another input the height counts.

    Raises:
        ModelError: timm publishes none.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ModelError(f"{name}: there are no published weights; choose a timm architecture, or a folder")
    known = resolve_data_config({}, pretrained_cfg=config.to_dict())
    return Transform(
        size=known["input_size"][1],
        resize="squash" if known["crop_mode"] == "squash" else "crop",
        crop_share=known["crop_pct"],
        interpolation=known["interpolation"],
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
    )


def published_classes(name: str) -> int:
    """How many classes timm's published weights of ``name`` have; 0 = none, the last layer is missing."""
    config = timm.get_pretrained_cfg(name)
    return 0 if config is None else int(config.num_classes)


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
