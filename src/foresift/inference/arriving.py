"""The streaming pass over images that are still on their way: download → decode → infer → store, all at once.

Whoever has the bytes hands them over in an order that follows from the pool alone. Batches are cut from that order,
and so are shards: what a rerun finds missing, it puts into the same batches as before. Between any two stages lies a
queue of a few batches; a full one makes the stage before it wait, down to the downloads.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import Queue
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError
from foresift.inference.pipeline import ForwardPass, ForwardRunner, PassReport, Tools
from foresift.inference.shards import Task, Unshared

_NO_ROWS = np.zeros(0, dtype=np.intp)


class _Arrival(NamedTuple):
    uri: str
    digest: str
    data: bytes | None


class ArrivingPass(ForwardRunner):
    """A context in which images are added, one call each, by one thread; when it closes, everything is stored.

    A shard is stored in one append, as in any pass; when the context is left by an error, the shard that is not
    complete is dropped.
    """

    def __init__(self, job: ForwardPass, tools: Tools) -> None:
        """Look up what the store has; starts nothing.

        Args:
            job: its digests and uris do not count: they are what arrives.
        """
        nothing = replace(job, digests=np.zeros(0, dtype="<U40"), uris=np.zeros(0, dtype=np.str_))
        self.report = PassReport()
        super().__init__(nothing, tools, Unshared(), np.zeros(0, dtype=bool), self.report)
        self._tools_given = tools
        self._had = set(tools.store.known(job.producer).tolist())
        self._count = 0
        self._arrived: dict[int, _Arrival] = {}
        self._open: list[int] = []
        self._waiting: Task | None = None
        self._queue: Queue[tuple[Task, Future[Any]] | None] = Queue(self._workers)
        self._failure: BaseException | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ArrivingPass:
        """Start the stages."""
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._infer, name="infer", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Finish what arrived, or on an error drop what is not stored.

        Raises:
            ForesiftError: what went wrong in a stage.
        """
        if error is None and self._failure is None:
            self._end_batch(last=True)
        elif self._failure is None:
            self._failure = error
        self._queue.put(None)
        assert self._thread is not None and self._pool is not None  # noqa: S101, PT018 - entered
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)
        if self._failure is not None and self._failure is not error:
            raise self._failure

    def add(self, uri: str, digest: str, data: bytes | None) -> None:
        """The next image; waits while the stages are busy with those before it.

        Args:
            data: None = fetch it when its turn comes.
        Raises:
            ForesiftError: what went wrong in a stage; nothing more can be added.
        """
        if self._failure is not None:
            raise self._failure
        row, self._count = self._count, self._count + 1
        if row and row % self._job.shard_rows == 0:
            self._end_batch(last=True)
        if digest in self._had:
            return
        self._had.add(digest)
        self._arrived[row] = _Arrival(uri, digest, data)
        self._open.append(row)
        if len(self._open) == self._job.batch:
            self._end_batch(last=False)

    def _end_batch(self, *, last: bool) -> None:
        """Hand on the batch before this one, now that it is known whether another one follows in its shard."""
        fresh = bool(self._open)
        if self._waiting is not None and (fresh or last):
            self._hand_on(self._waiting, last=last and not fresh)
            self._waiting = None
        if not fresh:
            return
        rows, self._open = np.array(self._open, dtype=np.intp), []
        task = Task(int(rows[0]) // self._job.shard_rows, rows, last=False)
        if last:
            self._hand_on(task, last=True)
        else:
            self._waiting = task

    def _hand_on(self, task: Task, *, last: bool) -> None:
        assert self._pool is not None  # noqa: S101 - entered
        whole = replace(task, last=last)
        self._queue.put((whole, self._pool.submit(self._decode, whole)))

    def _infer(self) -> None:
        """The one thread that runs the engine and stores; after a failure it only empties the queue."""
        while (next_one := self._queue.get()) is not None:
            task, future = next_one
            if self._failure is not None:
                future.cancel()
                continue
            try:
                self._consume(task, future)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that adds
                self._failure = error

    def _store(self, shard: int) -> None:
        rows = [row for row in self._arrived if row // self._job.shard_rows == shard]
        super()._store(shard)
        for row in rows:
            del self._arrived[row]

    def _uri(self, row: int) -> str:
        return self._arrived[row].uri

    def _digests_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.str_]:
        return np.array([self._arrived[row].digest for row in rows.tolist()], dtype="<U40")

    def _fetch(self, row: int) -> bytes:
        uri, digest, data = self._arrived[row]
        self._arrived[row] = _Arrival(uri, digest, None)
        data = self._tools_given.fetch(uri) if data is None else data
        if digest_bytes(data) != digest:
            raise DataError("the file changed while the pool was being read; run again")
        return data
