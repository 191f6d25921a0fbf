"""Keeps a training run to itself: random state, torch's flags, Lightning's chatter, Ctrl-C."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

LIGHTNING_LOGGERS = (
    "pytorch_lightning.utilities.rank_zero",
    "lightning_fabric.utilities.rank_zero",
    "pytorch_lightning",
    "lightning_fabric",
)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seeds every generator inside; outside, nothing has changed afterwards."""
    with _own_random_state(seed), _deterministic_kernels(), _quiet_lightning(), _own_interrupts():
        yield


def seed_all(*seed: int) -> None:
    """Seed torch, NumPy's old generator and Python's from numbers that belong together."""
    value = int(np.random.SeedSequence(seed).generate_state(1)[0])
    torch.manual_seed(value)
    np.random.seed(value)  # noqa: NPY002 -- third-party layers may draw from it
    random.seed(value)


@contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _deterministic_kernels() -> Iterator[None]:
    """cuDNN without autotuning, whose choice of kernel may differ from run to run."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes, tips and advice on workers; our own errors say what matters."""
    loggers = [logging.getLogger(name) for name in LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Ctrl-C stays a ``KeyboardInterrupt``, which Lightning turns into ``SystemExit``."""
    try:
        yield
    except SystemExit as exit_:
        raise (exit_.__context__ if isinstance(exit_.__context__, KeyboardInterrupt) else exit_) from None
