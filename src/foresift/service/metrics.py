"""What Prometheus may ask: requests, jobs, stages, images, caches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from foresift.service.diary import Seen

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server."""

    def __init__(self, jobs: Callable[[], Mapping[str, int]]) -> None:
        """``jobs`` tells how many jobs are in each state."""
        self._registry = CollectorRegistry()
        here = self._registry
        self._requests = Counter(
            "foresift_requests", "Requests that were answered.", ("protocol", "call", "status"), registry=here
        )
        self._seconds = Histogram(
            "foresift_request_seconds", "Time until the answer.", ("protocol", "call"), buckets=_SECONDS, registry=here
        )
        self._answers = Counter(
            "foresift_selections", "Selections, by whether they were known.", ("cache",), registry=here
        )
        self._images = Counter(
            "foresift_images", "Images of passes, by what became of them.", ("outcome",), registry=here
        )
        self._pace = Gauge("foresift_images_per_second", "Images a second that the last pass inferred.", registry=here)
        self._stages = Counter("foresift_stage_seconds", "Time spent in each stage of jobs.", ("stage",), registry=here)
        self._uploads = Counter("foresift_upload_bytes", "Bytes that clients sent as images.", registry=here)
        self._registry.register(_Jobs(jobs))

    def seen(self, seen: Seen) -> None:
        """A request was answered."""
        call = seen.call or "other"
        self._requests.labels(seen.protocol, call, str(seen.status)).inc()
        self._seconds.labels(seen.protocol, call).observe(seen.seconds)

    def selected(self, cache: str) -> None:
        """A selection was answered: ``hit`` or ``miss``."""
        self._answers.labels(cache).inc()

    def passed(self, *, inferred: int, stored: int, quarantined: int, seconds: float) -> None:
        """A pass is over."""
        for outcome, count in (("inferred", inferred), ("stored", stored), ("quarantined", quarantined)):
            self._images.labels(outcome).inc(count)
        if inferred:
            self._pace.set(inferred / max(seconds, 1e-9))

    def stage(self, name: str, seconds: float) -> None:
        """A stage of a job is over."""
        self._stages.labels(name).inc(seconds)

    def uploaded(self, size_bytes: int) -> None:
        """An image came."""
        self._uploads.inc(size_bytes)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


class _Jobs:
    """Jobs by state and the length of the queue, counted when somebody asks."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Any]:
        counts = self._counts()
        jobs = GaugeMetricFamily(
            "foresift_jobs", "Jobs by state, as far as the server has them in mind.", labels=["state"]
        )
        for state, count in counts.items():
            jobs.add_metric([state], count)
        depth = GaugeMetricFamily(
            "foresift_queue_depth", "Jobs that wait for their turn.", value=counts.get("queued", 0)
        )
        return (jobs, depth)
