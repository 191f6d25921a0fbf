"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

Home: TypeAlias = Annotated[
    Path | None,
    typer.Option("--home", envvar="FORESIFT_HOME", help="Workspace folder.", show_default="~/.foresift"),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Data: TypeAlias = Annotated[
    str, typer.Argument(metavar="DATA", help="A folder of images, a manifest, or - for addresses on standard input.")
]
PoolArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="POOL", help="A folder of images, a manifest, or - for addresses on standard input.")
]
Models: TypeAlias = Annotated[
    list[str], typer.Option("--model", help="A generation folder or id, or an ensemble; several are an ensemble.")
]
Checkpoints: TypeAlias = Annotated[
    str, typer.Option(metavar="all|last=N", help="The models' kept checkpoints as an ensemble.", show_default=False)
]
EarlyStop: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        help="stable[:overlap=0.95,correlation=0.95,patience=2]: ask no more members once the first picks stay.",
        show_default="all are asked",
    ),
]
Engine: TypeAlias = Annotated[
    str,
    typer.Option(
        help="auto, torch-f32, torch-bf16, openvino-f32, openvino-bf16, openvino-int8, onnx-f32, or "
        "triton://host:port/model. Another than torch-f32 must rank a sample as that does; "
        "NAME:correlation=0.95,overlap=0.9 asks for less.",
        show_default=True,
    ),
]
Batch: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Images a forward pass.", show_default="by image size; auto measures for long jobs"),
]
Ray: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Share the work on a Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT.",
        show_default=False,
    ),
]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, help="Seed of everything that is random.")]
Strict: TypeAlias = Annotated[bool, typer.Option("--strict", help="A broken image is fatal.")]
Split: TypeAlias = Annotated[
    str, typer.Option(help="Split of images with masks, such as train.", show_default="all, where there are none")
]
MaskLayout: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|folders|cityscapes|voc|ade20k|coco", help="How images and masks are laid out; for segmentation."
    ),
]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; the others get their defaults where they are used."""
    return {name: value for name, value in options.items() if value is not None}
