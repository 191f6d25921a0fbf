"""The laws of records: what every store of a workspace promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from foresift.core.errors import StaleError, UnknownRecordError, UsageError
from foresift.core.jobs import Event, Job, Lease
from foresift.core.records import Entry, PoolSample, Records
from foresift.core.rounds import Run
from foresift.testing.examples import check_laws, hold
from foresift.testing.label_laws import LABEL_LAWS
from foresift.testing.records_case import MakeStore, StoreCase, answer, at_once, refused, round_of, run_of

_LONG_S, _SHORT_S, _PATIENCE_S = 3600.0, 0.05, 30.0


def check_records(make: MakeStore, *, laws: Iterable[str] | None = None) -> None:
    """Hold a store to the laws; each is tried on an empty one.

    Args:
        make: makes an empty store at every call.
        laws: names from ``RECORD_LAWS``; all of them by default.
    Raises:
        BrokenLawError: the first law that is broken.
    """
    for law in RECORD_LAWS if laws is None else laws:
        case = make()
        try:
            check_laws(RECORD_LAWS, case, only=[law])
        finally:
            case.first.close()
            case.second.close()


def added_once(case: StoreCase) -> None:
    """What is added twice is there once, as it is by now; another one of the same id is refused."""
    run = case.first.add_run(run_of(created_at="2026-01-01", by="me"))
    hold(run == run_of(created_at="2026-01-01", by="me"), "added-once", f"stored {run}")
    waiting = case.first.change_run(replace(run, state="waiting"))
    hold(case.second.add_run(run_of()) == waiting, "added-once", "a second addition changed it")
    refused("added-once", StaleError, lambda: case.first.add_run(replace(run_of(), config={})))
    refused("added-once", StaleError, lambda: case.first.add_run(replace(run_of(), pool="other")))
    refused("added-once", UsageError, lambda: case.first.add_run(replace(run_of("new"), version=3)))
    at_once(lambda _: case.second.add_run(run_of("many")))
    hold([one.id for one in case.first.runs()] == ["r", "many"], "added-once", "not each run once")


def fence(case: StoreCase) -> None:
    """A change of a version that is no longer stored does nothing."""
    old = case.first.add_run(run_of())
    new = case.second.change_run(replace(old, state="waiting", reason="people", trial={"round": 1}))
    hold(new.version == 1 and case.first.run("r") == new, "fence", f"stored {case.first.run('r')}")
    for version in (0, 2):
        late = replace(old, state="failed", version=version)
        refused("fence", StaleError, lambda late=late: case.first.change_run(late))  # type: ignore[misc]
    hold(case.first.run("r") == new, "fence", "a stale change was stored")
    again = case.first.change_run(replace(new, config={}, by="thief", state="finished", trial=None))
    hold(again.config == old.config and again.by == old.by, "fence", "what is fixed was changed")
    hold(again.state == "finished" and again.trial is None, "fence", "the change is not there")


def dropped(case: StoreCase) -> None:
    """A run that is over can be forgotten with its rounds, and begin anew; its labels and events stay."""
    run = case.first.add_run(run_of())
    case.first.add_run(run_of("other"))
    for name in ("r", "other"):
        case.first.add_round(replace(round_of(), run=name))
    case.first.add_labels([answer("s", "a")])
    case.first.add_events([Event(run="r", kind="told")])
    hold(not case.second.drop_run("r") and case.first.run("r") == run, "dropped", "one that goes on went")
    hold(not case.first.drop_run("nobody"), "dropped", "nobody went")
    case.first.change_run(replace(run, state="finished"))
    hold(case.second.drop_run("r"), "dropped", "it did not go")
    refused("dropped", UnknownRecordError, lambda: case.first.run("r"))
    hold(case.first.rounds("r") == () and len(case.first.rounds("other")) == 1, "dropped", "the wrong rounds went")
    kept = len(case.first.labels(run="r")), len(case.first.events("r"))
    hold(kept == (1, 1), "dropped", f"labels and events left: {kept}")
    hold(case.first.add_run(run_of()).version == 0, "dropped", "it does not begin anew")
    hold(case.first.add_round(round_of()).number == 1, "dropped", "its rounds do not begin anew")


def one_winner(case: StoreCase) -> None:
    """Of many who change the same version, one succeeds."""
    run, stores = case.first.add_run(run_of()), (case.first, case.second)

    def attempt(thread: int) -> bool:
        try:
            stores[thread % 2].change_run(replace(run, reason=str(thread)))
        except StaleError:
            return False
        return True

    won = at_once(attempt)
    hold(won.count(True) == 1, "one-winner", f"{won.count(True)} succeeded")
    hold(case.first.run("r").reason == str(won.index(True)), "one-winner", "the winner's change is not there")


def in_pages(case: StoreCase) -> None:
    """Runs come in the order of adding, by state, page by page."""
    for number in range(7):
        case.first.add_run(run_of(f"r{9 - number}", state="waiting" if number % 3 else "running"))
    names = [run.id for run in case.second.runs()]
    hold(names == [f"r{9 - number}" for number in range(7)], "in-pages", f"runs: {names}")
    hold([run.id for run in case.first.runs(state="running")] == ["r9", "r6", "r3"], "in-pages", "by state")
    page = case.first.runs(state="waiting", limit=2, after="r7")
    hold([run.id for run in page] == ["r5", "r4"], "in-pages", f"a page: {page}")
    refused("in-pages", UnknownRecordError, lambda: case.first.runs(after="nobody"))


def rounds_in_order(case: StoreCase) -> None:
    """Rounds follow each other without gaps; the same one added again is found, another one is refused."""
    refused("rounds-in-order", UnknownRecordError, lambda: case.first.add_round(round_of()))
    case.first.add_run(run_of())
    refused("rounds-in-order", StaleError, lambda: case.first.add_round(round_of(2)))
    first = case.first.add_round(round_of())
    ids = (3, "3", "é\ud800", -1)
    done = case.first.change_round(replace(first, state="labeling", selected=ids, metrics={"accuracy": 0.5}, quota=2))
    hold(done.selected == ids and done.version == 1, "rounds-in-order", f"stored {done}")
    hold(case.second.add_round(round_of()) == done, "rounds-in-order", "a second addition changed it")
    refused("rounds-in-order", StaleError, lambda: case.first.add_round(replace(round_of(), budget=4)))
    refused("rounds-in-order", StaleError, lambda: case.second.change_round(replace(first, state="done")))
    refused("rounds-in-order", UnknownRecordError, lambda: case.first.change_round(round_of(9)))
    at_once(lambda _: case.second.add_round(round_of(2, details={"arms": ["a"]})))
    hold(case.first.rounds("r") == (done, round_of(2, details={"arms": ["a"]})), "rounds-in-order", "other rounds")
    hold(case.first.rounds("nobody") == (), "rounds-in-order", "rounds of no run")


def own_values(case: StoreCase) -> None:
    """Whoever changes a mapping that he gave or got changes nothing that is stored; only plain values are taken."""
    config: dict[str, object] = {"list": [1]}
    case.first.add_run(Run(id="r", pool="p", config=config))
    config["list"] = "changed"
    got = case.first.run("r")
    got.config["list"].append(2)
    hold(case.first.run("r").config == {"list": [1]}, "own-values", "the stored mapping was changed")
    for value in (float("nan"), object(), {1, 2}):
        run = Run(id="bad", pool="p", config={"value": value})
        refused("own-values", UsageError, lambda run=run: case.first.add_run(run))  # type: ignore[misc]
    hold(len(case.first.runs()) == 1, "own-values", "a run with values that are not plain is there")


def unknown_records(case: StoreCase) -> None:
    """What is not there is said to be missing."""
    calls: list[Callable[[], object]] = [
        lambda: case.first.run("x"),
        lambda: case.first.job("x"),
        lambda: case.first.entry("pool", "x"),
        lambda: case.first.change_run(run_of("x")),
        lambda: case.first.change_job(Job(id="x", kind="k")),
    ]
    for call in calls:
        refused("unknown-records", UnknownRecordError, call)


def index_of_files(case: StoreCase) -> None:
    """Entries are registered once, and found by kind, id and run."""
    first = Entry(kind="pool", id="p1", values={"name": "digits"})
    second = Entry(kind="pool", id="p2", parents=("p1", "x"), run="r", at="2026-01-01")
    for entry in (first, second, Entry(kind="receipt", id="p1"), replace(first, values={})):
        case.first.register(entry)
    hold(case.second.entry("pool", "p1") == first, "index-of-files", "the second registration counted")
    hold(case.first.entries("pool") == (first, second), "index-of-files", "not the entries of the kind")
    hold(case.first.entries("pool", run="r") == (second,), "index-of-files", "not those of the run")
    hold(case.first.entries("pool", after="p1", limit=1) == (second,), "index-of-files", "not the next page")


def samples_of_pools(case: StoreCase) -> None:
    """Samples are remembered once, in order, apart for each pool."""
    given = [PoolSample(id=3, uri="u3", digest="d"), PoolSample(id="3", uri="\ud800"), PoolSample(id=1, uri="u1")]
    hold(case.first.add_samples("p", given) == 3, "samples-of-pools", "not all were new")
    hold(case.second.add_samples("p", [replace(given[0], uri="z")]) == 0, "samples-of-pools", "known, yet new")
    hold(case.first.add_samples("q", given[:1]) == 1, "samples-of-pools", "pools are not apart")
    hold(case.first.samples("p") == tuple(given), "samples-of-pools", "other samples")
    hold(case.first.samples("p", ids=[1, 9, 3]) == (given[0], given[2]), "samples-of-pools", "not by id")
    hold(case.first.samples("p", uris={"u1", "\ud800", "u"}) == tuple(given[1:]), "samples-of-pools", "not by address")
    same = [PoolSample(id=f"s{number}", uri="u1") for number in range(2)]
    hold(case.first.add_samples("p", [*same, *same]) == 2, "samples-of-pools", "given twice at once, yet twice new")
    at_u1 = (given[2], *same)
    hold(case.second.samples("p", uris=["u1"]) == at_u1, "samples-of-pools", "not all at an address")
    hold(case.second.samples("p", uris=["u1"], after=1, limit=1) == (same[0],), "samples-of-pools", "no page of them")
    hold(case.first.samples("p", ids=[1, 3], uris=["u1"]) == (given[2],), "samples-of-pools", "not by both")
    hold(case.first.samples("p", uris=[]) == () == case.first.samples("p", ids=[]), "samples-of-pools", "none asked")
    hold(case.first.samples("q", uris=["u1"]) == (), "samples-of-pools", "of another pool")
    hold(case.first.samples("p", after=3, limit=1) == (given[1],), "samples-of-pools", "not the next page")
    counts = [case.first.count_samples(pool) for pool in ("p", "q", "nowhere")]
    hold(counts == [5, 1, 0], "samples-of-pools", f"counts {counts}")


def one_holder(case: StoreCase) -> None:
    """Of many who want a key, one gets it, keeps it, and gives it back."""
    stores = (case.first, case.second)
    taken = [lease for lease in at_once(lambda n: stores[n % 2].acquire("k", f"w{n}", ttl_s=_LONG_S)) if lease]
    hold(len(taken) == 1, "one-holder", f"{len(taken)} hold it")
    lease = taken[0]
    hold(case.first.holder("k") == lease.holder, "one-holder", "somebody else is said to hold it")
    again = case.first.acquire("k", lease.holder, ttl_s=_LONG_S)
    hold(again is not None and again.token == lease.token, "one-holder", "the holder can't take it again")
    hold(case.second.renew(lease, ttl_s=_LONG_S).token == lease.token, "one-holder", "the token moved")
    case.second.release(lease)
    hold(case.first.holder("k") is None, "one-holder", "given back, yet held")
    refused("one-holder", StaleError, lambda: case.first.renew(lease, ttl_s=1.0))
    following = case.first.acquire("k", "next", ttl_s=_LONG_S)
    hold(following is not None and following.token > lease.token, "one-holder", "the token did not grow")
    case.first.release(lease)
    hold(case.first.holder("k") == "next", "one-holder", "a former holder gave back what is not his")
    refused("one-holder", UsageError, lambda: case.first.acquire("k", "", ttl_s=1.0))
    refused("one-holder", UsageError, lambda: case.first.acquire("k", "w", ttl_s=0.0))


def taken_over(case: StoreCase) -> None:
    """A lease that ran out goes to the next one, and its former holder finds out."""
    dead = case.first.acquire("k", "dead", ttl_s=_SHORT_S)
    hold(dead is not None, "taken-over", "nobody held it")
    assert dead is not None  # noqa: S101
    heir = _soon(case.second, "k", "heir")
    hold(heir.token > dead.token, "taken-over", "the token did not grow")
    refused("taken-over", StaleError, lambda: case.first.renew(dead, ttl_s=_LONG_S))
    hold(case.first.acquire("k", "dead", ttl_s=_LONG_S) is None, "taken-over", "the former holder got it back")


def jobs_and_their_state(case: StoreCase) -> None:
    """Jobs are fenced as runs are, found by kind and state, and dropped once they are over."""
    jobs = [case.first.add_job(Job(id=f"j{n}", kind="k" if n else "l", request={"n": n}, at="t")) for n in range(4)]
    hold(case.second.add_job(jobs[0]) == jobs[0], "jobs", "a second addition changed it")
    refused("jobs", StaleError, lambda: case.first.add_job(Job(id="j1", kind="k", request={"n": 2})))
    done = case.first.change_job(replace(jobs[1], state="done", progress={"done": 1}, answer={"x": [1]}, holder="w"))
    refused("jobs", StaleError, lambda: case.second.change_job(jobs[1]))
    hold(case.second.job("j1") == replace(done, version=1), "jobs", "not as it was changed")
    hold([job.id for job in case.first.jobs(state="queued", kind="k")] == ["j2", "j3"], "jobs", "by kind and state")
    hold([job.id for job in case.first.jobs(after="j1", limit=1)] == ["j2"], "jobs", "not the next page")
    case.first.add_events([Event(run=name, kind="told") for name in ("j1", "j2")])
    hold(case.first.drop_jobs(["j1", "j2", "nobody"]) == 1, "jobs", "not those that are over were dropped")
    left = [job.id for job in case.second.jobs()]
    hold(left == ["j0", "j2", "j3"], "jobs", f"left {left}")
    counts = [len(case.first.events(name)) for name in ("j1", "j2")]
    hold(counts == [0, 1], "jobs", "events of the wrong jobs went")


def events_without_gaps(case: StoreCase) -> None:
    """Events are numbered from 1 in each run, whoever writes; none is lost."""
    stores = (case.first, case.second)
    at_once(lambda n: stores[n % 2].add_events([Event(run="r", kind="k", values={"n": n}), Event(run="s", kind="k")]))
    found = case.first.events("r")
    hold([event.number for event in found] == list(range(1, 9)), "events", f"numbers {found}")
    hold({event.values["n"] for event in found} == set(range(8)), "events", "an event is lost")
    hold(len(case.first.events("s")) == 8, "events", "an event of the other run is lost")
    hold(case.second.events("r", after=3, limit=2) == found[3:5], "events", "not the next page")
    hold(case.first.events("nobody") == (), "events", "events of nobody")


def all_or_nothing(case: StoreCase) -> None:
    """A transaction that fails leaves nothing; one inside of another may fail alone."""
    store = case.first
    refused("all-or-nothing", ZeroDivisionError, lambda: _half(store, "lost"))
    hold(store.runs() == () and store.events("lost") == (), "all-or-nothing", "half a transaction is there")
    with store.transaction():
        store.add_run(run_of("kept"))
        refused("all-or-nothing", ZeroDivisionError, lambda: _half(store, "lost"))
        refused("all-or-nothing", StaleError, lambda: store.add_run(replace(run_of("kept"), pool="other")))
        store.add_events([Event(run="kept", kind="k")])
    hold([run.id for run in case.second.runs()] == ["kept"], "all-or-nothing", "other runs")
    hold(len(case.second.events("kept")) == 1, "all-or-nothing", "what came after the failure is lost")


def _half(store: Records, name: str) -> None:
    with store.transaction():
        store.add_run(run_of(name))
        store.add_events([Event(run=name, kind="k")])
        raise ZeroDivisionError


def _soon(store: Records, key: str, holder: str) -> Lease:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        lease = store.acquire(key, holder, ttl_s=_LONG_S)
        if lease is not None:
            return lease
    raise TimeoutError(f"the lease on {key} does not run out")


RECORD_LAWS: Mapping[str, Callable[[StoreCase], None]] = {
    "added-once": added_once,
    "fence": fence,
    "dropped": dropped,
    "one-winner": one_winner,
    "in-pages": in_pages,
    "rounds-in-order": rounds_in_order,
    "own-values": own_values,
    "unknown-records": unknown_records,
    "index-of-files": index_of_files,
    "samples-of-pools": samples_of_pools,
    "one-holder": one_holder,
    "taken-over": taken_over,
    "jobs": jobs_and_their_state,
    "events": events_without_gaps,
    "all-or-nothing": all_or_nothing,
    **LABEL_LAWS,
}
"""Laws by name, from causes to consequences."""
