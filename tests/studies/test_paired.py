"""Numbers of paired comparisons, and the sentence that follows from them."""

import numpy as np
import pytest

from foresift.studies.paired import Paired, accuracy_text, difference_text, verdict

WIN = Paired(chosen=(0.92, 0.93, 0.95), random=(0.90, 0.91, 0.92))
LOSS = Paired(chosen=WIN.random, random=WIN.chosen)
NOISE = Paired(chosen=(0.92, 0.90, 0.91), random=(0.90, 0.92, 0.91))
EQUAL = Paired(chosen=(0.9, 0.9, 0.9), random=(0.9, 0.9, 0.9))
ONE = Paired(chosen=(0.99,), random=(0.5,))


def said(pair: Paired) -> str:
    return verdict(pair, strategy="margin", learner="cnn:24", labels=216)


def test_differences_are_taken_seed_by_seed():
    differences = np.subtract(WIN.chosen, WIN.random)
    assert WIN.differences == pytest.approx(differences)
    assert WIN.standard_error == pytest.approx(np.std(differences, ddof=1) / np.sqrt(3))
    assert (WIN.won, LOSS.won, NOISE.won, EQUAL.won) == (3, 0, 1, 0)


@pytest.mark.parametrize(
    ("pair", "outcome"), [(WIN, "win"), (LOSS, "loss"), (NOISE, "tie"), (EQUAL, "tie"), (ONE, "undecided")]
)
def test_outcome(pair, outcome):
    assert pair.outcome == outcome


def test_a_win_is_claimed_only_beyond_two_standard_errors():
    # Differences 0, 0, 3: the mean of 1 is exactly one standard error.
    ahead_on_average = Paired(chosen=(0.9, 0.9, 0.93), random=(0.9, 0.9, 0.9))
    assert ahead_on_average.outcome == "tie"


def test_a_win_says_so():
    assert said(WIN).startswith(
        "With cnn:24 and 216 labels, margin beat random here: +2.33 ± 0.58 pp, ahead in 3 of 3 seeds, more than twice"
    )


@pytest.mark.parametrize("pair", [LOSS, NOISE, EQUAL])
def test_no_win_is_said_as_plainly(pair):
    assert "margin did not beat random here" in said(pair)


def test_a_loss_is_called_worse():
    assert "it did worse" in said(LOSS)
    assert "worse" not in said(NOISE)


def test_one_seed_decides_nothing_however_large_its_difference():
    assert said(ONE) == (
        "With cnn:24 and 216 labels: +49.00 pp in one seed, which decides nothing; run more with --seeds."
    )


def test_texts_carry_spread_and_unit():
    assert accuracy_text((0.9, 0.92)) == "91.0 ± 1.4 %"
    assert difference_text((0.01, 0.03)) == "+2.00 ± 1.41 pp"
    assert accuracy_text((0.9,)) == "90.0 %"
