"""What logic asks of adapters; each adapter room holds implementations of one of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.predictions import Producer
from foresift.core.samples import Pool


class Outputs(NamedTuple):
    """One forward pass over b images."""

    logits: npt.NDArray[np.float32]
    """(b, c)"""
    embeddings: npt.NDArray[np.float32]
    """(b, d)"""


class Engine(Protocol):
    """Runs one model over batches of a fixed size. Not thread-safe: one caller at a time."""

    name: str
    """``torch``, ``openvino`` or ``onnx``."""
    precision: str
    """``f32``, ``bf16`` or ``int8``."""
    version: str
    """Of the library; part of the store key, because another version may round otherwise."""

    def __call__(self, batch: Pixels) -> Outputs:
        """Logits and embeddings of (b, size, size, 3) uint8 RGB pixels, normalisation included."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """Rows as a store holds them: either outputs, or the reason why there are none."""

    digests: npt.NDArray[np.str_]
    """(n,) content digests."""
    reasons: npt.NDArray[np.str_]
    """(n,) empty for good rows, else why the image is quarantined."""
    logits: npt.NDArray[np.float32] | None
    """(n, c); rows with a reason are zero. None if not asked for."""
    embeddings: npt.NDArray[np.float32] | None
    """(n, d); rows with a reason are zero. None if not asked for."""


class PredictionStore(Protocol):
    """Rows keyed by (producer, content digest); append-only, safe for several processes.

    ``append`` is atomic: all of its rows become visible, or none. The same key appended
    twice is harmless: the first row wins, and both are equal by construction.
    """

    def known(self, producer: Producer) -> npt.NDArray[np.str_]:
        """Content digests that the store holds for a producer, quarantined ones included; any order."""
        ...

    def read(self, producer: Producer, digests: npt.NDArray[np.str_], *, columns: Sequence[str]) -> StoredRows:
        """Rows in the order asked for.

        Raises:
            KeyError: a digest is not stored.
        """
        ...

    def append(self, producer: Producer, rows: StoredRows) -> None:
        """Store rows; logits and embeddings are both required."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrids:
    """Rows of any length as a store holds them: what was made of each image, or why there is nothing."""

    digests: npt.NDArray[np.str_]
    """(n,) content digests."""
    reasons: npt.NDArray[np.str_]
    """(n,) empty for good rows, else why the image is quarantined."""
    sizes: npt.NDArray[np.int32]
    """(n, 2) height and width in pixels; zero for rows with a reason."""
    values: Sequence[npt.NDArray[np.float32]]
    """n rows; those with a reason are empty."""


class GridStore(Protocol):
    """As :class:`PredictionStore`, for rows whose lengths differ."""

    def known(self, producer: Producer) -> npt.NDArray[np.str_]:
        """Content digests that the store holds for a producer, quarantined ones included; any order."""
        ...

    def read(
        self, producer: Producer, digests: npt.NDArray[np.str_]
    ) -> Iterator[tuple[npt.NDArray[np.intp], StoredGrids]]:
        """Some rows at a time, and at which places they were asked for.

        Raises:
            KeyError: a digest is not stored.
        """
        ...

    def append(self, producer: Producer, grids: StoredGrids) -> None:
        """Store rows, all or none."""
        ...


class ShardClaims(Protocol):
    """Which process works on which shard of one pass; claims end with the process that holds them."""

    def __enter__(self) -> ShardClaims:
        """Open the claims."""
        ...

    def __exit__(self, *error: object) -> None:
        """Let go of everything that is still claimed."""
        ...

    def claim(self, shard: int) -> bool:
        """Take a shard at once, or False if another process has it."""
        ...

    def wait(self, shard: int) -> None:
        """Take a shard, waiting for whoever has it."""
        ...

    def is_done(self, shard: int) -> bool:
        """Whether some process stored the shard."""
        ...

    def release(self, shard: int, *, done: bool) -> None:
        """Let go of a shard, saying whether it is stored."""
        ...


class Source(Protocol):
    """Something that lists images: a folder, a manifest, a list of addresses."""

    name: str
    """Canonical address; the pool's name."""

    def pool(self, digests: DigestMemory, *, need_digests: bool) -> Pool:
        """Every sample, with content digests where they are needed for ids or asked for."""
        ...


class Arrivals(Protocol):
    """Told of a pool's remote samples as their bytes come in, by one thread."""

    def begin(self, pool: str, total: int) -> None:
        """So many samples of a pool are going to come, less those that can't be had."""
        ...

    def add(self, uri: str, digest: str, data: bytes | None) -> None:
        """One of them, in ascending order of address; None = its bytes are to be fetched. May wait."""
        ...

    def own(self, left: int) -> int:
        """How many of the next ones, of all that are left, whoever asks brings itself; 0 = others bring all of them."""
        ...

    def brought(self, wanted: Sequence[Wanted]) -> Iterator[Brought]:
        """What others made of the rest, in order; nothing of it is added."""
        ...


class Wanted(NamedTuple):
    """A remote object whose bytes are to come."""

    name: str
    digest: str | None
    """Known already from the stamps of a listing."""
    before: tuple[tuple[int, int], str] | None
    """Stamp and digest that it had when it was read last."""


class Brought(NamedTuple):
    """What became of a :class:`Wanted`."""

    stamp: tuple[int, int] | None
    """None = nothing new to remember."""
    digest: str
    """"" where the bytes can't be had."""
    reason: str = ""
    """Why they can't."""


class DigestMemory(Protocol):
    """Remembers content digests by (uri, size, modification time), so that a second look reads no byte."""

    def lookup(self, uris: Sequence[str], stamps: Sequence[tuple[int, int]]) -> list[str | None]:
        """Digest of each uri whose (size_bytes, mtime_ns) is unchanged, else None."""
        ...

    def recall(self, uris: Sequence[str]) -> list[tuple[tuple[int, int], str] | None]:
        """Stamp and digest that each uri had when it was read last, or None."""
        ...

    def remember(self, uris: Sequence[str], stamps: Sequence[tuple[int, int]], digests: Sequence[str]) -> None:
        """Keep what was computed."""
        ...

    def forget(self, uris: Sequence[str]) -> None:
        """Drop what is known of each uri, because its bytes turned out to be others; unknown ones do no harm."""
        ...


class Progress(Protocol):
    """Told how far a long task is; the command line draws it."""

    def start(self, task: str, total: int) -> None:
        """A task of ``total`` units begins."""
        ...

    def advance(self, units: int) -> None:
        """``units`` more are done."""
        ...

    def done(self, summary: str = "") -> None:
        """The task is over."""
        ...


class Silent:
    """The progress that nobody watches."""

    def start(self, task: str, total: int) -> None:
        """Nothing."""

    def advance(self, units: int) -> None:
        """Nothing."""

    def done(self, summary: str = "") -> None:
        """Nothing."""


class ModelBuilder(Protocol):
    """Builds an untrained network for an architecture name."""

    def __call__(self, *, classes: int, image_size: int) -> Any:
        """A ``torch.nn.Module`` (named Any here because the core knows no torch)."""
        ...
