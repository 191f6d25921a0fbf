"""The transfer studies that have a name, from minutes on two cores to weeks on a GPU."""

from __future__ import annotations

from dataclasses import replace

from foresift.studies.surrogates.protocol import AUTO, TRUE_LOSS, Lessons, Protocol

PAPER_CUTS = "models, image sizes and training lengths are not the paper's: small networks from scratch on two cores"
_BF16 = "trained in mixed precision (bfloat16)"
_CIFAR = Lessons(epochs=20, batch=64, lr=0.01, augment="flip-crop", precision="bf16")
_SEGMENTATION = Lessons(epochs=25, batch=8, lr=3e-3, augment="flip-crop", precision="bf16")
_MNV3, _XC65 = "deeplabv3plus:mobilenetv3_large_100", "deeplabv3plus:xception65"
_PAPER = Lessons(optimizer="sgd", lr=0.01, weight_decay=4e-4, augment="flip-crop", pretrained=True)

PRESETS: dict[str, tuple[Protocol, ...]] = {
    "digits": (
        Protocol(
            title="Handwritten digits, pool 1,347",
            strategies=("entropy", "margin", "llal", "core-set", TRUE_LOSS, AUTO),
            pilots=2,
            cut=(f"digits of 8 x 8 pixels stand for the paper's images; {PAPER_CUTS}",),
        ),
    ),
    "cifar10": (
        Protocol(
            title="CIFAR-10, pool 10,000, small networks",
            images="cifar10",
            models=("cnn:8", "cnn:16", "cnn:24"),
            strategies=("entropy", "margin", AUTO),
            recipe=_CIFAR,
            backbone="resnet8",
            curves=False,
            cut=(PAPER_CUTS, _BF16, "no true-loss ceiling, no Core-Set, no LLAL and no learning curve of random data"),
        ),
        Protocol(
            title="CIFAR-10, pool 50,000, ResNets",
            images="cifar10-50k",
            models=("resnet8", "resnet20"),
            surrogates=("resnet8",),
            strategies=("margin", AUTO),
            cycles=5,
            budget=2_000,
            seeds=2,
            recipe=replace(_CIFAR, epochs=12, batch=128),
            backbone="resnet8",
            backbone_epochs=4,
            probes=False,
            curves=False,
            cut=(
                PAPER_CUTS,
                _BF16,
                "five cycles of 2,000 labels in place of ten, two seeds, one surrogate, 12 epochs",
                "no entropy, no LLAL, no true-loss ceiling, no Core-Set, no learning curve of random data",
                "no histograms and no suitability: one pair can't be ranked",
            ),
        ),
    ),
    "caltech101": (
        Protocol(
            title="Caltech-101, heads on frozen embeddings",
            images="caltech101",
            learner="heads",
            models=("linear", "mlp:64", "mlp:256"),
            strategies=("entropy", "margin", "k-center", TRUE_LOSS, AUTO),
            backbone="resnet8",
            cut=(
                "the backbone is frozen and trained without labels on the pool: only heads differ",
                PAPER_CUTS,
                "no LLAL, which needs feature maps",
            ),
        ),
    ),
    "camvid": (
        Protocol(
            title="CamVid at 240 x 180, three U-Nets",
            images="camvid",
            learner="segmentation",
            models=("tiny-unet:8", "tiny-unet:16", "tiny-unet:24"),
            strategies=("entropy", "entropy-top4", AUTO),
            cycles=5,
            share=0.04,
            seeds=2,
            recipe=_SEGMENTATION,
            side=240,
            curves=False,
            cut=(
                PAPER_CUTS,
                _BF16,
                "CamVid for CityScapes at 240 x 180, five cycles of 4 %, two seeds, 25 epochs",
                "no margin, no true-loss ceiling, no Core-Set, no LLAL, no learning curve of random data",
            ),
        ),
    ),
    "paper-cityscapes": (
        Protocol(
            title="CityScapes, DeepLabV3+",
            images="cityscapes",
            learner="segmentation",
            models=(_MNV3, *(f"deeplabv3plus:resnet{depth}" for depth in (18, 50, 101)), _XC65),
            strategies=("entropy", "margin", TRUE_LOSS, AUTO),
            seeds=3,
            recipe=replace(_PAPER, epochs=220, batch=4),
            cut=("ResNet-101 as fifth model is our choice; batch 4 for Xception-65 too", "no LLAL, no Core-Set"),
        ),
    ),
    "paper-ade20k": (
        Protocol(
            title="ADE20K, DeepLabV3+",
            images="ade20k",
            learner="segmentation",
            models=(_MNV3, "deeplabv3plus:resnet18", "deeplabv3plus:resnet50"),
            strategies=("entropy", "margin", TRUE_LOSS, AUTO),
            seeds=3,
            recipe=replace(_PAPER, epochs=64, batch=16),
            cut=("which three models is our choice", "no LLAL, no Core-Set"),
        ),
    ),
    "paper-imagenet": (
        Protocol(
            title="ImageNet",
            images="imagenet",
            models=("timm:resnet18", "timm:resnet50"),
            strategies=("entropy", "margin", "k-center", TRUE_LOSS, AUTO),
            seeds=3,
            recipe=replace(_PAPER, epochs=90, batch=256, lr=0.1, pretrained=False),
            side=224,
            curves=False,
            cut=(
                "which two models, and 90 epochs at batch 256, are our choice",
                "no LLAL, no learning curve of random data",
            ),
        ),
    ),
}
