"""Names of a protocol, resolved before any work: models, strategies, backbone."""

from __future__ import annotations

from foresift.core.errors import UnknownNameError, UsageError
from foresift.studies.surrogates.protocol import AUTO, Protocol

COLUMNS = {"pixels": ("logits", "embeddings", "predicted-loss"), "heads": ("logits", "embeddings")}
"""Learner to the columns that its models have; those of segmentation rank by scores of their own."""


def check_names(protocol: Protocol) -> None:
    """Refuse what can't run, before an image is decoded.

    Raises:
        UnknownNameError: no such model, strategy or backbone; suggests the nearest.
        UsageError: a strategy that this learner's models have nothing for, or heads without a backbone.
    """
    from foresift.models import canonical

    model_known, strategy_known = {
        "pixels": (canonical, _classifying),
        "heads": (_head, _classifying),
        "segmentation": (_segmenter, _segmenting),
    }[protocol.learner]
    if protocol.backbone:
        canonical(protocol.backbone)
    elif protocol.learner == "heads":
        raise UsageError("heads stand on embeddings: name a backbone, such as resnet8")
    for model in protocol.models:
        model_known(model)
    for strategy in protocol.strategies:
        if strategy != AUTO:
            strategy_known(strategy, protocol.learner)


def _head(name: str) -> None:
    from foresift.training.recipe import head_width

    try:
        head_width(name)
    except UsageError:
        raise UnknownNameError("head", name, ("linear", "mlp:WIDTH")) from None


def _segmenter(name: str) -> None:
    from foresift.models.segmentation import HEADS, canonical_segmenter
    from foresift.studies.surrogates.tiny_unet import NAME, width_of

    head = name.partition(":")[0]
    if head == NAME:
        width_of(name)
    elif head not in HEADS:
        raise UnknownNameError("segmentation head", head, (NAME, *HEADS))
    else:
        canonical_segmenter(name)


def _classifying(name: str, learner: str) -> None:
    from foresift.strategies import STRATEGIES
    from foresift.studies.surrogates.benches import LABEL_NEEDS, STANDS_FOR, registered

    first = name.partition("+")[0].partition(":")[0]
    if first not in STRATEGIES and first not in STANDS_FOR:
        raise UnknownNameError("strategy", first, (*STRATEGIES, *STANDS_FOR))
    columns = COLUMNS[learner]
    if missing := [column for column in registered(name).needs if column not in (*columns, *LABEL_NEEDS)]:
        raise UsageError(
            f"strategy {name} needs {missing[0]}; {learner} of this study have {', '.join(columns)}: leave it out"
        )


def _segmenting(name: str, learner: str) -> None:
    from foresift.studies.surrogates.benches import EARLY
    from foresift.studies.surrogates.dense import SCORES_OF

    if name not in (EARLY, *SCORES_OF):
        raise UnknownNameError(f"strategy for {learner}", name, (AUTO, EARLY, *SCORES_OF))
