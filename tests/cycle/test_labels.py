"""What answers mean: admission, verdicts of several annotators, agreement against its definitions, what is missing."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.cycle.labels import (
    Terms,
    admit,
    agreement,
    contradictions,
    foreign_class,
    news,
    spelled_value,
    standing,
    training_labels,
    verdicts,
    why_closed,
)


def answer(sample: str | int, value: str, annotator: str = "", at: str = "") -> LabelRecord:
    return LabelRecord(sample_id=sample, value=value, pool="p", run="r", annotator=annotator, at=at)


ANSWERS = st.lists(
    st.builds(
        answer,
        st.sampled_from("abcd"),
        st.sampled_from(["cat", "dog", "cow", CANNOT_TELL]),
        st.sampled_from(["ann", "bob", "cid"]),
    ),
    max_size=30,
)


def current(answers: list[LabelRecord]) -> list[LabelRecord]:
    """The last answer of each annotator to each sample, in order of arrival."""
    last = {(one.sample_id, one.annotator): number for number, one in enumerate(answers)}
    return [one for number, one in enumerate(answers) if last[one.sample_id, one.annotator] == number]


def test_every_spelling_of_cannot_tell_is_one() -> None:
    assert {spelled_value(text) for text in ("cannot-tell", "Cannot tell", " can't tell ", "CANNOT_TELL")} == {
        CANNOT_TELL
    }
    assert spelled_value(" cat ") == "cat"


def test_a_foreign_class_is_refused_with_the_nearest_one() -> None:
    assert "did you mean 'dog'" in foreign_class("Dogg", ("cat", "dog"))
    assert not foreign_class("dog", ("cat", "dog"))
    assert not foreign_class(CANNOT_TELL, ("cat", "dog"))
    assert not foreign_class("whatever", ())
    admitted = admit([answer("a", "cow"), answer("b", "cat")], Terms(classes=("cat",)))
    assert [one.sample_id for one in admitted.labels] == ["b"]
    assert len(admitted.refused) == 1


def test_late_and_unasked_answers_are_kept_and_named() -> None:
    terms = Terms(asked={"a": 1, "b": 2}, closed={1}, price=0.5)
    given_ = [answer("a", "cat"), answer("b", "dog"), answer("z", "dog")]
    admitted = admit(given_, terms)
    assert [one.round for one in admitted.labels] == [1, 2, None]
    assert [one.sample_id for one in admitted.late] == ["a"]
    assert [one.sample_id for one in admitted.unasked] == ["z"]
    assert {one.cost for one in admitted.labels} == {0.5}
    assert [one.id for one in admitted.labels] == [one.id for one in given_], "the round is no part of what was said"


def test_the_majority_wins_and_a_tie_goes_to_what_was_named_first() -> None:
    tie = verdicts([answer("a", "dog", "ann"), answer("a", "cat", "bob")])["a"]
    assert (tie.value, tie.tied) == ("dog", True)
    majority = verdicts([answer("a", "dog", "ann"), answer("a", "cat", "bob"), answer("a", "cat", "cid")])["a"]
    assert (majority.value, majority.tied, majority.votes) == ("cat", False, (("dog", 1), ("cat", 2)))


def test_who_can_not_tell_has_no_vote() -> None:
    found = verdicts([answer("a", CANNOT_TELL, "ann"), answer("a", CANNOT_TELL, "bob"), answer("a", "cat", "cid")])
    assert (found["a"].value, found["a"].abstained) == ("cat", 2)
    nobody = verdicts([answer("b", CANNOT_TELL, "ann")])
    assert nobody["b"].value == CANNOT_TELL
    assert training_labels({**found, **nobody}) == training_labels(found)


@given(ANSWERS)
def test_verdicts_are_majorities_of_those_who_tell(answers: list[LabelRecord]) -> None:
    answers = current(answers)
    for sample, verdict in verdicts(answers).items():
        told = [one.value for one in answers if one.sample_id == sample and one.tells]
        if not told:
            assert verdict.value == CANNOT_TELL
            continue
        counts = Counter(told)
        assert counts[verdict.value] == max(counts.values())
        earlier = told[: told.index(verdict.value)]
        assert all(counts[value] < counts[verdict.value] for value in earlier)
        assert verdict.tied == (list(counts.values()).count(max(counts.values())) > 1)


@given(ANSWERS)
def test_a_sample_counts_once_however_many_annotators_answer(answers: list[LabelRecord]) -> None:
    now = standing(["a", "b", "c", "e"], verdicts(current(answers)))
    answered = {one.sample_id for one in answers} & {"a", "b", "c", "e"}
    assert now.bought == len(answered)
    assert now.asked == now.bought + len(now.missing) == 4


def test_a_round_closes_when_all_is_answered_or_at_its_quota_or_date() -> None:
    some = standing(["a", "b", "c"], verdicts([answer("a", "cat"), answer("b", CANNOT_TELL)]))
    assert some.missing == ("c",)
    assert why_closed(some) == ""
    assert "quota" in why_closed(some, quota=2)
    assert why_closed(some, quota=3, closes_at="2026-01-02T00:00:00Z", at="2026-01-01T00:00:00Z") == ""
    assert "date" in why_closed(some, closes_at="2026-01-02T00:00:00Z", at="2026-01-02T00:00:00Z")
    assert why_closed(standing([], {})) != ""


def naive_agreement(votes: list[dict[str, str]]) -> tuple[Fraction, Fraction | None]:
    """Share of agreeing ordered pairs, mean over samples; and Fleiss' kappa from it."""
    shared = [one for one in votes if len(one) > 1]
    shares = []
    for one in shared:
        pairs = list(permutations(one, 2))
        shares.append(Fraction(sum(one[a] == one[b] for a, b in pairs), len(pairs)))
    share = sum(shares, Fraction(0)) / len(shares)
    every = [value for one in shared for value in one.values()]
    chance = sum((Fraction(every.count(value), len(every)) ** 2 for value in set(every)), Fraction(0))
    return share, None if chance == 1 else (share - chance) / (1 - chance)


