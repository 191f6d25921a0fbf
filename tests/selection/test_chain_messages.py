"""What a mistyped chain is told."""

import pytest

from foresift.core.errors import UnknownNameError, UsageError
from foresift.strategies import parse


def test_keep_outside_a_chain_is_led_to_one() -> None:
    with pytest.raises(
        UsageError, match=r"keep belongs to a stage before the last of a chain, as in margin:keep=200\+k-center"
    ):
        parse("margin:keep=200")


def test_a_stage_that_nobody_knows_is_called_so() -> None:
    with pytest.raises(UnknownNameError, match="unknown strategy 'keep=200'"):
        parse("keep=200+k-center")
