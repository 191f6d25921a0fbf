"""A variational autoencoder and a discriminator that learn from the images what is labeled (VAAL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least
from foresift.training.columns.base import PIXELS, FitInputs, FittedPass, check_both_parts, fitted_pass

if TYPE_CHECKING:
    from torch import Tensor, nn

WIDTHS = (32, 64, 128)
"""Channels of the encoder's convolutions, each of which halves the side."""
HIDDEN = 512
"""Width of the discriminator's layers, as in the paper."""
LR = 5e-4


@fitted_pass
@dataclass(frozen=True, kw_only=True)
class UnlabeledProbability(FittedPass):
    """1 - D(mu(x)), (n,): how sure the discriminator is that an image is not labeled yet.

    The autoencoder reconstructs all images and tries to make labeled and unlabeled ones look alike in
    its latent space; the discriminator tries to tell them apart there. Both see ``batch`` labeled and
    ``batch`` unlabeled images a step.

    Cost: ``steps`` times two passes forward and back over 2 ``batch`` images: minutes to hours on a CPU;
    3 side^2 bytes of memory an image.
    Source: Sinha, Ebrahimi, Darrell 2019, *Variational Adversarial Active Learning*, eq. 1 to 5.
    Deviations: three convolutions and ``side`` pixels instead of four and 64; a fixed number of steps
    instead of the weights that were best on validation data.
    """

    name: ClassVar[str] = "unlabeled-probability"
    cite: ClassVar[str] = "Sinha et al. 2019, Variational Adversarial Active Learning"
    needs: ClassVar[tuple[str, ...]] = (PIXELS,)

    steps: int = 1000
    batch: int = 64
    latent: int = 32
    beta: float = 1.0
    side: int = 32
    fit_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, batch=self.batch, latent=self.latent)
        check_at_least(0, beta=self.beta, fit_seed=self.fit_seed)
        if self.side < 8 or self.side % 8:
            raise UsageError(f"side must be a multiple of 8 pixels, got {self.side}")

    def fit(self, inputs: FitInputs) -> npt.NDArray[np.float32]:
        """(n,) probabilities."""
        import torch

        check_both_parts(inputs.labeled, what="a discriminator")
        pixels = torch.from_numpy(inputs.images(self.side))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fit_seed)
            parts = _parts(self.latent, self.side).to(device)
            self._play(parts, pixels, inputs.labeled)
        return _probabilities(parts.eval(), pixels)

    def _play(self, parts: nn.ModuleDict, pixels: Tensor, labeled: npt.NDArray[np.bool_]) -> None:
        """Both sides in turns."""
        import torch
        from torch.nn import functional

        rng = np.random.default_rng(self.fit_seed)
        sides = [np.flatnonzero(labeled), np.flatnonzero(~labeled)]
        coder = torch.optim.Adam([*parts["encoder"].parameters(), *parts["decoder"].parameters()], lr=LR)
        judge = torch.optim.Adam(parts["judge"].parameters(), lr=LR)
        truth = torch.cat([torch.ones(self.batch), torch.zeros(self.batch)]).to(_device(parts))
        for _ in range(self.steps):
            rows = np.concatenate([rng.choice(side, self.batch) for side in sides])
            images = _images(pixels[torch.from_numpy(rows)], parts)
            mean, spread = parts["encoder"](images).chunk(2, dim=1)
            drawn = mean + torch.randn_like(mean) * (0.5 * spread).exp()
            loss = functional.mse_loss(parts["decoder"](drawn), images)
            loss = loss - 0.5 * self.beta * (1 + spread - mean.square() - spread.exp()).mean()
            fooled = functional.binary_cross_entropy_with_logits(parts["judge"](mean)[:, 0], torch.ones_like(truth))
            _step(coder, loss + fooled)
            verdict = parts["judge"](mean.detach())[:, 0]
            _step(judge, functional.binary_cross_entropy_with_logits(verdict, truth))


def _parts(latent: int, side: int) -> nn.ModuleDict:
    from torch import nn

    area = (side // 8) ** 2
    first, second, third = WIDTHS
    encoder = nn.Sequential(
        *_halve(3, first),
        *_halve(first, second),
        *_halve(second, third),
        nn.Flatten(),
        nn.Linear(third * area, 2 * latent),
    )
    decoder = nn.Sequential(
        nn.Linear(latent, third * area),
        nn.Unflatten(1, (third, side // 8, side // 8)),
        *_double(third, second),
        *_double(second, first),
        nn.ConvTranspose2d(first, 3, 4, 2, 1),
    )
    judge = nn.Sequential(
        nn.Linear(latent, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder, "judge": judge})


def _halve(inputs: int, outputs: int) -> list[nn.Module]:
    from torch import nn

    return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _double(inputs: int, outputs: int) -> list[nn.Module]:
    from torch import nn

    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _step(optimizer: Any, loss: Tensor) -> None:
    import torch

    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def _probabilities(parts: nn.ModuleDict, pixels: Tensor, *, batch: int = 256) -> npt.NDArray[np.float32]:
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            mean = parts["encoder"](_images(pixels[start : start + batch], parts)).chunk(2, dim=1)[0]
            found.append(torch.sigmoid(-parts["judge"](mean)[:, 0]).cpu().numpy())
    return np.concatenate(found)


def _images(pixels: Tensor, parts: nn.ModuleDict) -> Tensor:
    """(b, 3, s, s) within [-1, 1]."""
    return pixels.to(_device(parts)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _device(parts: nn.ModuleDict) -> Any:
    return next(parts.parameters()).device
