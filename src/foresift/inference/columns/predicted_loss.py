"""The loss that a module of the generation's own predicts for an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError
from foresift.inference.columns.base import ColumnPass, PixelsToValues, Subject, column_pass


@column_pass
@dataclass(frozen=True, kw_only=True)
class PredictedLoss(ColumnPass):
    """The output of the loss-prediction module that was trained with the network; only its order means something.

    Cost: one forward pass.
    Source: Yoo and Kweon 2019, *Learning Loss for Active Learning*.
    """

    name: ClassVar[str] = "predicted-loss"
    cite: ClassVar[str] = "Yoo and Kweon 2019, Learning Loss for Active Learning"

    def make(self, subject: Subject) -> PixelsToValues:
        """The predicted losses of a batch, (b, 1).

        Raises:
            ModelError: the generation was trained without the module.
        """
        import torch

        if subject.predict_loss is None:
            raise ModelError(
                "this generation has no loss-prediction module; train one that has: "
                "foresift train DATA --model NAME --loss-prediction --out DIR"
            )
        predict, device = subject.predict_loss, next(subject.network.parameters()).device

        def losses(batch: Pixels) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                found: npt.NDArray[np.float32] = predict(torch.from_numpy(batch).to(device)).float().cpu().numpy()
            return found[:, None]

        return losses
