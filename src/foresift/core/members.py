"""What the members of an ensemble said, as one small state a sample that grows member by member and merges.

A state is a structured array of n rows. Its fields are means over the members, not sums:

    count     ()   uint16     e, members so far; 0 = none yet
    mean      (c,) float      mean probability of each class
    scatter   (c,) float      sum over members of the squared deviation from ``mean``
    entropy   ()   float      mean entropy of the members, in nats
    votes     (c,) uint16     members whose most probable class this is; equal ones vote for the lowest

Means are moved by their difference to what is merged in (Chan et al. 1983), so that members
which agree leave every one of them bit for bit as it was: their disagreement is 0, not rounding.
Merging is commutative and associative up to rounding (a few units in the last place), counts
and votes exactly; rows without members are neutral. Floats are float32 up to 1000 members
and float64 beyond, where float32 steps would get lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, Logits, Values
from foresift.core.errors import DataError, UsageError

State: TypeAlias = npt.NDArray[np.void]
"""(n,) rows of :func:`member_dtype`."""
Probabilities: TypeAlias = npt.NDArray[np.floating[Any]]
"""(n, c) rows that sum to 1."""
NARROW_MEMBERS = 1000
"""Up to this many members the means are float32."""
MOST_MEMBERS = int(np.iinfo(np.uint16).max)
_BLOCK_ELEMENTS = 1 << 18


def member_dtype(classes: int, *, members: int = 1) -> np.dtype[np.void]:
    """The row of a state; without padding, so that equal states have equal bytes.

    Raises:
        UsageError: no classes, or more members than votes can count.
    """
    if classes < 1 or members > MOST_MEMBERS:
        raise UsageError(f"members need 1 class or more and at most {MOST_MEMBERS} of them, got {classes}, {members}")
    number = "<f4" if members <= NARROW_MEMBERS else "<f8"
    wide = (classes,)
    return np.dtype(
        [
            ("mean", number, wide),
            ("scatter", number, wide),
            ("entropy", number),
            ("votes", "<u2", wide),
            ("count", "<u2"),
        ]
    )


@dataclass(frozen=True, slots=True)
class Members:
    """Typed names for the fields of a state; nothing is copied."""

    state: State

    def __post_init__(self) -> None:
        if not is_state(self.state):
            raise UsageError(f"members must be a state of core.members, got an array of {self.state.dtype}")

    def __len__(self) -> int:
        return len(self.state)

    @property
    def classes(self) -> int:
        """c."""
        return int(self.state.dtype["mean"].shape[0])

    @property
    def counts(self) -> npt.NDArray[np.uint16]:
        """(n,) e, the members of each sample."""
        return self.state["count"]

    @property
    def mean(self) -> Probabilities:
        """(n, c) probabilities of the consensus."""
        return self.state["mean"]

    @property
    def entropy(self) -> Values:
        """(n,) mean entropy of the members in nats."""
        return self.state["entropy"]

    @property
    def votes(self) -> npt.NDArray[np.uint16]:
        """(n, c) members that vote for each class."""
        return self.state["votes"]

    @property
    def variance(self) -> Probabilities:
        """(n, c) variance of each probability over the members (divided by e); no members give 0. Computed."""
        scatter = self.state["scatter"]
        return np.asarray(scatter / np.maximum(self.counts, 1).astype(scatter.dtype)[:, None])


def is_state(array: npt.NDArray[Any]) -> bool:
    """Whether an array is a state of some number of classes."""
    kind = array.dtype
    if array.ndim != 1 or kind.names != ("mean", "scatter", "entropy", "votes", "count") or not kind["mean"].shape:
        return False
    return kind in (member_dtype(kind["mean"].shape[0], members=e) for e in (1, MOST_MEMBERS))


def no_members(n: int, classes: int) -> State:
    """The neutral element: n samples that nobody has looked at."""
    return np.zeros(n, dtype=member_dtype(classes))


def one_member(logits: Logits, *, dtype: np.dtype[np.void] | None = None) -> State:
    """The state of a single member.

    Args:
        logits: (n, c), finite.
        dtype: of the state; by default the narrow one.
    Cost: O(n c) time and memory.
    """
    state = np.zeros(len(logits), dtype=dtype or member_dtype(logits.shape[1]))
    state["mean"] = _softmax(logits)
    state["entropy"] = entropy_of(state["mean"])
    state["votes"][np.arange(len(logits)), logits.argmax(axis=1)] = 1
    state["count"] = 1
    return state


def merge(first: State, second: State) -> State:
    """One state of the members of both, which must be different members; a new array.

    Args:
        first, second: (n,) the same samples in the same order.
    Raises:
        UsageError: other samples or classes, or more members than a state can count.
    Source: Chan, Golub and LeVeque 1983, the pairwise update of means and sums of squared deviations.
    """
    if Members(first).classes != Members(second).classes or len(first) != len(second):
        raise UsageError(f"states differ: {_described(first)} and {_described(second)}")
    members = _most(first) + _most(second)
    widest = max(first.dtype, second.dtype, key=lambda kind: kind.itemsize)
    narrow = member_dtype(Members(first).classes, members=members)
    merged = first.astype(max(widest, narrow, key=lambda kind: kind.itemsize))
    for rows in _blocks(merged):
        _merge_into(merged[rows], second[rows])
    return merged


def merge_samples(parts: Iterable[tuple[Ids, State]]) -> tuple[Ids, State]:
    """Ids ascending, and what the same members say of them, from parts of a pool in any order; exact.

    Members of the same samples are merged by :func:`merge`.

    Raises:
        UsageError: no parts, other classes, or a sample twice.
    """
    given = list(parts)
    if len({Members(state).classes for _, state in given}) != 1:
        raise UsageError("expected states of the same classes, one part or more")
    ids = np.concatenate([part for part, _ in given])
    order = np.argsort(ids, kind="stable")
    if (ids[order][1:] == ids[order][:-1]).any():
        raise UsageError("a sample occurs in two parts")
    widest = max((state.dtype for _, state in given), key=lambda kind: kind.itemsize)
    return ids[order], np.concatenate([state.astype(widest) for _, state in given])[order]


def add(state: State, logits: Logits) -> State:
    """The state with one more member: changed in place and given back; a wider copy after 1000 members.

    Args:
        state: (n,) writable; use what comes back instead of it.
        logits: (n, c) of the new member, finite; may be mapped from a file.
    Raises:
        UsageError: another shape, or more members than a state can count.
    Cost: O(n c) time; one block of rows in memory beside the state.
    """
    classes = Members(state).classes
    if logits.shape != (len(state), classes):
        raise UsageError(f"a member must have logits of shape {(len(state), classes)}, got {logits.shape}")
    kind = member_dtype(classes, members=_most(state) + 1)
    grown = state if state.dtype.itemsize >= kind.itemsize else state.astype(kind)
    for rows in _blocks(grown):
        _merge_into(grown[rows], one_member(logits[rows], dtype=grown.dtype))
    return grown


def state_of(members: Iterable[Logits], *, start: State | None = None) -> State:
    """The state of members that come one at a time: never more than one of them in memory.

    Args:
        members: (n, c) logits each; arrays, or an iterator that loads or computes them.
        start: (n,) a state to extend; it stays as it is.
    Raises:
        DataError: no members.
    """
    state = None if start is None else start.copy()
    for logits in members:
        state = add(no_members(*logits.shape) if state is None else state, logits)
        del logits  # before the next one is loaded
    if state is None:
        raise DataError("an ensemble needs at least one member")
    return state


def consensus(state: State) -> Probabilities:
    """(n, c) log of the mean probability: logits whose softmax is the consensus of the members.

    A probability that is 0 in floating point counts as the smallest normal number.
    """
    mean = Members(state).mean
    return np.log(np.maximum(mean, np.finfo(mean.dtype).tiny))


def as_numbers(state: State) -> npt.NDArray[np.float32]:
    """(n, 3 c + 2) the fields side by side, for stores that hold rows of numbers; a narrow state loses nothing.

    Raises:
        UsageError: a wide state, of more than 1000 members.
    """
    classes = Members(state).classes
    if state.dtype != member_dtype(classes):
        raise UsageError(f"rows of float32 hold states of up to {NARROW_MEMBERS} members, got a wider one")
    fields = [state[name] for name in state.dtype.names or ()]
    parts = [values if values.ndim == 2 else values[:, None] for values in fields]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def from_numbers(rows: npt.NDArray[np.float32]) -> State:
    """(n,) the state whose fields lie side by side in (n, 3 c + 2) rows: inverse of :func:`as_numbers`.

    Raises:
        UsageError: rows of another width.
    """
    classes, rest = divmod(rows.shape[1] - 2, 3)
    if rest or classes < 1:
        raise UsageError(f"a state of c classes has 3 c + 2 numbers a sample, got {rows.shape[1]}")
    state = no_members(len(rows), classes)
    at = 0
    for name in state.dtype.names or ():
        width = state.dtype[name].shape or (1,)
        state[name] = rows[:, at : at + width[0]].reshape(state[name].shape)
        at += width[0]
    return state


def entropy_of(probabilities: Probabilities) -> Values:
    """(n,) Shannon entropy of each row in nats, never below 0; rows need not sum to 1 exactly.

    Worked from ratios to the largest probability, so that it stays precise where one is close to 1.
    A row's result depends on that row alone, bit for bit.

    Args:
        probabilities: (n, c), 0 or more.
    """
    tiny = np.finfo(probabilities.dtype).tiny
    p = np.maximum(np.ascontiguousarray(probabilities), tiny)
    top = p.argmax(axis=1)
    ratios = p / p[np.arange(len(p)), top][:, None]
    terms = ratios * np.log(ratios)
    ratios[np.arange(len(p)), top] = 0
    rest = ratios.sum(axis=1)
    return np.asarray(np.log1p(rest) - terms.sum(axis=1) / (1 + rest))


def _merge_into(state: State, other: State) -> None:
    """Chan's update of a block of rows in place, in the state's own precision."""
    number = state["entropy"].dtype
    before, more = state["count"].astype(number), other["count"].astype(number)
    share = more / np.maximum(before + more, 1)
    step = other["mean"].astype(number) - state["mean"]
    state["scatter"] += other["scatter"] + step * step * (before * share)[:, None]
    state["mean"] += step * share[:, None]
    state["entropy"] += (other["entropy"].astype(number) - state["entropy"]) * share
    state["votes"] += other["votes"]
    state["count"] += other["count"]


def _softmax(logits: Logits) -> Probabilities:
    z = np.array(logits, dtype=np.promote_types(logits.dtype, np.float32), order="C")
    top = z.max(axis=1, keepdims=True)
    lowest = np.finfo(z.dtype).min
    with np.errstate(over="ignore", under="ignore"):  # -3e38 - 3e38 is as far below as -infinity
        weights = np.exp(np.maximum(np.subtract(z, top, out=z), lowest, out=z))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _blocks(state: State) -> Iterator[slice]:
    step = max(64, _BLOCK_ELEMENTS // Members(state).classes)
    return (slice(start, start + step) for start in range(0, len(state), step))


def _most(state: State) -> int:
    return int(state["count"].max(initial=0))


def _described(state: State) -> str:
    return f"{len(state)} samples of {Members(state).classes} classes"
