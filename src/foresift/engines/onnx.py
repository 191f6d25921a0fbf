"""ONNX Runtime on the CPU: what a device runs. Needs onnxruntime and NumPy, no torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort

from foresift.core.arrays import Pixels
from foresift.core.digests import digest_bytes
from foresift.core.errors import ModelError
from foresift.core.protocols import Outputs

_ERRORS_ONLY = 3


class OnnxEngine:
    """A graph that takes uint8 pixels of any size: resize and normalisation are parts of it."""

    name = "onnx"
    precision = "f32"
    version = ort.__version__

    def __init__(self, path: Path, *, digest: str, threads: int = 0) -> None:
        """Load a graph.

        Args:
            digest: of the file, by its record.
            threads: of one call; 0 = one a core.
        Raises:
            ModelError: no such file, another than its record names, or no graph of ours.
        """
        if not path.is_file():
            raise ModelError(f"{path}: no such file; copy the exported folder as a whole")
        blob = path.read_bytes()
        if digest_bytes(blob) != digest:
            raise ModelError(f"{path} is not the file that its record names (changed or torn since); copy it again")
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.session = ort.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            line = (str(error).splitlines() or [type(error).__name__])[0][:160]
            raise ModelError(f"{path}: ONNX Runtime can't load it: {line}") from error

    def __call__(self, batch: Pixels) -> Outputs:
        """Logits and embeddings of (b, h, w, 3) uint8 RGB pixels of any size."""
        logits, embeddings = self.session.run(["logits", "embeddings"], {"pixels": batch})
        return Outputs(np.asarray(logits), np.asarray(embeddings))
