"""Where a person stands in a list of images to label: keys, order, undo, pace. Values in, values out."""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

CANNOT_TELL_KEYS = (" ", "?")
UNDO_KEYS = ("u", "backspace")
SEARCH_KEY = "/"
_RESERVED = frozenset({*CANNOT_TELL_KEYS, *UNDO_KEYS, SEARCH_KEY})
_DIGITS = "123456789"
_KEPT = 1000
"""Answers that can be undone."""
_PAUSE_S = 60.0
"""A longer gap between two answers was a pause, not work."""
_LAST = 30
"""So many answers say how fast a person is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One change of one label."""

    at: int
    before: str
    after: str

    @property
    def inverse(self) -> Said:
        """What takes it back."""
        return Said(at=self.at, before=self.after, after=self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where one person stands among n images, and what can be undone. ``answers`` are (n,) labels, "" = open."""

    at: int
    """0 .. n; n is the end, behind the last image."""
    done: tuple[Said, ...] = ()
    """The last answers, oldest first."""

    @classmethod
    def start(cls, answers: Sequence[str], busy: Collection[int] = ()) -> Session:
        """At the first open image, or at the end."""
        return cls(at=next_open(answers, after=-1, busy=busy))

    def answered(self, said: Said, answers: Sequence[str], busy: Collection[int] = ()) -> Session:
        """Behind an answer: at the next open image.

        Args:
            answers: with the answer.
            busy: images that others look at; they come last.
        """
        done = (*self.done, said)[-_KEPT:] if said.before != said.after else self.done
        return Session(at=next_open(answers, after=said.at, busy=busy), done=done)

    def undone(self) -> Session:
        """At the image of the last answer, which is forgotten."""
        return Session(at=self.done[-1].at, done=self.done[:-1])

    def moved(self, step: int, n: int) -> Session:
        """So many images on or back, within 0 .. n."""
        return replace(self, at=min(max(self.at + step, 0), n))

    def at_image(self, at: int, n: int) -> Session:
        """At a given image."""
        return replace(self, at=min(max(at, 0), n))


def next_open(answers: Sequence[str], *, after: int, busy: Collection[int] = ()) -> int:
    """The first open image behind ``after``, else from the beginning; those of others only where no other is left."""
    n = len(answers)
    order = [*range(after + 1, n), *range(min(after + 1, n))]
    free = [at for at in order if not answers[at]]
    return next((at for at in free if at not in busy), free[0] if free else n)


def upcoming(answers: Sequence[str], session: Session, count: int) -> tuple[int, ...]:
    """The images that are likely to be shown next, for a browser to fetch."""
    n = len(answers)
    ahead = [at for at in range(session.at + 1, n) if not answers[at]][:count]
    near = [at for at in (session.at + 1, session.at - 1) if 0 <= at < n and at not in ahead]
    return (*ahead, *near)


def latest(session: Session, count: int) -> tuple[int, ...]:
    """The images that were answered last, newest first, each once."""
    return tuple(dict.fromkeys(said.at for said in reversed(session.done)))[:count]


def class_keys(classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The keys of each class; lower case, no key twice, none of those that undo or search.

    A class whose name is one letter or digit has that key. Otherwise the first nine have 1 .. 9, unless digits are
    names themselves, and a class whose first letter no other class shares has that letter too. Who has no key by
    then gets a free letter, of its own name if possible. Classes beyond that have none.
    """
    names = [name.strip().lower() for name in classes]
    taken: dict[str, int] = {}
    for at, name in enumerate(names):
        if len(name) == 1 and name in string.ascii_lowercase + string.digits and name not in _RESERVED:
            taken.setdefault(name, at)
    if not any(key in string.digits for key in taken):
        taken |= dict(zip(_DIGITS, [at for at in range(len(names)) if at not in taken.values()], strict=False))
    _give_first_letters(names, taken)
    _give_free_letters(names, taken)
    return tuple(tuple(key for key, owner in taken.items() if owner == at) for at in range(len(names)))


def _give_first_letters(names: Sequence[str], taken: dict[str, int]) -> None:
    first = [name[:1] for name in names]
    for at, letter in enumerate(first):
        usable = letter in _LETTERS and letter not in taken and first.count(letter) == 1
        if usable and len(names[at]) > 1:
            taken[letter] = at


def _give_free_letters(names: Sequence[str], taken: dict[str, int]) -> None:
    for at, name in enumerate(names):
        if at in taken.values():
            continue
        free = [letter for letter in (*name, *string.ascii_lowercase) if letter in _LETTERS and letter not in taken]
        if free:
            taken[free[0]] = at


_LETTERS = frozenset(string.ascii_lowercase) - _RESERVED


def class_of_key(keys: Sequence[tuple[str, ...]], key: str) -> int | None:
    """Which class a key stands for; case does not matter."""
    return next((at for at, own in enumerate(keys) if key.lower() in own), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When a person answered, in seconds of any steady clock; corrections do not count."""

    times: tuple[float, ...] = ()

    def with_answer(self, now_s: float) -> Pace:
        """One more answer."""
        return Pace(times=(*self.times, now_s)[-_LAST - 1 :])

    @property
    def per_minute(self) -> float | None:
        """Labels a minute of work, over the last answers; None before the third."""
        gaps = [later - sooner for sooner, later in zip(self.times, self.times[1:], strict=False)]
        worked = [gap for gap in gaps if gap <= _PAUSE_S]
        if len(worked) < 2 or sum(worked) <= 0:
            return None
        return 60 * len(worked) / sum(worked)

    def left(self, count: int) -> str:
        """How long so many more labels take, in words; "" while nobody knows."""
        rate = self.per_minute
        return "" if rate is None or not count else _duration(60 * count / rate)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute left"
    if minutes < 90:
        return f"about {round(minutes)} min left"
    return f"about {minutes / 60:.1f} h left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far a list is."""

    n: int
    open: int
    undecided: int
    """Those of which a person could not tell."""
    of_class: Mapping[str, int]

    @property
    def done(self) -> int:
        """Images with an answer of any kind."""
        return self.n - self.open


def tally(answers: Sequence[str], *, cannot_tell: str) -> Tally:
    """Counts of the answers."""
    counts: dict[str, int] = {}
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    free, undecided = counts.pop("", 0), counts.pop(cannot_tell, 0)
    return Tally(n=len(answers), open=free, undecided=undecided, of_class=dict(sorted(counts.items())))
