"""The reference engine: torch, on a GPU where there is one."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from foresift.core.arrays import Pixels
from foresift.core.protocols import Outputs


class TorchEngine:
    """Runs a network in ``channels_last`` memory order, in float32 or bfloat16."""

    name = "torch"
    version = torch.__version__.split("+")[0]

    def __init__(self, network: nn.Module, *, precision: str) -> None:
        self.precision = precision
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # The caller's network keeps its precision and mode: candidates are compared on the same weights.
        own = copy.deepcopy(network).eval().requires_grad_(False)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        self._network = own.to(memory_format=torch.channels_last).to(self._device, kind)

    def __call__(self, batch: Pixels) -> Outputs:
        """Logits and embeddings of a (b, s, s, 3) uint8 batch."""
        # The reference must not round to TF32, which a GPU would do in convolutions by default.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=self.precision != "f32"):
            logits, embeddings = self._network(torch.from_numpy(batch).to(self._device))
        return Outputs(_float32(logits), _float32(embeddings))


def _float32(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = tensor.float().cpu().numpy()
    return array
