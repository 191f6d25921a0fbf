"""What a KServe v2 server is asked and answers, whichever protocol carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError

PIXELS, LOGITS, EMBEDDINGS = "pixels", "logits", "embeddings"
TIMEOUT_S = 120.0
FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a served model is."""

    scheme: str
    """``http``, ``https`` or ``grpc``."""
    host: str
    """With its port."""
    model: str
    version: str
    """Empty: the one that the server serves."""

    def __str__(self) -> str:
        scheme = "triton" if self.scheme == "http" else f"triton+{self.scheme}"
        return f"{scheme}://{self.host}/{self.model}" + (f"/{self.version}" if self.version else "")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as a server describes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1 where any length will do."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a server says of a model; MLServer may say nothing."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Transport(Protocol):
    """The three calls of the protocol that an engine makes; each raises ModelError in one line."""

    def version(self) -> str:
        """Name and version of the server."""
        ...

    def metadata(self) -> Metadata:
        """Inputs and outputs of the model."""
        ...

    def infer(self, pixels: Pixels) -> Mapping[str, npt.NDArray[Any]]:
        """Outputs by name."""
        ...


def decoded(name: str, datatype: str, shape: Sequence[int], data: bytes) -> npt.NDArray[Any]:
    """A tensor from its bytes.

    Raises:
        ValueError: a type that is no float, or too few or many bytes.
    """
    if datatype not in FLOATS:
        raise ValueError(f"{name} is {datatype}, expected {' or '.join(FLOATS)}")
    return np.frombuffer(data, dtype=FLOATS[datatype]).reshape(tuple(shape))


def unanswered(address: Address, reason: str) -> ModelError:
    """A server that can't be reached."""
    return ModelError(f"{address}: no answer ({_line(reason)}); start the server, or use --engine torch")


def refused(address: Address, reason: str) -> ModelError:
    """A server that answers with an error."""
    return ModelError(f"{address}: the server refuses: {_line(reason)}")


def strange(address: Address, reason: str) -> ModelError:
    """An answer that is none of the protocol."""
    return ModelError(f"{address}: this does not answer as a KServe v2 server does: {_line(reason)}")


def _line(text: str) -> str:
    return " ".join(text.split())[:200] or "no reason given"
