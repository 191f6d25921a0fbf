"""OpenVINO on the CPU: float32, or bfloat16 where the processor has it."""

from __future__ import annotations

import copy
import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from torch import nn

from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError
from foresift.core.protocols import Outputs

# OpenVINO's converter reports every conversion to its makers unless this module is absent,
# and forks a process to do so. Nothing leaves a user's machine without being asked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402


class OpenVinoEngine:
    """A network compiled for one batch size; other sizes are refused by the graph."""

    name = "openvino"
    version = version("openvino")

    def __init__(self, network: nn.Module, *, precision: str, size: int, batch: int) -> None:
        self.precision = precision
        core = ov.Core()
        model = _convert(network, size=size)
        model.reshape({0: [batch, size, size, 3]})
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",  # one batch at a time over all cores: the pipeline overlaps the rest
        }
        try:
            self._request = core.compile_model(model, "CPU", hints).create_infer_request()
        except Exception as error:
            raise _refusal(error) from error

    def __call__(self, batch: Pixels) -> Outputs:
        """Logits and embeddings of a (b, s, s, 3) uint8 batch."""
        self._request.infer([batch], share_inputs=True)
        first, second = (self._request.get_output_tensor(i).data for i in (0, 1))
        return Outputs(np.array(first, dtype=np.float32), np.array(second, dtype=np.float32))


def bf16_is_native() -> bool:
    """Whether this processor computes in bfloat16 rather than pretending to."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _convert(network: nn.Module, *, size: int) -> ov.Model:
    own = copy.deepcopy(network).eval().requires_grad_(False).to(device="cpu", dtype=torch.float32)
    example = torch.zeros((1, size, size, 3), dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.jit deprecation notices from inside the converter
            return ov.convert_model(own, example_input=example, input=[-1, size, size, 3])
    except Exception as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> ModelError:
    """OpenVINO's errors share no base class of their own."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
    return ModelError(f"OpenVINO can't run this network ({reason}); use --engine torch")
