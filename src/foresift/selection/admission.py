"""Who is in and why others are not, while picks are looked at one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Query
from foresift.kernels.cosine import Floats, Mask, near_pairs, nearer_than
from foresift.selection.guards import Guards

CHUNK = 256
"""Picks whose distances to each other are computed at once."""


class Admission:
    """The state of one guarded selection: a pick is taken unless a guard objects.

    A veto is about picks taken before it, so the result is the greedy walk down the picks.
    """

    def __init__(self, query: Query, guards: Guards) -> None:
        self.taken: list[int] = []
        """Rows, in the order in which they were taken."""
        self.barred: dict[str, list[int]] = {}
        """Rows that were vetoed, by reason."""
        self._crowds = _crowds(query, guards)
        self._distance = guards.min_distance or 0.0
        self._matrix = query.matrix("embeddings") if guards.min_distance is not None else None
        self._vectors: list[Floats] = []
        self._unasked: list[Floats] = []
        """Vectors whose neighbours were not barred yet."""

    def take(self, rows: Rows) -> None:
        """Take rows without asking; later ones have to respect them."""
        for row in rows.tolist():
            self._accept(row)
        self._remember(rows.tolist())

    def walk(self, rows: Rows, limit: int) -> list[int]:
        """The first ``limit`` of ``rows`` that no guard objects to; those before them are barred.

        Cost: O(w k d) for w rows looked at and k taken.
        """
        accepted: list[int] = []
        for start in range(0, len(rows), CHUNK):
            if len(accepted) == limit:
                break
            accepted += self._walk_chunk(rows[start : start + CHUNK], limit - len(accepted))
        return accepted

    def bar_conflicts(self, open_rows: Mask) -> None:
        """Bar every open candidate that the next walk would veto in any case.

        Cost: O(n k d) for k rows taken since the last call, in blocks.
        """
        for crowd in self._crowds:
            self._bar(crowd.reason, np.flatnonzero(open_rows & crowd.full()), open_rows)
        if self._matrix is not None and self._unasked:
            rows, fresh = np.flatnonzero(open_rows), RowMatrix(array=np.concatenate(self._unasked))
            self._unasked = []
            near = nearer_than(self._matrix.subset(rows), fresh, self._distance)
            self._bar("near-pick", rows[near], open_rows)

    def _walk_chunk(self, rows: Rows, limit: int) -> list[int]:
        near_before, near_inside = self._nearness(rows)
        inside = np.zeros(len(rows), dtype=np.bool_)
        for at, row in enumerate(rows.tolist()):
            if inside.sum() == limit:
                break
            near = near_before[at] or bool((near_inside[at] & inside).any())
            if (reason := self._objection(row, near)) is None:
                self._accept(row)
                inside[at] = True
            else:
                self.barred.setdefault(reason, []).append(row)
        accepted: list[int] = rows[inside].tolist()
        self._remember(accepted)
        return accepted

    def _nearness(self, rows: Rows) -> tuple[Mask, Mask]:
        """(w,) which rows are too near to one taken before, (w, w) which to each other."""
        w = len(rows)
        if self._matrix is None:
            return np.zeros(w, dtype=np.bool_), np.zeros((w, w), dtype=np.bool_)
        vectors = self._matrix.take(rows)
        before = nearer_than(RowMatrix(array=vectors), self._known(), self._distance)
        return before, near_pairs(vectors, vectors, self._distance)

    def _objection(self, row: int, near: bool) -> str | None:
        if near:
            return "near-pick"
        return next((crowd.reason for crowd in self._crowds if crowd.is_full(row)), None)

    def _accept(self, row: int) -> None:
        self.taken.append(row)
        for crowd in self._crowds:
            crowd.add(row)

    def _remember(self, rows: list[int]) -> None:
        if self._matrix is not None and rows:
            vectors = self._matrix.take(rows)
            self._vectors.append(vectors)
            self._unasked.append(vectors)

    def _known(self) -> RowMatrix:
        """The vectors of the rows taken so far, in one piece."""
        if self._matrix is not None and not self._vectors:
            return RowMatrix(array=np.empty((0, self._matrix.width), dtype=np.float32))
        self._vectors = [np.concatenate(self._vectors)] if len(self._vectors) > 1 else self._vectors
        return RowMatrix(array=self._vectors[0])

    def _bar(self, reason: str, rows: Rows, open_rows: Mask) -> None:
        if rows.size:
            self.barred.setdefault(reason, []).extend(rows.tolist())
            open_rows[rows] = False


class _Crowd:
    """Kinds of candidates of which only so many may be picked."""

    def __init__(self, reason: str, kinds: npt.NDArray[np.integer[Any]], most: int) -> None:
        self.reason = reason
        self._kinds = kinds
        self._most = most
        self._counts = np.zeros(int(kinds.max(initial=-1)) + 1, dtype=np.intp)

    def add(self, row: int) -> None:
        """Count a pick; -1 is no kind."""
        if (kind := self._kinds[row]) >= 0:
            self._counts[kind] += 1

    def is_full(self, row: int) -> bool:
        """Whether a candidate's kind has as many picks as it may."""
        kind = self._kinds[row]
        return bool(kind >= 0 and self._counts[kind] >= self._most)

    def full(self) -> Mask:
        """(n,) which candidates' kinds are full."""
        return np.asarray((self._kinds >= 0) & np.append(self._counts >= self._most, False)[self._kinds])


def _crowds(query: Query, guards: Guards) -> list[_Crowd]:
    crowds = []
    if guards.max_per_group is not None:
        crowds.append(_Crowd("group-full", group_codes(query), guards.max_per_group))
    if guards.max_per_class is not None:
        crowds.append(_Crowd("class-full", predicted_classes(query), guards.max_per_class))
    return crowds


def group_codes(query: Query) -> npt.NDArray[np.intp]:
    """(n,) a number for each candidate's group, in order of name; -1 for those without one."""
    names, codes = np.unique(query.column("groups").astype(np.str_), return_inverse=True)
    return np.where(names[codes] == "", -1, codes).astype(np.intp)


def predicted_classes(query: Query) -> npt.NDArray[np.intp]:
    """(n,) the class of the largest logit, the lowest of equal ones; O(n c), one block of memory."""
    codes = np.empty(len(query), dtype=np.intp)
    for start, stop, rows in query.matrix("logits").blocks():
        codes[start:stop] = rows.argmax(axis=1)
    return codes
