"""``foresift models``: which architectures there are."""

from __future__ import annotations

from foresift.core.errors import MissingExtraError

try:
    from foresift.models.registry import Description, describe, timm_names
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("models", "vision") from error


def architectures() -> list[Description]:
    """Our own architectures and those of plug-ins."""
    return describe()


def timm_architectures(pattern: str) -> list[str]:
    """timm's classifiers that match a pattern such as ``resnet*``."""
    return timm_names(pattern)
