"""The presets of the paper on made-up images in the layouts of its sets: every step runs, with sizes cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from foresift.core.errors import DataError, UsageError
from foresift.studies.surrogates.bench_of import bench_of
from foresift.studies.surrogates.dense import DenseBench
from foresift.studies.surrogates.estimate import estimates
from foresift.studies.surrogates.presets import PRESETS
from foresift.studies.surrogates.protocol import AUTO, Protocol
from foresift.studies.surrogates.study import run
from paper_sets import ade20k, cityscapes, imagenet


def encoders(data: Path, protocol: Protocol) -> None:
    """Weights in place of timm's published ones."""
    (data / "encoders").mkdir()
    for name in {model.partition(":")[2] for model in protocol.models if model not in TINY.values()}:
        torch.manual_seed(0)
        save_file(timm.create_model(name).state_dict(), data / "encoders" / f"{name}.safetensors")


MADE: dict[str, Callable[[Path], None]] = {
    "paper-cityscapes": cityscapes,
    "paper-ade20k": ade20k,
    "paper-imagenet": imagenet,
}


TINY = {"pixels": "cnn:4", "segmentation": "tiny-unet:4"}


def cut(name: str) -> Protocol:
    """The preset itself, with one of its models for which a tiny one chooses, fewer cycles and epochs, small images."""
    (whole,) = PRESETS[name]
    tiny = TINY[whole.learner]
    return replace(
        whole,
        models=(whole.models[0], tiny),
        surrogates=(tiny,),
        cycles=2,
        budget=6,
        seeds=1,
        side=32 if whole.side else 0,
        backbone_epochs=1,
        recipe=replace(whole.recipe, epochs=1),
    )


@pytest.mark.parametrize("name", MADE)
def test_every_step_of_a_preset_runs(name: str, tmp_path: Path) -> None:
    MADE[name](tmp_path)
    protocol = cut(name)
    if protocol.recipe.pretrained:
        encoders(tmp_path, protocol)
    (table,) = run(tmp_path / "out", [protocol], name=name, data=tmp_path).tables
    assert table.pool == {"paper-imagenet": 24}.get(name, 16)
    (one,) = table.seeds
    assert not one.refused
    assert {strategy for strategy, pairs in one.inherited.items() if len(pairs) == 2} == set(protocol.strategies)


@pytest.mark.parametrize("name", MADE)
def test_every_model_of_a_preset_learns(name: str, tmp_path: Path) -> None:
    MADE[name](tmp_path)
    protocol = replace(cut(name), models=PRESETS[name][0].models, surrogates=(), backbone="", strategies=("entropy",))
    if protocol.recipe.pretrained:
        encoders(tmp_path, protocol)
    bench = bench_of(protocol, tmp_path / "out", tmp_path)
    for model in protocol.models:
        assert 0 <= bench.teach(model, np.arange(2), seed=0).quality <= 1


def test_images_of_other_shapes_are_stretched_and_the_preset_says_so(tmp_path: Path) -> None:
    ade20k(tmp_path)
    bench = bench_of(cut("paper-ade20k"), tmp_path / "out", tmp_path)
    assert isinstance(bench, DenseBench)
    assert bench.pool.pixels.shape == (16, 56, 48, 3), "as the first is"
    assert any("stretched" in one for one in PRESETS["paper-ade20k"][0].cut)


def test_an_estimate_asks_for_no_embeddings(tmp_path: Path) -> None:
    imagenet(tmp_path)
    (one,) = estimates(tmp_path / "out", [cut("paper-imagenet")], data=tmp_path)
    assert one.trainings > 0
    assert not list((tmp_path / "out").glob("embeddings*"))


def test_pixels_of_a_large_set_are_no_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet(tmp_path)
    bare = replace(cut("paper-imagenet"), backbone="")
    monkeypatch.setattr("foresift.studies.surrogates.bench_of.LARGEST", 1_000)
    with pytest.raises(UsageError, match="name a backbone"):
        bench_of(bare, tmp_path / "out", tmp_path)
    assert AUTO in bare.strategies
    bench_of(replace(bare, strategies=("margin",)), tmp_path / "out", tmp_path)


@pytest.mark.parametrize("name", MADE)
def test_a_missing_set_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=name.removeprefix("paper-")):
        bench_of(PRESETS[name][0], tmp_path / "out", tmp_path)
