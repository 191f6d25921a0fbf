"""Numbers held to their ranges, in one wording."""

from __future__ import annotations

from foresift.core.errors import UsageError


def check_at_least(least: float, **values: float) -> None:
    """Raise :class:`UsageError` naming the first value below ``least``, or NaN."""
    for name, value in values.items():
        if not value >= least:
            raise UsageError(f"{name} must be at least {least:g}, got {value!r}")


def check_within(above: float, most: float, **values: float) -> None:
    """Raise :class:`UsageError` naming the first value outside (above, most]."""
    for name, value in values.items():
        if not above < value <= most:
            raise UsageError(f"{name} must be above {above:g} and at most {most:g}, got {value!r}")


def check_one_of(choices: tuple[str, ...], **values: str) -> None:
    """Raise :class:`UsageError` naming the first value that is none of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