@given(ANSWERS)
def test_fleiss_kappa_is_its_definition(answers: list[LabelRecord]) -> None:
    answers = [one for one in current(answers) if one.tells]
    votes: dict[object, dict[str, str]] = {}
    for one in answers:
        votes.setdefault(one.sample_id, {})[one.annotator] = one.value
    found = agreement(answers)
    if not any(len(one) > 1 for one in votes.values()):
        assert (found.samples, found.share, found.fleiss) == (0, None, None)
        return
    share, kappa = naive_agreement(list(votes.values()))
    assert found.share == pytest.approx(float(share))
    assert found.fleiss == (None if kappa is None else pytest.approx(float(kappa)))


@given(ANSWERS)
def test_cohens_kappa_is_that_of_scikit_learn(answers: list[LabelRecord]) -> None:
    answers = [one for one in current(answers) if one.tells]
    said = {(one.sample_id, one.annotator): one.value for one in answers}
    for pair in agreement(answers).pairs:
        both = [sample for sample, name in said if name == pair.first and (sample, pair.second) in said]
        first, second = ([said[sample, name] for sample in both] for name in (pair.first, pair.second))
        assert pair.samples == len(both)
        if len({*first, *second}) == 1:
            assert pair.kappa is None
        else:
            assert pair.kappa == pytest.approx(cohen_kappa_score(first, second))


def test_the_example_of_fleiss_1971_for_five_categories_and_fourteen_raters() -> None:
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    answers = []
    for sample, row in enumerate(table):
        values = [str(category) for category, count in enumerate(row) for _ in range(count)]
        answers += [answer(sample, value, f"rater {number}") for number, value in enumerate(values)]
    assert agreement(answers).fleiss == pytest.approx(0.210, abs=5e-4)


def test_samples_that_are_labeled_differently_are_listed() -> None:
    found = agreement([answer("a", "cat", "ann"), answer("a", "dog", "bob"), answer("b", "cat", "ann")])
    assert [one.sample_id for one in found.disputed] == ["a"]
    assert found.annotators == ("ann", "bob")


def test_an_annotator_who_says_two_things_of_one_sample_in_one_file_is_asked_back() -> None:
    answers = [answer("a", "cat"), answer("a", "dog"), answer("b", "cat"), answer("b", "cat"), answer("a", "dog", "x")]
    refused = contradictions(answers, lambda number: f"line {number + 2}")
    assert [one.place for one in refused] == ["line 3"]
    assert "line 2" in refused[0].reason


@given(ANSWERS, ANSWERS)
def test_news_counts_what_a_store_would_change(before: list[LabelRecord], after: list[LabelRecord]) -> None:
    found = news(after, before)
    assert sum(found) == len(after)
    assert news(before, before) == (0, 0, len(before))
    first = {(one.sample_id, one.annotator) for one in before}
    assert found.new == len({(one.sample_id, one.annotator) for one in after} - first)
