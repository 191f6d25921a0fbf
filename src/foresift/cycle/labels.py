"""What answers mean: which are taken, which of several annotators is believed, how far they agree, what is missing."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.oracles import Refusal
from foresift.core.rounds import SampleId
from foresift.core.samples import Label

_SPELLINGS = frozenset({"cannot-tell", "cannot tell", "cannot_tell", "can't tell"})
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What answers to a run are judged by."""

    asked: Mapping[SampleId, int] = field(default_factory=dict)
    """The number of the round that asked for each sample."""
    closed: Container[int] = ()
    """Numbers of the rounds that wait for labels no more."""
    classes: tuple[str, ...] = ()
    """What may be answered beside ``cannot-tell``; empty = anything."""
    price: float | None = None
    """Of an answer that names none itself."""


class Admission(NamedTuple):
    """What becomes of answers that were delivered."""

    labels: tuple[LabelRecord, ...]
    """To be stored, in the order given; each with the round that asked for it."""
    late: tuple[LabelRecord, ...]
    """Those among them whose round was closed already: kept, and used from the next training on."""
    unasked: tuple[LabelRecord, ...]
    """Those among them that no round asked for: kept and used, bought by no round."""
    refused: tuple[Refusal, ...]


def spelled_value(text: str) -> str:
    """A label as it is stored: every spelling of "cannot tell" is one."""
    return CANNOT_TELL if text.strip().lower() in _SPELLINGS else text.strip()


def admit(answers: Iterable[LabelRecord], terms: Terms) -> Admission:
    """Sort answers into those that are stored and those that are refused. O(answers)."""
    labels: list[LabelRecord] = []
    refused: list[Refusal] = []
    for answer in answers:
        if reason := foreign_class(answer.value, terms.classes):
            refused.append(Refusal(f"sample {answer.sample_id!r}", reason))
        else:
            labels.append(_placed(answer, terms))
    late = tuple(one for one in labels if one.round is not None and one.round in terms.closed)
    return Admission(tuple(labels), late, tuple(one for one in labels if one.round is None), tuple(refused))


def foreign_class(value: str, classes: Sequence[str]) -> str:
    """Why a value is none of the classes, naming the nearest; "" if it is one, or nobody knows the classes."""
    if not classes or value == CANNOT_TELL or value in classes:
        return ""
    known = {name.lower(): name for name in classes}
    near = difflib.get_close_matches(value.lower(), known, n=1)
    hint = f"; did you mean {known[near[0]]!r}?" if near else ""
    shown = ", ".join(classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "")
    return f"{value!r} is no class of this run{hint} (classes: {shown}; or {CANNOT_TELL})"


def _placed(answer: LabelRecord, terms: Terms) -> LabelRecord:
    """The answer with the round it counts for and its price; neither is part of its id."""
    cost = terms.price if answer.cost is None else answer.cost
    return replace(answer, round=terms.asked.get(answer.sample_id), cost=cost)


class Verdict(NamedTuple):
    """What all current answers to one sample amount to."""

    sample_id: SampleId
    value: str
    """A class, or ``cannot-tell`` if no annotator names one."""
    votes: tuple[tuple[str, int], ...]
    """Classes with their annotators' number, in order of arrival."""
    abstained: int
    """Annotators who can't tell."""
    tied: bool
    """Whether ``value`` has as many votes as another class."""

    @property
    def tells(self) -> bool:
        """Whether it names a class, so that it can be trained on."""
        return self.value != CANNOT_TELL


def verdicts(current: Iterable[LabelRecord]) -> dict[SampleId, Verdict]:
    """The verdict on each sample, in order of its first answer. O(answers).

    Each annotator has one vote. The class with most votes wins; of classes with equally many, the one that was named
    first (order of arrival, not clocks). ``cannot-tell`` is no vote: it is the verdict only if nobody names a class.

    Args:
        current: answers without those that were superseded, in order of arrival.
    """
    of: dict[SampleId, list[LabelRecord]] = defaultdict(list)
    for answer in current:
        of[answer.sample_id].append(answer)
    return {sample: _verdict(sample, answers) for sample, answers in of.items()}


def _verdict(sample: SampleId, answers: Sequence[LabelRecord]) -> Verdict:
    votes = Counter(answer.value for answer in answers if answer.tells)  # keeps the order of arrival
    most = max(votes.values(), default=0)
    leading = [value for value, count in votes.items() if count == most]
    return Verdict(
        sample_id=sample,
        value=leading[0] if leading else CANNOT_TELL,
        votes=tuple(votes.items()),
        abstained=sum(not answer.tells for answer in answers),
        tied=len(leading) > 1,
    )


def training_labels(found: Mapping[SampleId, Verdict]) -> list[Label]:
    """What may be trained on: every verdict but ``cannot-tell``."""
    return [Label(sample_id=one.sample_id, value=one.value) for one in found.values() if one.tells]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a round's questions are answered."""

    asked: int
    told: int
    """Samples with a class or mask."""
    cannot_tell: int
    missing: tuple[SampleId, ...]
    """Samples without any answer, in order of rank."""

    @property
    def bought(self) -> int:
        """Samples that were answered: ``cannot-tell`` is paid like a class."""
        return self.told + self.cannot_tell


def standing(asked: Sequence[SampleId], found: Mapping[SampleId, Verdict]) -> Standing:
    """How far the samples of a round are answered; several annotators of one sample count once."""
    answered = [found[sample] for sample in asked if sample in found]
    told = sum(one.tells for one in answered)
    return Standing(
        asked=len(asked),
        told=told,
        cannot_tell=len(answered) - told,
        missing=tuple(sample for sample in asked if sample not in found),
    )


