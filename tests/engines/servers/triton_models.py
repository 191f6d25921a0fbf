"""Triton with the ONNX files of a folder as its models: ``python triton_models.py FOLDER HTTP GRPC METRICS``.

Run in an environment of its own (``make triton``). A model ``nan`` answers as the first one does, with numbers that
are none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def serve(folder: Path, http: int, grpc: int, metrics: int) -> None:
    """Serve until the process is ended."""
    with Triton(config=TritonConfig(http_port=http, grpc_port=grpc, metrics_port=metrics)) as triton:
        files = sorted(folder.glob("*.onnx"))
        for path in files:
            bind(triton, path.stem, path, np.float32(1))
        bind(triton, "nan", files[0], np.float32(np.nan))
        triton.serve()


def bind(triton: Triton, name: str, path: Path, factor: np.float32) -> None:
    """One graph as one model."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    outputs = session.get_outputs()

    @batch
    def infer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        values = session.run(None, {taken.name: inputs[taken.name]})
        return {one.name: value * factor for one, value in zip(outputs, values, strict=True)}

    triton.bind(
        model_name=name,
        infer_func=infer,
        inputs=[Tensor(name=taken.name, dtype=np.uint8, shape=tuple(taken.shape[1:]))],
        outputs=[Tensor(name=one.name, dtype=np.float32, shape=tuple(one.shape[1:])) for one in outputs],
        config=ModelConfig(max_batch_size=128),
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
