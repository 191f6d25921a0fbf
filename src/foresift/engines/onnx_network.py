"""ONNX Runtime as an engine: a network written as a graph for one batch size, and loaded again."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import nn

from foresift.core.digests import digest_bytes
from foresift.engines.onnx import OnnxEngine
from foresift.engines.onnx_export import export_scoring
from foresift.engines.threads import threads


def onnx_network(network: nn.Module, *, size: int, batch: int) -> OnnxEngine:
    """An engine on the CPU for one network and one batch size; writing the graph takes seconds.

    Args:
        network: (b, size, size, 3) uint8 pixels to logits and embeddings, normalisation included.
    Raises:
        ModelError: ONNX has no operator for something that the network holds.
    """
    with tempfile.TemporaryDirectory(prefix="foresift-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        export_scoring(network, size=size, batch=batch, path=path)
        return OnnxEngine(path, digest=digest_bytes(path.read_bytes()), threads=threads())
