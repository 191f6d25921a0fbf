"""OpenVINO on the CPU: float32, bfloat16 where the processor has it, or a graph in int8."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError
from foresift.core.protocols import Outputs
from foresift.engines.threads import threads

# OpenVINO's converter reports every conversion to its makers unless this module is absent,
# and forks a process to do so. Nothing leaves a user's machine without being asked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

_PART_ROWS = 4
_REST = {"int8": "f32"}
"""Precision of what a graph of whole numbers leaves as it was."""


class OpenVinoEngine:
    """A graph compiled for one batch size; other sizes are refused by it.

    A batch is split into equal parts that run side by side, one stream a part: threads that
    share a part wait for each other after every layer, streams do not (1.3 times on two busy cores).
    How it is split follows from the machine alone, so that a replica with fewer threads gives the same rows.
    """

    name = "openvino"
    version = version("openvino")

    def __init__(self, model: ov.Model, *, precision: str, size: int, batch: int) -> None:
        """Compile a graph.

        Args:
            model: of :func:`convert` or :func:`read_graph`; its batch size is set here.
            precision: ``f32``, ``bf16``, or ``int8`` of a graph that is quantised already.
        Raises:
            ModelError: OpenVINO can't run it.
        """
        self.precision = precision
        parts = _parts(batch, cores=os.cpu_count() or 1)
        self._rows = batch // parts
        core = ov.Core()
        model.reshape({0: [self._rows, size, size, 3]})
        rest = _REST.get(precision, precision)
        streams = min(parts, threads())
        hints = {"INFERENCE_PRECISION_HINT": rest, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
        if threads() < (os.cpu_count() or 1):
            hints["INFERENCE_NUM_THREADS"] = threads()
        try:
            compiled = core.compile_model(model, "CPU", hints)
            self._requests = [compiled.create_infer_request() for _ in range(parts)]
        except Exception as error:
            raise refusal(error) from error

    def __call__(self, batch: Pixels) -> Outputs:
        """Logits and embeddings of a (b, s, s, 3) uint8 batch."""
        if len(batch) != self._rows * len(self._requests):
            raise ValueError(f"compiled for batches of {self._rows * len(self._requests)} images, got {len(batch)}")
        for part, request in enumerate(self._requests):
            request.start_async([batch[part * self._rows : (part + 1) * self._rows]], share_inputs=True)
        for request in self._requests:
            request.wait()
        return Outputs(*(self._output(index) for index in (0, 1)))

    def _output(self, index: int) -> npt.NDArray[np.float32]:
        parts = [request.get_output_tensor(index).data for request in self._requests]
        return np.concatenate(parts).astype(np.float32, copy=False)


def _parts(batch: int, *, cores: int) -> int:
    """The most equal parts, at most one a core, of at least ``_PART_ROWS`` images each."""
    fitting = [n for n in range(1, cores + 1) if batch % n == 0 and batch // n >= _PART_ROWS]
    return max(fitting, default=1)


def convert(network: nn.Module, *, size: int) -> ov.Model:
    """A network as a graph for any number of images; the network stays as it is.

    Args:
        network: (b, size, size, 3) uint8 pixels to logits and embeddings, normalisation included.
    Raises:
        ModelError: OpenVINO has no operator for something that it holds.
    """
    own = copy.deepcopy(network).eval().requires_grad_(False).to(device="cpu", dtype=torch.float32)
    example = torch.zeros((1, size, size, 3), dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.jit deprecation notices from inside the converter
            return ov.convert_model(own, example_input=example, input=[-1, size, size, 3])
    except Exception as error:
        raise refusal(error) from error


def read_graph(path: Path) -> ov.Model:
    """A graph from a file.

    Raises:
        ModelError: it can't be read.
    """
    try:
        return ov.Core().read_model(path)
    except Exception as error:
        raise refusal(error) from error


def write_graph(model: ov.Model, path: Path) -> None:
    """A graph as a file (.xml) and its numbers as another beside it (.bin), in the precision that they have."""
    ov.save_model(model, path, compress_to_fp16=False)


def refusal(error: Exception) -> ModelError:
    """OpenVINO's errors share no base class of their own."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
    return ModelError(f"OpenVINO can't run this network ({reason}); use --engine torch")
