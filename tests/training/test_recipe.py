import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.training import Recipe


def test_plain_values_round_trip_through_json() -> None:
    recipe = Recipe(epochs=3, optimizer="adamw", augment="shift", head="mlp:32")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"optimizer": "adam"},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"schedule": "linear"},
        {"augment": "flip"},
        {"label_smoothing": 1.0},
        {"precision": "16"},
        {"train": "tail"},
        {"head": "mlp"},
        {"head": "mlp:0"},
        {"warmup_epochs": 20},
    ],
)
def test_values_out_of_range_name_the_field_and_what_was_expected(bad: dict[str, Any]) -> None:
    (name,) = bad
    with pytest.raises(UsageError, match=f"recipe: {name} must be .*, got"):
        Recipe(**bad)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown 'learning_rate'"):
        Recipe.from_dict({"learning_rate": 1})


@given(
    schedule=st.sampled_from(["cosine", "onecycle", "multistep", "constant"]),
    epochs=st.integers(1, 50),
    warm=st.floats(0, 0.9),
    per_epoch=st.integers(1, 30),
)
def test_rates_stay_within_the_peak_and_rise_only_while_warming_up(
    schedule: str, epochs: int, warm: float, per_epoch: int
) -> None:
    recipe = Recipe(schedule=schedule, epochs=epochs, warmup_epochs=warm * epochs)
    total = epochs * per_epoch
    rates = [recipe.lr_share(step, total=total) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_rates_of_he_2016_drop_tenfold_at_half_and_three_quarters() -> None:
    recipe = Recipe(schedule="multistep", epochs=4)
    assert [recipe.lr_share(s, total=8) for s in range(8)] == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)


def test_a_number_that_yaml_reads_as_text_is_the_number() -> None:
    assert Recipe.from_dict({"lr": "1e-3", "weight_decay": "5e-4"}) == Recipe(lr=1e-3)
