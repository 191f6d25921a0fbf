"""A model of MLServer: the ONNX file that its settings name. Run in an environment of its own (``make mlserver``)."""

from __future__ import annotations

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """Answers with every output of a graph."""

    async def load(self) -> bool:
        """Open the file."""
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Outputs in the order of the graph."""
        (given,) = payload.inputs
        pixels = NumpyCodec.decode_input(given).astype(np.uint8)
        names = [one.name for one in self._session.get_outputs()]
        values = self._session.run(names, {given.name: pixels})
        outputs = [NumpyCodec.encode_output(name, value) for name, value in zip(names, values, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
