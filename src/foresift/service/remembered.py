"""Answers to queries: the same question about the same pool costs nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict

from foresift.wire.messages import SelectionView

MOST = 256


class Remembered:
    """Those that were asked for last; may be asked by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, SelectionView] = OrderedDict()

    def get(self, key: str) -> SelectionView | None:
        """The answer to a question, if it was given lately."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def keep(self, key: str, view: SelectionView) -> None:
        """It was given."""
        with self._lock:
            self._answers[key] = view
            while len(self._answers) > MOST:
                self._answers.popitem(last=False)

    def clear(self) -> None:
        """Another model answers from now on."""
        with self._lock:
            self._answers.clear()
