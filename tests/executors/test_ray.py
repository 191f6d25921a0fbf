"""Actors of a real cluster share a job as processes do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from foresift.core.errors import LabelError
from foresift.executors import ChildDiedError, Crew
from ray_cluster import cluster

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with cluster():
        from foresift.executors.ray import RayCrew

        with RayCrew("auto", tasks="crew_tasks") as two:
            yield two


@pytest.fixture(scope="module", autouse=True)
def tasks_for_actors() -> Iterator[None]:
    """Actors import the tasks by name, as they import ours."""
    here, before = str(Path(__file__).parent), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = here if before is None else f"{here}{os.pathsep}{before}"
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def test_there_is_room_for_an_actor_on_every_processor(crew: Crew) -> None:
    assert crew.room() == 2


def test_every_item_is_answered_once_by_two_actors_that_stay(crew: Crew) -> None:
    items = [{"value": value, "for_s": 0.1} for value in range(30)]
    answers = dict(crew.share("square", items))
    assert {number: one["value"] for number, one in answers.items()} == {n: n * n for n in range(30)}
    pids = {one["pid"] for _, one in crew.share("square", items)}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_arrays_and_files_reach_the_actors(crew: Crew, tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    (answer,) = crew.share("matrix", [{"matrix": matrix}])
    assert answer.values["twice"].tobytes() == (2 * matrix).tobytes()
    (tmp_path / "weights").write_bytes(b"12345")
    (answer,) = crew.share("files", [{"files": crew.lend(tmp_path, ["weights"]), "names": ["weights"]}])
    assert answer.values["sizes"] == {"weights": 5}


def test_an_item_whose_actor_was_killed_is_done_by_another(crew: Crew, tmp_path: Path) -> None:
    items = [{"value": value, "folder": str(tmp_path)} for value in range(5)]
    assert sorted(one.values["value"] for one in crew.share("die_once", items)) == list(range(5))
    with pytest.raises(ChildDiedError, match="3 workers were lost"):
        list(crew.share("die", [{}]))


def test_an_actor_killed_from_outside_in_the_middle_loses_no_item(crew: Crew) -> None:
    killed: list[int] = []
    values = []
    for _, answer in crew.share("square", [{"value": value, "for_s": 0.05} for value in range(40)]):
        values.append(answer["value"])
        if len(values) in (3, 12):
            killed.append(answer["pid"])
            os.kill(killed[-1], signal.SIGKILL)
    assert sorted(values) == sorted(value**2 for value in range(40))
    assert len(set(killed)) == 2


def test_an_error_comes_back_in_kind(crew: Crew) -> None:
    with pytest.raises(LabelError, match="no label at all"):
        list(crew.share("fail", [{}]))


def test_nothing_listens_beyond_this_machine_and_nothing_is_told(crew: Crew) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    list(crew.share("square", [{"value": 1}] * 2))
    me = psutil.Process()
    heard = {at.laddr for one in (me, *me.children(recursive=True)) for at in listening(one)}
    assert heard
    assert {at.ip.removeprefix("::ffff:") for at in heard} == {"127.0.0.1"}
    assert 8265 not in {at.port for at in heard}  # the dashboard's


def listening(process: psutil.Process) -> list[Any]:
    try:
        return [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


@pytest.mark.timeout(400)
def test_a_node_killed_in_the_middle_loses_no_item_and_hangs_nothing() -> None:
    pytest.importorskip("ray")
    script = str(Path(__file__).with_name("ray_nodes.py"))
    for _ in range(3):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=170, check=False)
        if "timed out during startup" not in done.stderr:  # of Ray on a busy machine
            break
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"killed"')]
    assert told == [{"killed": True, "right": True, "room": 2}]
