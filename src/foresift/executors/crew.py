"""Workers that share the items of one job: as many as there is room for, and none of them is missed.

An item is a pure piece of work: whoever does it gives the same answer. The item of a worker that dies is done by
another one, so that a lost process, machine or connection costs time and nothing else.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from foresift.executors.child import LOOK_EVERY_S, ChildDiedError, StoppedError

TRIES = 3
"""Workers that one item may cost; it is to blame then."""


class Worker(Protocol):
    """A process somewhere that does one task at a time."""

    def ready(self, timeout_s: float) -> bool:
        """Whether it can be asked; waits so long at most.

        Raises:
            ForesiftError: it will never be.
        """
        ...

    def call(self, task: str, values: Mapping[str, Any], *, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """What it answers to a task.

        Raises:
            ForesiftError: of the kind that the task raised.
            StoppedError: ``should_stop`` said so.
            ChildDiedError: it ended without an answer.
        """
        ...

    def alive(self) -> bool:
        """Whether it can be asked again after a rest; soon answered."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Answer(NamedTuple):
    """Of the item with this number, counted from 0."""

    number: int
    values: dict[str, Any]


class Crew(ABC):
    """Workers of one kind; they stay between jobs. Use it as a context manager: leaving it ends them."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._guard = threading.Lock()

    @abstractmethod
    def room(self) -> int:
        """How many workers there may be now, 1 or more; it may change at any time."""

    @abstractmethod
    def hire(self) -> Worker:
        """A new worker, which need not be ready."""

    def lend(self, folder: Path, names: Sequence[str]) -> Any:  # noqa: ARG002 - where folders are shared
        """What goes into the values of a call, so that a worker has these files of a folder."""
        return str(folder.absolute())

    def share(
        self,
        task: str,
        items: Iterable[Mapping[str, Any]],
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Answer]:
        """The answers to all items, as they come.

        Args:
            items: drawn as workers become free, by several threads, one at a time.
        Raises:
            ForesiftError: what a task raised; the other items are given up.
            StoppedError: ``should_stop`` said so.
            ChildDiedError: an item cost three workers.
        """
        return _Shift(self, task, iter(items), should_stop).answers()

    def find(self, *, given_up: Callable[[], bool]) -> Worker | None:
        """An idle worker, else a new one as soon as it is ready; None once it is wanted no longer."""
        pending: Worker | None = None
        try:
            while not given_up():
                if (rested := self._rested()) is not None:
                    return rested
                pending = pending or self.hire()
                if pending.ready(LOOK_EVERY_S):
                    found, pending = pending, None
                    return found
            return None
        finally:
            if pending is not None:
                pending.kill()

    def _rested(self) -> Worker | None:
        """An idle worker; those that died while they rested are let go."""
        while True:
            with self._guard:
                if not self._idle:
                    return None
                worker = self._idle.pop()
            if worker.alive():
                return worker
            worker.kill()

    def rest(self, worker: Worker) -> None:
        """Keep a worker for the next item."""
        with self._guard:
            self._idle.append(worker)

    def close(self) -> None:
        """End every worker."""
        with self._guard:
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.kill()

    def __enter__(self) -> Self:
        """Workers are made when there is work."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End them."""
        self.close()


@dataclass(frozen=True, slots=True)
class _Item:
    number: int
    values: Mapping[str, Any]
    cost: int = 0
    """Workers that died of it."""


class _Shift:
    """One job: a thread for each worker takes items until there are none left."""

    def __init__(
        self, crew: Crew, task: str, items: Iterator[Mapping[str, Any]], should_stop: Callable[[], bool]
    ) -> None:
        self._crew, self._task, self._items, self._should_stop = crew, task, items, should_stop
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._answers: deque[Answer] = deque()
        self._failure: BaseException | None = None
        self._drawn = self._given = 0
        self._exhausted = self._over = False

    def answers(self) -> Iterator[Answer]:
        """Each answer once; ends when there is one for every item."""
        try:
            while (answer := self._next_answer()) is not None:
                yield answer
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            for thread in self._threads:
                thread.join()

    def _next_answer(self) -> Answer | None:
        while True:
            self._grow()
            with self._changed:
                if self._failure is not None:
                    raise self._failure
                if self._answers:
                    self._given += 1
                    self._changed.notify_all()
                    return self._answers.popleft()
                if self._exhausted and self._given == self._drawn:
                    return None
                self._changed.wait(LOOK_EVERY_S)
            if self._should_stop():
                raise StoppedError(f"{self._task} was stopped")

    def _grow(self) -> None:
        """A thread for every worker that there is room for."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while not self._exhausted and len(self._threads) < max(1, self._crew.room()):
            thread = threading.Thread(target=self._take_part, name="crew", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _take_part(self) -> None:
        worker: Worker | None = None
        try:
            while (item := self._next_item()) is not None:
                mine, worker = worker, None
                worker = self._done(item, mine)
                if worker is None:
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for answers
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()
        finally:
            if worker is not None:
                self._crew.rest(worker)

    def _done(self, item: _Item, worker: Worker | None) -> Worker | None:
        """Do an item, by as many workers as it takes; the last of them, or None if the job is over."""
        while True:
            try:
                worker = worker or self._crew.find(given_up=self._is_over)
                if worker is None:
                    return None
                values = worker.call(self._task, item.values, should_stop=self._is_over)
            except ChildDiedError as death:
                if worker is not None:
                    worker.kill()
                worker, item = None, replace(item, cost=item.cost + 1)
                if item.cost == TRIES:
                    raise ChildDiedError(f"{death}; {TRIES} workers were lost with the same piece of work") from None
                continue
            except StoppedError:
                if worker is not None:
                    worker.kill()
                return None
            except BaseException:
                if worker is not None:
                    self._crew.rest(worker)
                raise
            with self._changed:
                self._answers.append(Answer(item.number, values))
                self._changed.notify_all()
            return worker

    def _next_item(self) -> _Item | None:
        """The next one, when so many answers are taken that memory does not fill with them."""
        with self._changed:
            while not self._over and len(self._answers) > 2 * len(self._threads):
                self._changed.wait(LOOK_EVERY_S)
            if self._over or self._exhausted or self._failure is not None:
                return None
            values = next(self._items, None)
            if values is None:
                self._exhausted = True
                self._changed.notify_all()
                return None
            self._drawn += 1
            return _Item(self._drawn - 1, values)

    def _is_over(self) -> bool:
        return self._over or self._failure is not None
