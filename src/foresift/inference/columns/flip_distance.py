"""How little an image must change for the prediction to flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least, check_within
from foresift.inference.columns.base import ColumnPass, PixelsToValues, Subject, column_pass

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_LEVEL = 255


@column_pass
@dataclass(frozen=True, kw_only=True)
class FlipDistance(ColumnPass):
    """L2 norm of DeepFool's perturbation, in pixel levels (0 .. 255) over all pixels and channels.

    Each step goes to the nearest boundary of the network linearised at the perturbed image:
    r = min_k (|f_k - f_y| / ||w_k - w_y||^2) (w_k - w_y). An image stops as soon as its prediction
    flips; one that does not within ``steps`` keeps the norm of what was found so far. Where the network is
    flat (no gradient at all, nothing to follow) the distance is the diameter of pixel space. Pixels may
    leave 0 .. 255, as in the paper. For an affine network one step is exact: min_k |f_k - f_y| / ||w_k - w_y||.

    Cost: at most (competitors + 1) backward passes a step; memory that of one of them and of
    competitors + 1 gradients of a batch of images.
    Source: Moosavi-Dezfooli, Fawzi, Frossard 2016, algorithm 2; as an acquisition function Ducoffe and
    Precioso 2018. Deviation: the reported norm leaves out the overshoot, which only carries the image
    across the boundary, and only the ``competitors`` classes of largest logits are looked at.
    """

    name: ClassVar[str] = "flip-distance"
    cite: ClassVar[str] = "Moosavi-Dezfooli et al. 2016, DeepFool; Ducoffe and Precioso 2018"

    steps: int = 20
    competitors: int = 9
    """Classes beside the predicted one."""
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, competitors=self.competitors)
        check_within(0, 1, overshoot=self.overshoot)

    def make(self, subject: Subject) -> PixelsToValues:
        """The distances of a batch, (b, 1).

        Raises:
            UsageError: the network has one class.
        """
        import torch

        network = subject.network
        device = next(network.parameters()).device

        def distances(batch: Pixels) -> npt.NDArray[np.float32]:
            pixels = torch.from_numpy(batch).to(device, torch.float32)
            found: npt.NDArray[np.float32] = self._distances(network, pixels).cpu().numpy()
            return found[:, None]

        return distances

    def _distances(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """(b,) norms of the sums of each image's steps until its prediction flips."""
        import torch

        path = torch.zeros_like(pixels)
        flat = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        rows = torch.arange(len(pixels), device=pixels.device)
        predicted: Tensor | None = None
        for _ in range(self.steps):
            moved = pixels[rows] + (1 + self.overshoot) * path[rows]
            slope = _linearise(network, moved, predicted, self.competitors)
            step, lost = _nearest_boundary(slope)
            path[rows[slope.stays]] += step
            flat[rows[slope.stays]] |= lost
            rows, predicted = rows[slope.stays][~lost], slope.predicted[slope.stays][~lost]
            if not len(rows):
                break
        diameter = MAX_LEVEL * pixels[0].numel() ** 0.5
        return torch.where(flat, diameter, path.flatten(1).norm(dim=1))


class _Slope(NamedTuple):
    """A network linearised at b images."""

    predicted: Tensor
    """(b,) the class of the unchanged images."""
    stays: Tensor
    """(b,) whether it still is the class."""
    gaps: Tensor
    """(m, b) how far the logits of its competitors lie below its own, 0 or more."""
    normals: Tensor
    """(m, b, s, s, 3) gradients of the competitors' logits minus that of its own."""


def _linearise(network: nn.Module, images: Tensor, predicted: Tensor | None, competitors: int) -> _Slope:
    import torch

    leaf = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = network(leaf)[0]
        classes = _classes(logits.detach(), predicted, competitors)
        own, *others = logits.gather(1, classes).T
        gradients = [torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0] for value in (own, *others)]
    gaps = torch.stack([(own - other).detach().clamp(min=0) for other in others])
    normals = torch.stack(gradients[1:]) - gradients[0]
    return _Slope(classes[:, 0], logits.argmax(1) == classes[:, 0], gaps, normals)


def _classes(logits: Tensor, predicted: Tensor | None, competitors: int) -> Tensor:
    """(b, 1 + m) the predicted class of the unchanged image, then the m others of largest logits."""
    if logits.shape[1] < 2:
        raise UsageError("flip-distance needs a model of at least 2 classes: with one, no prediction ever flips")
    if predicted is not None:
        logits = logits.scatter(1, predicted[:, None], float("inf"))
    return logits.topk(min(1 + competitors, logits.shape[1]), dim=1).indices


def _nearest_boundary(slope: _Slope) -> tuple[Tensor, Tensor]:
    """Of the images that keep their class: (., s, s, 3) the shortest step, and (.,) which have no slope to follow."""
    import torch

    gaps, normals = slope.gaps[:, slope.stays], slope.normals[:, slope.stays]
    lengths = normals.flatten(2).norm(dim=2)
    far = torch.where(lengths > 0, gaps / lengths, torch.inf)
    nearest = far.argmin(0)
    at = torch.arange(len(nearest), device=nearest.device)
    lost = far[nearest, at].isinf()
    share = torch.where(lost, 0, far[nearest, at] / lengths[nearest, at].clamp(min=1e-30))
    return share[:, None, None, None] * normals[nearest, at], lost
