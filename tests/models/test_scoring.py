import pytest
import torch

from foresift.core.generations import Transform
from foresift.models import ScoringModule, build

TRANSFORM = Transform(size=8, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))


def pixels(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_normalised_by_the_definition(dtype: torch.dtype) -> None:
    seen = []
    network = build("linear", classes=3, image_size=8).eval()
    scoring = ScoringModule(network, TRANSFORM).to(dtype)
    scoring.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    given = pixels()
    scoring(given)
    for channel in range(3):
        expected = (given[..., channel].double() / 255 - TRANSFORM.mean[channel]) / TRANSFORM.std[channel]
        tolerance = {"rtol": 0, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2**-8, "atol": 1e-6}
        torch.testing.assert_close(seen[0][:, channel].double(), expected, **tolerance)


@pytest.mark.parametrize("name", ["resnet8", "cnn:4", "mlp:9"])
def test_bf16_weights_give_f32_outputs_close_to_f32_ones(name: str) -> None:
    exact = ScoringModule(build(name, classes=3, image_size=8, seed=0), TRANSFORM)
    rough = ScoringModule(build(name, classes=3, image_size=8, seed=0), TRANSFORM).to(torch.bfloat16)
    with torch.inference_mode():
        (logits, embeddings), (logits16, embeddings16) = exact(pixels()), rough(pixels())
    assert logits16.dtype == embeddings16.dtype == torch.float32
    assert rough.precision == torch.bfloat16
    torch.testing.assert_close(logits16, logits, rtol=0.05, atol=0.05)
    torch.testing.assert_close(embeddings16, embeddings, rtol=0.05, atol=0.05)


def test_input_of_the_network_is_channels_last() -> None:
    seen = []
    scoring = ScoringModule(build("cnn:4", classes=3, image_size=8), TRANSFORM)
    scoring.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    scoring(pixels())
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*", "ignore::DeprecationWarning")
def test_traces() -> None:
    scoring = ScoringModule(build("cnn:4", classes=3, image_size=8), TRANSFORM)
    with torch.inference_mode():
        traced = torch.jit.trace(scoring, pixels(2))
        for given, expected in zip(traced(pixels(5)), scoring(pixels(5)), strict=True):
            torch.testing.assert_close(given, expected)


def test_width_is_known_without_a_pass() -> None:
    assert ScoringModule(build("resnet8", classes=3, image_size=8), TRANSFORM).embedding_width == 64
