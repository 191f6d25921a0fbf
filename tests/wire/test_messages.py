from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from foresift.wire.calls import methods_at
from foresift.wire.messages import SelectionRequest
from foresift.wire.protobuf import request_type, to_message, to_plain


@pytest.mark.parametrize(
    "wrong",
    [{"budget": True}, {"budget": "3"}, {"budget": 3, "seed": False}, {"budget": 3, "allow_short": "yes"}],
)
def test_nothing_is_read_as_a_number_or_a_truth_that_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SelectionRequest.model_validate(wrong)


def test_whole_numbers_of_64_bits_are_numbers() -> None:
    message = to_message(request_type("Select"), {"pool": "p", "budget": 3, "seed": 2**63 - 1})
    assert to_plain(message) == {"pool": "p", "budget": 3, "seed": 2**63 - 1, "uris": [], "allow_short": False}


@pytest.mark.parametrize(
    ("path", "methods"), [("/v1/jobs/x", ("DELETE", "GET")), ("/v1/pools/p/labels", ("GET", "POST")), ("/x", ())]
)
def test_a_path_takes_the_methods_of_all_calls_there(path: str, methods: tuple[str, ...]) -> None:
    assert methods_at(path) == methods
