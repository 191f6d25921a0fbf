"""The laws of answers: none lost, none twice, the annotator's last one counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from foresift.core.errors import LabelError, UsageError
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.records import Added, Records
from foresift.core.regions import Region
from foresift.core.rounds import SampleId
from foresift.testing.examples import hold
from foresift.testing.records_case import StoreCase, answer, at_once, refused


def delivered_twice(case: StoreCase) -> None:
    """The same answers delivered again, in one batch or in another, are there once."""
    batch = [answer(sample, "a", at="2026-01-01") for sample in range(20)]
    hold(case.first.add_labels([*batch, *batch]) == Added(20, 20), "delivered-twice", "within a batch")
    hold(case.second.add_labels(reversed(batch)) == Added(0, 20), "delivered-twice", "in another batch")
    hold(len(case.first.labels(run="r", current=False)) == 20, "delivered-twice", "the history has other rows")
    hold(case.first.add_labels([]) == Added(0, 0), "delivered-twice", "nothing was delivered")


def whole_answers(case: StoreCase) -> None:
    """What is read is what was delivered, in order of arrival; ids keep their kind."""
    given = [
        answer(7, "int", cost=0.25, source="s3://x", round=2, at="2026-01-02T03:04:05.678Z"),
        answer("7", "text", annotator="", run="other"),
        answer("image.png#1,2,3,4", "mask.png", region=Region(1, 2, 3, 4)),
        answer("odd \ud800 \0 \x01 ' \" % é", "odd \ud800\0", annotator="\0"),
        answer(-(2**62), CANNOT_TELL, run=None),
    ]
    case.first.add_labels(given)
    found = case.second.labels(pool="pool")
    hold(found == tuple(given), "whole-answers", f"delivered {given}, read {found}")
    ids = [label.id for label in found]
    hold(ids == [label.id for label in given], "whole-answers", "the content keys are others")


def correction(case: StoreCase) -> None:
    """Another value of the same annotator supersedes his first, whatever the clocks say; the history keeps both."""
    first, second = answer(1, "cat", at="2026-06-01"), answer(1, "dog", at="2026-05-01")
    case.first.add_labels([first])
    case.second.add_labels([second])
    hold(_values(case.first) == {1: ["dog"]}, "correction", f"current: {_values(case.first)}")
    history = case.first.labels(run="r", current=False)
    hold([label.value for label in history] == ["cat", "dog"], "correction", "the history is not in order of arrival")
    hold(history[1].supersedes == first.id, "correction", "the new one does not say which one it supersedes")


def late_repetition(case: StoreCase) -> None:
    """An answer that was known, even if only as a repetition, never comes back after a correction."""
    early, again = answer(1, "cat", at="1"), answer(1, "cat", at="2")
    case.first.add_labels([early])
    hold(case.first.add_labels([again]) == Added(0, 1), "late-repetition", "the same value twice")
    case.first.add_labels([answer(1, "dog", at="3")])
    hold(case.first.add_labels([again, early]) == Added(0, 2), "late-repetition", "delivered again")
    hold(_values(case.first) == {1: ["dog"]}, "late-repetition", "the old answer is current again")
    hold(case.first.add_labels([answer(1, "cat", at="4")]) == Added(1, 0), "late-repetition", "a change of mind")
    hold(_values(case.first) == {1: ["cat"]}, "late-repetition", "the change of mind does not count")


def named_correction(case: StoreCase) -> None:
    """A reviewer's answer replaces the one that it names, and only that one."""
    wrong, other = answer(1, "cat", annotator="a"), answer(1, "dog", annotator="b")
    case.first.add_labels([wrong, other, answer(1, "elk", annotator="c", supersedes=wrong.id)])
    hold(_values(case.first) == {1: ["dog", "elk"]}, "named-correction", f"current: {_values(case.first)}")


def wrong_target(case: StoreCase) -> None:
    """A correction of nothing, or of another sample's answer, is refused, and the whole batch with it."""
    known = answer(1, "cat")
    case.first.add_labels([known])
    for target in ("0" * 40, known.id):
        batch = [answer(2, "dog"), answer(3, "elk", supersedes=target)]
        refused("wrong-target", LabelError, lambda batch=batch: case.first.add_labels(batch))  # type: ignore[misc]
    hold(_values(case.first) == {1: ["cat"]}, "wrong-target", "part of the batch was kept")