def why_closed(now: Standing, *, quota: int | None = None, closes_at: str | None = None, at: str = "") -> str:
    """Why a round need not wait for more answers; "" while it should.

    Args:
        quota: answers that are enough; None = all.
        closes_at, at: the date, and the time it is: ISO 8601 in UTC, so that text compares like time.
    """
    if not now.missing:
        return "every sample is answered"
    if quota is not None and now.bought >= quota:
        return f"{now.bought} answers, the quota of {quota} is reached"
    if closes_at and at >= closes_at:
        return f"its date {closes_at} is over, {len(now.missing)} of {now.asked} samples have no answer"
    return ""


class PairAgreement(NamedTuple):
    """How far two annotators agree."""

    first: str
    second: str
    samples: int
    """Named by both."""
    share: float
    """Of these, named alike."""
    kappa: float | None
    """Cohen's; None where chance alone would make them agree always (both name one class only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far annotators agree on the samples that two or more of them named; who can't tell is left out."""

    annotators: tuple[str, ...]
    samples: int
    share: float | None
    """Mean over samples of the pairs of annotators that agree; None without such samples."""
    fleiss: float | None
    """Fleiss' kappa; None without such samples, or if all answers are of one class."""
    pairs: tuple[PairAgreement, ...]
    disputed: tuple[Verdict, ...]
    """Samples that were named differently, in order of their first answer."""


def agreement(current: Iterable[LabelRecord]) -> Agreement:
    """Agreement of annotators, overall and pair by pair. O(answers x annotators).

    Source: Cohen 1960; Fleiss 1971, with as many answers a sample as there are (Fleiss has one number for all), so
    that class shares are over all answers and samples weigh alike.
    """
    answers = [answer for answer in current if answer.tells]
    of: dict[SampleId, dict[str, str]] = defaultdict(dict)
    for answer in answers:
        of[answer.sample_id][answer.annotator] = answer.value
    shared = [votes for votes in of.values() if len(votes) > 1]
    share = _mean([_agreeing_pairs(votes) for votes in shared])
    found = verdicts(answers)
    return Agreement(
        annotators=tuple(sorted({answer.annotator for answer in answers})),
        samples=len(shared),
        share=share,
        fleiss=None if share is None else _beyond_chance(share, _chance(shared)),
        pairs=_pairs(shared),
        disputed=tuple(one for one in found.values() if len(one.votes) > 1),
    )


def _agreeing_pairs(votes: Mapping[str, str]) -> float:
    """Share of the pairs of annotators of one sample that say the same."""
    n = len(votes)
    same = sum(count * (count - 1) for count in Counter(votes.values()).values())
    return same / (n * (n - 1))


def _chance(shared: Sequence[Mapping[str, str]]) -> float:
    """Probability that two answers drawn from all of them say the same."""
    counts = Counter(value for votes in shared for value in votes.values())
    total = sum(counts.values())
    return sum((count / total) ** 2 for count in counts.values())


def _pairs(shared: Sequence[Mapping[str, str]]) -> tuple[PairAgreement, ...]:
    together: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for votes in shared:
        names = sorted(votes)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                together[first, second].append((votes[first], votes[second]))
    return tuple(_pair(*names, said) for names, said in sorted(together.items()))


def _pair(first: str, second: str, said: Sequence[tuple[str, str]]) -> PairAgreement:
    n = len(said)
    share = sum(a == b for a, b in said) / n
    left, right = (Counter(values) for values in zip(*said, strict=True))
    chance = sum(left[value] * right[value] for value in left) / n**2
    return PairAgreement(first, second, n, share, _beyond_chance(share, chance))


def _beyond_chance(share: float, chance: float) -> float | None:
    return None if chance >= 1 else (share - chance) / (1 - chance)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def contradictions(answers: Iterable[LabelRecord], place: Callable[[int], str]) -> tuple[Refusal, ...]:
    """Answers of one delivery in which an annotator says two things of one sample: which of them is meant?

    Args:
        place: where the answer of that number stands.
    """
    said: dict[tuple[SampleId, str], tuple[int, str]] = {}
    refused = []
    for number, answer in enumerate(answers):
        first, value = said.setdefault((answer.sample_id, answer.annotator), (number, answer.value))
        if value != answer.value:
            reason = f"sample {answer.sample_id!r} is {answer.value!r} here and {value!r} in {place(first)}; keep one"
            refused.append(Refusal(place(number), reason))
    return tuple(refused)


class News(NamedTuple):
    """What answers would change."""

    new: int
    """First answers of an annotator to a sample."""
    corrections: int
    """Answers that replace an earlier one of the same annotator."""
    repeated: int


def news(answers: Iterable[LabelRecord], history: Iterable[LabelRecord]) -> News:
    """How many of these answers are new, correct earlier ones, or say what was said already.

    Args:
        answers: in the order in which they are to be stored.
        history: stored answers to the same samples, superseded ones included, in order of arrival.
    """
    ids: set[str] = set()
    last: dict[tuple[object, str], str] = {}
    for answer in history:
        ids.add(answer.id)
        last[answer.place, answer.annotator] = answer.value
    counts = Counter[str]()
    for answer in answers:
        key = answer.place, answer.annotator
        same = answer.id in ids or last.get(key) == answer.value
        counts["repeated" if same else "corrections" if key in last else "new"] += 1
        ids.add(answer.id)
        if not same:
            last[key] = answer.value
    return News(counts["new"], counts["corrections"], counts["repeated"])
