from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from foresift.core.errors import ModelError
from foresift.models import build, embedding_width, head_logits, head_of, replace_head, with_embedding
from foresift.models.embedding import head_path, head_paths, logits_width, require_linear_head


class Foreign(nn.Module):
    """A user's module: another linear layer first, and something after the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 12), nn.ReLU())
        self.out = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(x)) * 2


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "resnet8": (lambda: build("resnet8", classes=4, image_size=8), 8, 64),
    "mlp:5": (lambda: build("mlp:5", classes=4, image_size=8), 8, 5),
    "linear": (lambda: build("linear", classes=4, image_size=8), 8, 192),
    "cnn:3": (lambda: build("cnn:3", classes=4, image_size=8), 8, 12),
    "resnet10": (lambda: build("resnet10", classes=4, image_size=8), 8, 512),
    "resnet18": (lambda: build("resnet18", classes=4, image_size=64), 64, 512),
    "resnet18+mlp:6": (lambda: build("resnet18+mlp:6", classes=4, image_size=64), 64, 512),
    "mobilenetv3": (lambda: build("mobilenetv3_small_100", classes=4, image_size=64), 64, 1024),
    "vit": (lambda: build("vit_tiny_patch16_224", classes=4, image_size=32), 32, 192),
    "efficientnet": (lambda: build("efficientnet_b0", classes=4, image_size=64), 64, 1280),
    "convnext": (lambda: build("convnext_atto", classes=4, image_size=64), 64, 320),
    "densenet": (lambda: build("densenet121", classes=4, image_size=64), 64, 1024),
    "swin": (lambda: build("swin_tiny_patch4_window7_224", classes=4, image_size=64), 64, 768),
    "foreign": (Foreign, 8, 12),
}
COMPOSITE: dict[str, tuple[str, int, int]] = {
    "mean of two tokens": ("deit_tiny_distilled_patch16_224", 32, 192),
    "two normalised layers": ("levit_128s", 64, 384),
    "1x1 convolution": ("dla46x_c", 64, 256),
    "1x1 convolution, BiT": ("resnetv2_18", 64, 512),
    "one linear layer and more": ("volo_d1_224", 64, 384),
    "timm's own MLP": ("caformer_s18", 64, 512),
}
"""Heads that are not one linear layer."""


def network_of(name: str) -> nn.Module:
    if name in NETWORKS:
        return NETWORKS[name][0]()
    architecture, size, _ = COMPOSITE[name]
    return build(architecture, classes=4, image_size=size)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_networks_own_and_embeddings_what_its_head_sees(name: str) -> None:
    make, size, width = NETWORKS[name]
    network = make().eval()
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        logits, embeddings = with_embedding(network)(x)
        assert torch.equal(logits, network(x))
        assert embeddings.shape == (2, width) == (2, embedding_width(network))
        if name != "foreign":  # which doubles its logits afterwards
            torch.testing.assert_close(head_of(network)(embeddings), logits)


@pytest.mark.parametrize("name", COMPOSITE)
def test_heads_of_other_kinds_give_logits_and_embeddings_in_one_pass(name: str) -> None:
    _, size, width = COMPOSITE[name]
    network = network_of(name).eval()
    bodies: list[int] = []
    first = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected = network(x)
        first.register_forward_pre_hook(lambda *_: bodies.append(1))
        logits, embeddings = with_embedding(network)(x)
    assert len(bodies) == 1
    torch.testing.assert_close(logits, expected)
    assert logits.shape == (2, 4) == (2, logits_width(network))
    assert embeddings.shape == (2, width) == (2, embedding_width(network))
    assert not torch.equal(embeddings[0], embeddings[1])
    with pytest.raises(ModelError, match=r"train the whole network \(--train all"):
        require_linear_head(network, size=size)


def test_a_convolution_sees_its_embedding_and_a_distilled_head_the_mean_of_its_tokens() -> None:
    _, size, _ = COMPOSITE["1x1 convolution"]
    network = network_of("1x1 convolution").eval()
    with torch.inference_mode():
        logits, embeddings = with_embedding(network)(torch.randn(2, 3, size, size))
        torch.testing.assert_close(network.get_classifier()(embeddings[..., None, None]).flatten(1), logits)
    _, size, _ = COMPOSITE["mean of two tokens"]
    network = network_of("mean of two tokens").eval()
    seen: list[torch.Tensor] = []
    for part in network.get_classifier():
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        _, embeddings = with_embedding(network)(torch.randn(2, 3, size, size))
    torch.testing.assert_close((seen[0] + seen[1]) / 2, embeddings)


@pytest.mark.parametrize("name", COMPOSITE)
def test_no_part_of_the_head_counts_as_backbone(name: str) -> None:
    architecture, size, _ = COMPOSITE[name]
    four, seven = (build(architecture, classes=classes, image_size=size) for classes in (4, 7))
    other = seven.state_dict()
    wide = {key for key, value in four.state_dict().items() if value.shape != other[key].shape}
    inside = {key for key in wide if key.startswith(tuple(f"{path}." for path in head_paths(four)))}
    assert inside
    assert wide - inside <= {"aux_head.weight", "aux_head.bias"}  # VOLO's second look at every token


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "mlp:5"])
def test_a_linear_head_may_be_trained_alone_and_the_network_is_left_as_it_was(name: str) -> None:
    make, size, _ = NETWORKS[name]
    network = make().train()
    require_linear_head(network, size=size)
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize(
    "name", ["resnet8", "resnet18", "mobilenetv3", "foreign", "1x1 convolution", "1x1 convolution, BiT"]
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*", "ignore::DeprecationWarning")
def test_traces_and_exports_for_other_batch_contents(name: str) -> None:
    model, size = with_embedding(network_of(name).eval()), (NETWORKS | COMPOSITE)[name][1]
    x, other = torch.randn(2, 2, 3, size, size)
    with torch.inference_mode():
        expected = model(other)
        traced = torch.jit.trace(model, x)(other)
        exported = torch.export.export(model, (x,)).module()(other)
    for given in (traced, exported):
        torch.testing.assert_close(given[0], expected[0])
        torch.testing.assert_close(given[1], expected[1])


def test_nothing_stays_behind_on_a_users_module() -> None:
    network = Foreign().eval()
    with_embedding(network)(torch.zeros(1, 3, 8, 8))
    assert not network.out._forward_pre_hooks


def test_no_linear_layer_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match=r"no nn\.Linear inside"):
        with_embedding(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def test_a_head_over_tokens_is_a_clear_error() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(x[:, 0]).mean(1)

    with pytest.raises(ModelError, match=r"expected \(batch, width\)"):
        with_embedding(Tokens())(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "vit", "foreign"])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_new_head_keeps_the_embeddings(name: str, kind: str) -> None:
    make, size, width = NETWORKS[name]
    network = make().eval()
    linear = nn.Linear(width, 9)
    head = linear if kind == "linear" else nn.Sequential(nn.Linear(width, 7), nn.ReLU(), nn.Linear(7, 9))
    changed = replace_head(network, head)
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        (old, before), (new, after) = with_embedding(network)(x), with_embedding(changed)(x)
    assert torch.equal(before, after)
    assert (old.shape[1], new.shape[1]) == (4, 9)
    assert not changed.training
    assert head_path(replace_head(changed, linear)) == head_path(network)


def test_head_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match=r"takes 3 numbers.*have 64"):
        replace_head(build("resnet8", classes=4, image_size=8), nn.Linear(3, 4))


@pytest.mark.parametrize("name", ["resnet8", "resnet18+mlp:6"])
def test_logits_from_stored_embeddings(name: str) -> None:
    make, size, _ = NETWORKS[name]
    network = make().eval()
    with torch.inference_mode():
        logits, embeddings = with_embedding(network)(torch.randn(5, 3, size, size))
    again = head_logits(network, embeddings.numpy())
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, logits.numpy(), rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match=r"shape \(n,"):
        head_logits(network, np.zeros((2, 3), np.float32))


def test_logits_from_a_read_only_array() -> None:
    embeddings = np.zeros((2, 64), np.float32)
    embeddings.flags.writeable = False
    assert head_logits(build("resnet8", classes=4, image_size=8), embeddings).shape == (2, 4)
