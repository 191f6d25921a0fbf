"""A model behind a KServe v2 server, such as Triton or MLServer: ``triton://host:port/model``.

The server takes what every engine takes, (b, s, s, 3) uint8 ``pixels``, and gives float ``logits`` and
``embeddings``. Pixels are all that leaves this machine: no names, no addresses of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import MissingExtraError, ModelError, UsageError
from foresift.core.protocols import Outputs
from foresift.engines.kserve_protocol import EMBEDDINGS, FLOATS, LOGITS, PIXELS, Address, Tensor, Transport

PRECISION = "served"
"""Which one it is, is the server's affair: the check on a sample of the pool says whether it will do."""
SCHEMES = {"triton": "http", "triton+http": "http", "triton+https": "https", "triton+grpc": "grpc"}
_ANY = -1


def is_served(name: str) -> bool:
    """Whether an engine's name is the address of a server."""
    return name.partition("://")[0] in SCHEMES


def parse_address(text: str) -> Address:
    """``triton://host:port/model`` or ``.../model/version``; ``triton+grpc://`` for gRPC, ``triton+https://`` for TLS.

    Raises:
        UsageError: no such address.
    """
    expected = "triton[+http|+https|+grpc]://host:port/model[/version]"
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = None
    names = parts.path.strip("/").split("/")
    if parts.username is not None or parts.password is not None:
        raise UsageError("the address of an engine is written into receipts: leave user and password out of it")
    whole = parts.scheme in SCHEMES and parts.hostname and port and names[0] and len(names) <= 2
    if not whole or parts.query or parts.fragment:
        raise UsageError(f"expected an engine such as {expected}, got {text}")
    return Address(SCHEMES[parts.scheme], parts.netloc, names[0], names[1] if len(names) == 2 else "")


def connect(address: Address) -> Transport:
    """A connection to a server; nothing is asked of it yet.

    Raises:
        MissingExtraError: the protocol's library is not installed.
    """
    try:
        if address.scheme == "grpc":
            from foresift.engines.kserve_grpc import GrpcTransport

            return GrpcTransport(address)
        from foresift.engines.kserve_http import HttpTransport

        return HttpTransport(address)
    except ImportError:
        raise MissingExtraError(f"the engine {address}", "client") from None


class KServeEngine:
    """A served model, held to the shapes of the generation that it stands for."""

    name = "kserve"
    precision = PRECISION

    def __init__(self, address: Address, transport: Transport, *, size: int, batch: int, widths: tuple[int, int]):
        """Ask the server what it serves.

        Args:
            widths: (c, d) that logits and embeddings must have.
        Raises:
            ModelError: no answer, no such model, or other names, types or shapes.
        """
        self._address, self._transport = address, transport
        self._shapes = {LOGITS: (batch, widths[0]), EMBEDDINGS: (batch, widths[1])}
        self.version = transport.version()
        told = transport.metadata()
        if told.inputs:
            self._check(told.inputs, PIXELS, ("UINT8",), (batch, size, size, 3), only=True)
        for name, shape in self._shapes.items() if told.outputs else ():
            self._check(told.outputs, name, tuple(FLOATS), shape)

    def __call__(self, batch: Pixels) -> Outputs:
        """Logits and embeddings of a (b, s, s, 3) uint8 batch.

        Raises:
            ModelError: no answer, or one of another shape or with values that are no numbers.
        """
        outputs = self._transport.infer(np.ascontiguousarray(batch))
        return Outputs(self._output(outputs, LOGITS), self._output(outputs, EMBEDDINGS))

    def _output(self, outputs: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32]:
        if name not in outputs:
            raise self._unlike(f"it gives {_listed(outputs)} and no {name}")
        values = np.array(outputs[name], dtype=np.float32)
        if values.shape != self._shapes[name]:
            raise self._unlike(f"its {name} are {values.shape}, expected {self._shapes[name]}")
        bad = int((~np.isfinite(values).all(axis=1)).sum())
        if bad:
            raise self._unlike(f"its {name} of {bad} of {len(values)} images are not finite numbers")
        return values

    def _check(
        self, told: Sequence[Tensor], name: str, types: Sequence[str], shape: tuple[int, ...], *, only: bool = False
    ) -> None:
        kind = "takes" if only else "gives"
        found = next((tensor for tensor in told if tensor.name == name), None)
        if found is None or (only and len(told) > 1):
            wanted = f"{name} alone" if only else name
            raise self._unlike(f"it {kind} {_listed(tensor.name for tensor in told)}, expected {wanted}")
        if found.datatype not in types or not _fits(found.shape, shape):
            expected = f"{' or '.join(types)} {shape}"
            raise self._unlike(f"it {kind} {name} as {found.datatype} {found.shape}, expected {expected}")

    def _unlike(self, what: str) -> ModelError:
        return ModelError(f"{self._address} does not serve this generation: {what}")


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _fits(told: Sequence[int], shape: Sequence[int]) -> bool:
    return len(told) == len(shape) and all(a in (_ANY, b) for a, b in zip(told, shape, strict=True))
