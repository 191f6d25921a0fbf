"""Which frames of a day a device uploads: its quota, spent on the most informative frames it can know of.

A device does not know how many frames a day will have, nor how they will score. It sends a frame
at once when the frame scores among the best of what was seen lately, and holds the best of the
others until the day ends, when they fill what is left of the quota.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.errors import DataError, NonFiniteError, UsageError

WINDOW = 1024
"""Scores that the threshold is a quantile of; they are spread over about a day."""
_REFRESH = 32
"""Frames between two looks at the window: the quantile costs as much as scoring a few frames."""
_WEIGHT_OF_BEFORE = 0.5
"""Of what a day was expected to hold, beside what it held, in what the next is expected to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many frames of a day may be uploaded, and how they are spread over it."""

    per_day: int
    """Never exceeded; reached on every day that has as many distinct frames."""
    held_back: float = 0.25
    """Share that waits for the end of the day, when the best of the frames not sent is known."""
    burst: float = 0.05
    """Share that may be sent ahead of an even pace."""

    def __post_init__(self) -> None:
        if isinstance(self.per_day, bool) or not isinstance(self.per_day, int) or self.per_day < 1:
            raise UsageError(f"a quota is a whole number of frames a day, at least 1, got {self.per_day!r}")
        for name, share in (("held_back", self.held_back), ("burst", self.burst)):
            if not 0 <= share <= 1:
                raise UsageError(f"{name} is a share of the quota, within 0 .. 1, got {share!r}")

    @property
    def at_once(self) -> int:
        """Frames that may be sent before the day ends."""
        return math.floor((1 - self.held_back) * self.per_day)


class Verdict(NamedTuple):
    """What becomes of a frame, and which held ones had to go for it."""

    action: Literal["send", "hold", "drop"]
    released: tuple[str, ...] = ()


@dataclass(slots=True)
class UploadController:
    """The state of one device; every frame is offered once, in the order of time.

    Law: the frames sent and those held are together never more than the quota, whatever the scores
    are, so that the quota holds also when the day ends at any moment. O(log quota) a frame.
    """

    quota: Quota
    expected: float | None = None
    """Frames that the day is expected to have; None = unknown, then everything waits for the day's end."""
    window: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Up to ``WINDOW`` scores: of a calibration at first, then of this device."""
    sent: int = 0
    seen: int = 0
    threshold: float = math.inf
    _at: int = 0
    _stride: int = 1
    """Frames between two scores that are remembered."""
    _held: list[tuple[float, int, str]] = field(default_factory=list)
    """A heap of (score, minus the order of arrival, key): the first to go is the lowest, latest one."""

    @classmethod
    def calibrated(cls, quota: Quota, scores: Values, *, expected: float | None = None) -> UploadController:
        """A controller for a device that has seen nothing yet.

        Args:
            scores: (n,) of a pool like what the device will see; finite.
            expected: frames a day.
        """
        if not np.isfinite(scores).all():
            raise NonFiniteError("calibration scores are not all finite numbers")
        spread = np.sort(np.asarray(scores, dtype=np.float64))
        if len(spread) > WINDOW:
            spread = np.quantile(spread, (np.arange(WINDOW) + 0.5) / WINDOW)
        made = cls(quota=quota, expected=expected, window=np.random.default_rng(0).permutation(spread))
        made._look()
        return made

    @property
    def held(self) -> tuple[str, ...]:
        """Keys of the held frames, the best first."""
        return tuple(key for _, _, key in sorted(self._held, reverse=True))

    def score_of(self, key: str) -> float | None:
        """The score of a held frame; None if it is not held."""
        return next((score for score, _, held in self._held if held == key), None)

    def wants(self, score: float) -> bool:
        """Whether a frame of this score would be sent or held; changes nothing."""
        return self._sends(score) or self._keeps(score)

    def offer(self, key: str, score: float) -> Verdict:
        """Decide on a frame.

        Raises:
            NonFiniteError: the score is NaN or infinite.
        """
        if not math.isfinite(score):
            raise NonFiniteError(f"the score of frame {key} is not a finite number")
        sends, keeps = self._sends(score), self._keeps(score)
        order = -self.seen
        self.pass_by(score)
        if sends:
            self.sent += 1
            return Verdict("send", self._shrunk())
        if keeps:
            heapq.heappush(self._held, (score, order, key))
            return Verdict("hold", self._shrunk())
        return Verdict("drop")

    def pass_by(self, score: float) -> None:
        """Count a frame that is not up for a decision, such as a near-duplicate."""
        self.seen += 1
        if self.seen % self._stride == 0:
            self._remember(score)
        if self.seen % _REFRESH == 0:
            self._look()

    def withdraw(self, key: str) -> None:
        """Let go of a held frame."""
        self._held = [entry for entry in self._held if entry[2] != key]
        heapq.heapify(self._held)

    def close_day(self) -> tuple[str, ...]:
        """The held frames to send now, the best first; the next day begins.

        The day's number of frames becomes part of what the next day is expected to have.
        """
        last = self.held[: max(0, self.quota.per_day - self.sent)]
        if self.seen:
            before = float(self.seen) if self.expected is None else self.expected
            self.expected = _WEIGHT_OF_BEFORE * before + (1 - _WEIGHT_OF_BEFORE) * self.seen
        self._held, self.sent, self.seen = [], 0, 0
        self._look()
        return last

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "expected": self.expected,
            "window": self.window.tolist(),
            "sent": self.sent,
            "seen": self.seen,
            "at": self._at,
            "held": [list(entry) for entry in self._held],
        }

    @classmethod
    def from_dict(cls, quota: Quota, plain: Mapping[str, Any]) -> UploadController:
        """Inverse of :meth:`to_dict`, under a quota that may be another by now.

        Raises:
            DataError: not such a state.
        """
        try:
            made = cls(
                quota=quota,
                expected=None if plain["expected"] is None else float(plain["expected"]),
                window=np.asarray(plain["window"], dtype=np.float64),
                sent=int(plain["sent"]),
                seen=int(plain["seen"]),
            )
            made._at = int(plain["at"])
            made._held = [(float(score), int(order), str(key)) for score, order, key in plain["held"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not the state of an upload controller: {error}") from None
        heapq.heapify(made._held)
        made._look()
        return made

    def _sends(self, score: float) -> bool:
        return score >= self.threshold and self.sent < self._allowed()

    def _keeps(self, score: float) -> bool:
        room = self.quota.per_day - self.sent
        return len(self._held) < room or (room > 0 and score > self._held[0][0])

    def _allowed(self) -> int:
        """Frames that may have been sent by now: an even pace, and a little ahead of it."""
        if self.expected is None:
            return 0
        passed = min(1.0, self.seen / max(self.expected, 1))
        ahead = max(1.0, self.quota.burst * self.quota.per_day)
        return min(self.quota.at_once, math.floor(passed * self.quota.at_once + ahead))

    def _shrunk(self) -> tuple[str, ...]:
        """Keys of the held frames that the quota has no room for any more."""
        room = self.quota.per_day - self.sent
        return tuple(heapq.heappop(self._held)[2] for _ in range(max(0, len(self._held) - room)))

    def _remember(self, score: float) -> None:
        if len(self.window) < WINDOW:
            self.window = np.append(self.window, score)
            return
        self.window[self._at] = score
        self._at = (self._at + 1) % WINDOW

    def _look(self) -> None:
        """The threshold that lets through what is left to send, and never more than an even share.

        In a poor hour the threshold stays where the whole day puts it: what is not sent then is chosen
        at the end of the day among everything. In a rich one it rises, because less is left to send.
        """
        self._stride = max(1, round((self.expected or 0) / WINDOW))
        if self.expected is None or not len(self.window):
            self.threshold = math.inf
            return
        even = self.quota.at_once / max(self.expected, 1)
        left = (self.quota.at_once - self.sent) / max(self.expected - self.seen, 1)
        rate = min(even, left, 1.0)
        self.threshold = _upper(self.window, rate) if rate > 0 else math.inf


def _upper(scores: Values, share: float) -> float:
    """The score that at most this share of the others lies above: NumPy's quantile "higher", a tenth of its time."""
    rank = math.ceil((1 - share) * (len(scores) - 1))
    return float(np.partition(scores, rank)[rank])
