"""Dropout before the last layer: one spelling, the same weights, off outside of training."""

from __future__ import annotations

import pytest
import torch

from foresift.core.errors import UsageError
from foresift.inference.members import dropout_layers
from foresift.models import build, canonical


@pytest.mark.parametrize(
    ("given", "spelled", "layer"),
    [
        ("cnn:4,dropout=0.30", "cnn:4,dropout=0.3", "head.drop"),
        ("cnn:dropout=0.5", "cnn:8,dropout=0.5", "head.drop"),
        ("resnet8:dropout=.1", "resnet8:dropout=0.1", "head.drop"),
        ("timm:resnet18:dropout=0.5", "resnet18:dropout=0.5", "fc.drop"),
        ("mlp:4,dropout=0.2+mlp:6", "mlp:4,dropout=0.2+mlp:6", "head.2.drop"),
    ],
)
def test_dropout_has_one_spelling_and_sits_before_the_last_layer(given: str, spelled: str, layer: str) -> None:
    assert canonical(given) == canonical(spelled) == spelled
    assert list(dropout_layers(build(given, classes=3, image_size=32))) == [layer]


def test_no_dropout_is_not_spelled() -> None:
    assert canonical("cnn:4,dropout=0") == "cnn:4"


def test_weights_and_logits_outside_of_training_are_those_without_dropout() -> None:
    plain, dropped = (build(name, classes=3, image_size=8, seed=1) for name in ("cnn:4", "cnn:4,dropout=0.5"))
    assert list(plain.state_dict()) == list(dropped.state_dict())
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(plain.eval()(images), dropped.eval()(images))
    assert not torch.equal(dropped.train()(images), dropped(images))


@pytest.mark.parametrize("p", ["1", "-0.1", "nan", "half", ""])
def test_a_share_that_is_none_is_refused(p: str) -> None:
    with pytest.raises(UsageError, match="dropout is the share of units to drop"):
        canonical(f"cnn:4,dropout={p}")
