"""DeepFool distances against the closed form of affine classifiers and a slow loop over images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from foresift.core.errors import UsageError
from foresift.inference.columns import Subject
from foresift.inference.columns.flip_distance import FlipDistance

SIDE = 4
WIDTH = SIDE * SIDE * 3


class Whole(nn.Module):
    """A network over flat pixels as a pass sees it: logits and embeddings of (b, s, s, 3) pixels."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        flat = pixels.to(torch.float32).flatten(1)
        return self.body(flat), flat


def subject(body: nn.Module) -> Subject:
    return Subject(network=Whole(body).eval().requires_grad_(False))


def affine(classes: int, *, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(WIDTH, classes)


def pixels(n: int, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size=(n, SIDE, SIDE, 3), dtype=np.uint8)


def distances(body: nn.Module, images: npt.NDArray[np.uint8], **parameters: float) -> npt.NDArray[np.float32]:
    rows = FlipDistance(**parameters).make(subject(body))(images)  # type: ignore[arg-type]
    assert rows.shape == (len(images), 1)
    assert rows.dtype == np.float32
    return rows[:, 0]


def exact(layer: nn.Linear, images: npt.NDArray[np.uint8]) -> list[float]:
    """min_k |f_k - f_y| / ||w_k - w_y|| of each image, in float64."""
    weight, bias = layer.weight.double().detach().numpy(), layer.bias.double().detach().numpy()
    found = []
    for image in images:
        logits = weight @ image.reshape(-1).astype(np.float64) + bias
        y = int(logits.argmax())
        others = [k for k in range(len(logits)) if k != y]
        found.append(min((logits[y] - logits[k]) / np.linalg.norm(weight[k] - weight[y]) for k in others))
    return found


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_one_step_is_exact_for_an_affine_classifier(classes: int) -> None:
    layer, images = affine(classes), pixels(9)
    np.testing.assert_allclose(distances(layer, images, steps=1), exact(layer, images), rtol=1e-4)
    np.testing.assert_allclose(distances(layer, images, steps=30), exact(layer, images), rtol=1e-4)


def test_a_few_competitors_never_give_a_smaller_distance() -> None:
    layer, images = affine(8), pixels(20)
    few = distances(layer, images, competitors=1)
    assert (few >= distances(layer, images, competitors=7) * (1 - 1e-4)).all()
    wide = affine(3)
    with torch.no_grad():  # the second of three classes is the nearest in logits, the third in distance
        wide.weight.zero_()
        wide.weight[1, 0], wide.weight[2, 1] = 0.01, 10
        wide.bias[:] = torch.tensor([3.0, 2.0, 1.0])
    black = np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)
    assert distances(wide, black, competitors=1)[0] == pytest.approx(100)
    assert distances(wide, black, competitors=2)[0] == pytest.approx(0.2)


def slow(body: nn.Module, image: npt.NDArray[np.uint8], *, steps: int, overshoot: float) -> float:
    """Algorithm 2 of the paper, one image and one class at a time, in float64."""
    body = body.double()
    start = torch.from_numpy(image).double().flatten()
    path = torch.zeros_like(start)
    first = int(body(start[None]).argmax())
    for _ in range(steps):
        x = (start + (1 + overshoot) * path).requires_grad_(True)
        logits = body(x[None])[0]
        if int(logits.argmax()) != first:
            break
        slopes = [torch.autograd.grad(value, x, retain_graph=True)[0] for value in logits]
        candidates = []
        for k in range(len(logits)):
            if k != first:
                w = slopes[k] - slopes[first]
                gap = abs((logits[k] - logits[first]).item())
                candidates.append((gap / float(w.norm()), gap / float(w.norm()) ** 2 * w))
        path = path + min(candidates, key=lambda pair: pair[0])[1]
    body.float()
    return float(path.norm())


def test_a_batch_gives_what_a_loop_over_images_gives() -> None:
    torch.manual_seed(3)
    body = nn.Sequential(nn.Linear(WIDTH, 12), nn.Tanh(), nn.Linear(12, 4))
    for layer in (body[0], body[2]):
        nn.init.normal_(layer.weight, std=0.01 if layer is body[0] else 1)
    images = pixels(8)
    expected = [slow(body, image, steps=20, overshoot=0.02) for image in images]
    np.testing.assert_allclose(distances(body, images), expected, rtol=2e-3)


class Constant(nn.Module):
    def forward(self, flat: Tensor) -> Tensor:
        return torch.stack([0 * flat.sum(1) + 2, 0 * flat.sum(1) + 1], dim=1)


class Holder(nn.Module):
    """A constant network that has a weight, as every trained one does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.body = Constant()

    def forward(self, flat: Tensor) -> Tensor:
        logits: Tensor = self.body(flat)
        return logits


def test_where_nothing_changes_the_prediction_the_distance_is_the_diameter() -> None:
    found = distances(Holder(), pixels(3))
    np.testing.assert_allclose(found, 255 * WIDTH**0.5, rtol=1e-5)


def test_on_the_boundary_the_distance_is_zero() -> None:
    layer = affine(2)
    with torch.no_grad():
        layer.weight[1] = layer.weight[0] + 1
        layer.bias.zero_()
    black = np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)
    assert distances(layer, black)[0] == 0


def test_one_class_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 classes"):
        distances(affine(1), pixels(2))


@pytest.mark.parametrize("bad", [{"steps": 0}, {"competitors": 0}, {"overshoot": 0.0}, {"overshoot": 2.0}])
def test_parameters_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        FlipDistance(**bad)  # type: ignore[arg-type]


def test_weights_are_left_as_they_are() -> None:
    layer = affine(3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    distances(layer, pixels(4))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    assert all(parameter.grad is None for parameter in layer.parameters())