def places_apart(case: StoreCase) -> None:
    """Runs, regions, annotators and kinds of ids do not replace each other's answers."""
    apart = [
        answer(1, "a"),
        answer("1", "b"),
        answer(1, "c", run="other"),
        answer(1, "d", run=None),
        answer(1, "e", annotator="somebody else"),
        answer(1, "f", region=Region(0, 0, 1, 1)),
    ]
    hold(case.first.add_labels(apart) == Added(6, 0), "places-apart", "one replaced another")
    hold(len(case.first.labels(pool="pool")) == 6, "places-apart", "not all are current")
    hold(len(case.first.labels(run="r")) == 4, "places-apart", "another run's answers count for this one")
    hold(case.first.labels(run="r", pool="elsewhere") == (), "places-apart", "another pool's answers count")


def asked_for(case: StoreCase) -> None:
    """Answers are found by round and by sample; asking for nothing in particular is refused."""
    case.first.add_labels([answer(sample, "a", round=1 + sample % 2) for sample in range(10)])
    hold([x.sample_id for x in case.first.labels(run="r", round=2)] == [1, 3, 5, 7, 9], "asked-for", "by round")
    some = case.first.labels(run="r", samples=[8, 99, 2, "2", 2])
    hold([label.sample_id for label in some] == [2, 8], "asked-for", "by sample")
    hold(case.first.labels(run="r", samples=[]) == (), "asked-for", "by no sample")
    hold(case.first.labels(run="elsewhere") == (), "asked-for", "by a run without answers")
    refused("asked-for", UsageError, lambda: case.first.labels(round=1))


def counted(case: StoreCase) -> None:
    """A sample counts once it was asked for and somebody names it, and once however many do."""
    said: list[tuple[SampleId, str, str]] = [
        (1, "a", "ann"),
        (1, "b", "bob"),
        (2, CANNOT_TELL, "ann"),
        ("1", "a", "ann"),
    ]
    case.first.add_labels([answer(sample, value, annotator=who, round=1) for sample, value, who in said])
    case.first.add_labels([answer(3, "a"), answer(4, "a", run="other", round=1)])
    hold(case.second.count_labels("r") == 2, "counted", f"{case.second.count_labels('r')} samples")
    case.first.add_labels([answer(2, "a", round=1), answer(5, "a", round=2), answer("1", CANNOT_TELL, round=1)])
    hold(case.second.count_labels("r") == 3, "counted", "a correction does not count")
    hold(case.first.count_labels("nowhere") == 0, "counted", "labels of no run")


def disagreement(case: StoreCase) -> None:
    """Conflicts are samples with two current values or more; who can't tell does not contradict."""
    case.first.add_labels([answer(sample, "a", annotator="x") for sample in (1, 2, 3)])
    case.first.add_labels([answer(3, "b", annotator="y"), answer(1, "b", annotator="y")])
    case.first.add_labels([answer(2, CANNOT_TELL, annotator="y")])
    found = case.first.conflicts(run="r")
    hold([one.sample_id for one in found] == [1, 3], "disagreement", f"conflicts: {found}")
    hold([x.value for x in found[0].answers] == ["a", "b"], "disagreement", "not its answers")
    case.first.add_labels([answer(1, "a", annotator="y")])
    hold([one.sample_id for one in case.first.conflicts(pool="pool")] == [3], "disagreement", "settled, yet there")


def many_deliver(case: StoreCase) -> None:
    """The same answers from many threads at once are there once; each annotator has one current answer."""
    batch = [answer(sample, "a") for sample in range(30)]
    stores = (case.first, case.second)
    added = at_once(lambda thread: stores[thread % 2].add_labels(batch))
    hold(sum(one.new for one in added) == 30, "many-deliver", f"added: {added}")
    at_once(lambda thread: stores[thread % 2].add_labels([answer(5, f"v{thread}")]))
    hold(len(case.first.labels(run="r", samples=[5])) == 1, "many-deliver", "two current answers of one annotator")
    hold(len(case.first.labels(run="r", samples=[5], current=False)) == 9, "many-deliver", "an answer is lost")


def _values(store: Records) -> dict[object, list[str]]:
    values: dict[object, list[str]] = {}
    label: LabelRecord
    for label in store.labels(run="r"):
        values.setdefault(label.sample_id, []).append(label.value)
    return values


LABEL_LAWS: Mapping[str, Callable[[StoreCase], None]] = {
    "whole-answers": whole_answers,
    "delivered-twice": delivered_twice,
    "correction": correction,
    "late-repetition": late_repetition,
    "named-correction": named_correction,
    "wrong-target": wrong_target,
    "places-apart": places_apart,
    "asked-for": asked_for,
    "counted": counted,
    "disagreement": disagreement,
    "many-deliver": many_deliver,
}
"""Laws by name."""
