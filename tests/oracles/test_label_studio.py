"""Label Studio both ways, against a real server: ranked tasks out once, every annotation in, whatever happens to it."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import command
from foresift.app.runs.oracles import gather
from foresift.app.workspace import Workspace
from foresift.core.errors import OracleError, UsageError
from foresift.core.labels import CANNOT_TELL
from foresift.core.oracles import SEGMENTATION, Desk, Inquiry, Question
from foresift.core.rounds import Run
from foresift.cycle.labels import Terms, agreement, verdicts
from foresift.oracles.label_studio import LabelStudio, Project
from foresift.stores.records.memory import MemoryRecords
from label_studio_server import OWNER, TOKEN, LabelStudioServer, image_of
from oracle_desks import desk

pytestmark = pytest.mark.timeout(900)
CLASSES = ("cat", 'dog & "puppy"', "cow")
_RUNS = iter(range(1_000_000))


class Scene:
    """A run with three samples at a server; one of them has a number as id."""

    def __init__(self, server: LabelStudioServer, folder: Path) -> None:
        self.server = server
        self.run = f"run-{next(_RUNS)}"
        self.folder = folder
        self.ids: tuple[str | int, ...] = ("a", 7, "b#0,0,4,4")
        for number in range(len(self.ids)):
            (self.folder / f"{number}.png").write_bytes(_png(number, side=8))

    @property
    def desk(self) -> Desk:
        return replace(desk(self.folder), run=self.run, keep=self.keep)

    def keep(self, data: bytes) -> str:
        (self.folder / "mask.png").write_bytes(data)
        return "mask.png"

    def project(self, **settings: object) -> Project:
        return Project(settings=LabelStudio(url=self.server.url, **settings), desk=self.desk)  # type: ignore[arg-type]

    def inquiry(self, number: int = 1, *, classes: tuple[str, ...] = CLASSES, samples: int = 3) -> Inquiry:
        questions = tuple(
            Question(sample_id=sample, uri=str(self.folder / f"{row}.png"), rank=row + 1, score=1 / (row + 1))
            for row, sample in enumerate(self.ids[:samples])
        )
        return Inquiry(run=self.run, pool="pool", round=number, questions=questions, classes=classes)

    @property
    def tasks(self) -> list[dict[str, object]]:
        return self.server.tasks(self.run)


def _png(seed: int, *, side: int) -> bytes:
    import io

    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def scene(label_studio: LabelStudioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    return Scene(label_studio, tmp_path)


def said(project: Project, inquiry: Inquiry, since: str = "") -> dict[str | int, str]:
    return {one.sample_id: one.value for one in project.collect(inquiry, since=since).labels}


def test_tasks_go_out_once_with_image_rank_and_score(scene: Scene) -> None:
    scene.project().send(scene.inquiry())
    scene.project().send(scene.inquiry())
    scene.project().send(scene.inquiry(2))
    tasks = scene.tasks
    assert [task["data"]["rank"] for task in tasks] == [1, 2, 3]
    assert [task["data"]["score"] for task in tasks] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [task["meta"]["foresift"]["sample_id"] for task in tasks] == list(scene.ids)
    assert image_of(tasks[1]) == (scene.folder / "1.png").read_bytes()
    assert tasks[2]["data"]["region"] == [0, 0, 4, 4]


def test_before_anything_was_sent_nothing_is_answered(scene: Scene) -> None:
    assert scene.project().collect(scene.inquiry()) == ((), "", ())


def test_annotations_come_in_by_sample_id_once_stored_whatever_is_repeated(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    for task, name in zip(scene.tasks, CLASSES, strict=True):
        scene.server.choose(task, name)
    records = MemoryRecords()
    records.add_run(Run(id=scene.run, pool="pool"))
    terms = Terms(asked=dict.fromkeys(scene.ids, 1), classes=CLASSES)
    first = gather(records, project, scene.inquiry(), terms)
    assert first.new == 3
    assert gather(records, scene.project(), scene.inquiry(), terms, since=first.cursor).new == 0
    assert gather(records, scene.project(), scene.inquiry(), terms).new == 0, "read again from the start"
    stored = records.labels(run=scene.run)
    assert {one.sample_id: one.value for one in stored} == dict(zip(scene.ids, CLASSES, strict=True))
    assert {(one.annotator, one.round) for one in stored} == {(OWNER, 1)}


def test_a_changed_annotation_is_a_correction_and_history_is_kept(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    annotation = scene.server.choose(scene.tasks[0], "cat")
    records, terms = MemoryRecords(), Terms()
    records.add_run(Run(id=scene.run, pool="pool"))
    since = gather(records, project, scene.inquiry(), terms).cursor
    for name in ("cow", "cat"):
        scene.server.change(annotation, name)
        since = gather(records, project, scene.inquiry(), terms, since=since).cursor
    assert [one.value for one in records.labels(run=scene.run)] == ["cat"]
    assert [one.value for one in records.labels(run=scene.run, current=False)] == ["cat", "cow", "cat"]


def test_what_labelers_skip_or_mark_can_not_be_told(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    first, second, _ = scene.tasks
    scene.server.annotate(first, [], was_cancelled=True)
    scene.server.choose(second, CANNOT_TELL)
    assert said(project, scene.inquiry()) == {"a": CANNOT_TELL, 7: CANNOT_TELL}


def test_several_labelers_are_several_annotators(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    bob = scene.server.person(f"bob.{scene.run}@example.org")
    first, second, _ = scene.tasks
    scene.server.choose(first, "cat")
    scene.server.choose(first, "cow", by=bob)
    scene.server.choose(second, "cow", by=bob)
    scene.server.choose(second, "cow")
    labels = project.collect(scene.inquiry()).labels
    assert {one.annotator for one in labels} == {OWNER, f"bob.{scene.run}@example.org"}
    assert agreement(labels).share == 0.5
    assert verdicts(labels)["a"].value == "cat"


def test_an_answer_that_names_no_class_or_two_is_told(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    scene.server.annotate(scene.tasks[0], [])
    scene.server.choose(scene.tasks[1], "cat", "cow")
    found = project.collect(scene.inquiry())
    assert found.labels == ()
    assert sorted(one.reason for one in found.refused) == [
        "expected one class, got 'cat', 'cow'",
        "expected one class, got none",
    ]


def test_only_what_changed_is_asked_for_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foresift.oracles.label_studio.OVERLAP_S", 0.0)
    project = scene.project()
    project.send(scene.inquiry())
    first, second, _ = scene.tasks
    scene.server.choose(first, "cat")
    cursor = project.collect(scene.inquiry()).cursor
    scene.server.choose(second, "cow")
    later = project.collect(scene.inquiry(), since=cursor)
    assert {one.sample_id: one.value for one in later.labels}[7] == "cow"
    assert said(project, scene.inquiry(), later.cursor) == {7: "cow"}, "the last one of all is seen again, no other"


def test_a_clock_that_went_back_loses_nothing(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    scene.server.choose(scene.tasks[0], "cat")
    assert said(project, scene.inquiry(), "2099-01-01T00:00:00.000000Z") == {"a": "cat"}


def test_a_class_that_came_up_since_is_offered_and_answers_stay(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry(classes=("cat",), samples=1))
    scene.server.choose(scene.tasks[0], "cat")
    project.send(scene.inquiry(2, classes=("cat", "horse")))
    scene.server.choose(scene.tasks[1], "horse")
    assert said(project, scene.inquiry()) == {"a": "cat", 7: "horse"}


def test_tasks_of_others_in_a_shared_project_are_left_alone(scene: Scene) -> None:
    page = '<View><Image name="i" value="$image"/><Choices name="c" toName="i"><Choice value="x"/></Choices></View>'
    number = scene.server.call("POST", "/api/projects/", {"title": scene.run, "label_config": page})["id"]
    scene.server.call("POST", f"/api/projects/{number}/import", [{"data": {"image": "https://example.org/1.png"}}])
    project = scene.project(project=number)
    project.send(scene.inquiry())
    tasks = scene.server.call("GET", f"/api/tasks/?project={number}&fields=all")["tasks"]
    assert len(tasks) == 4
    for task in tasks[:2]:
        result = [{"from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": ["x"]}}]
        scene.server.annotate(task, result)
    assert said(project, scene.inquiry()) == {"a": "x"}


def test_a_server_that_is_down_loses_nothing(scene: Scene) -> None:
    project = scene.project()
    project.send(scene.inquiry())
    scene.server.choose(scene.tasks[0], "cat")
    scene.server.stop()
    try:
        with pytest.raises(OracleError, match="can't be reached"):
            project.collect(scene.inquiry())
        with pytest.raises(OracleError, match="can't be reached"):
            project.send(scene.inquiry())
    finally:
        scene.server.start()
    project.send(scene.inquiry())
    assert len(scene.tasks) == 3
    assert said(project, scene.inquiry()) == {"a": "cat"}


def test_the_token_is_asked_for_refused_and_never_told(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "feedfacefeedfacefeedfacefeedfacefeedface"
    (tmp_path / "token").write_text(secret + "\n")
    wrong = scene.project(token_file=str(tmp_path / "token"))
    with pytest.raises(OracleError, match="refuses the token") as refused:
        wrong.send(scene.inquiry())
    assert secret not in str(refused.value) + repr(wrong) + repr(vars(wrong)) + caplog.text
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(UsageError, match="environment variable LABEL_STUDIO_API_KEY"):
        scene.project()
    with pytest.raises(UsageError, match="can't be read"):
        scene.project(token_file=str(tmp_path / "none"))


def test_a_personal_access_token_is_exchanged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    personal = scene.server.call("POST", "/api/token/")["token"]
    assert personal.count(".") == 2
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", personal)
    project = scene.project()
    project.send(scene.inquiry())
    scene.server.choose(scene.tasks[0], "cat")
    assert said(project, scene.inquiry()) == {"a": "cat"}
    project._client._access += "x"  # as if it had run out
    assert said(project, scene.inquiry()) == {"a": "cat"}


def test_large_images_are_served_by_the_server_itself(scene: Scene) -> None:
    served = scene.server.images / f"{scene.run}.png"
    served.write_bytes(_png(1, side=600))
    question = Question(sample_id="a", uri=str(served), rank=1)
    inquiry = replace(scene.inquiry(), questions=(question,))
    with pytest.raises(UsageError, match="LOCAL_FILES_SERVING_ENABLED"):
        scene.project().send(inquiry)
    scene.project(root=str(scene.server.served)).send(inquiry)
    address = scene.server.url + scene.tasks[0]["data"]["image"]
    request = urllib.request.Request(address, headers={"Authorization": f"Token {TOKEN}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.read() == served.read_bytes()


def test_polygons_become_masks(scene: Scene) -> None:
    project = scene.project()
    inquiry = replace(scene.inquiry(), task=SEGMENTATION)
    project.send(inquiry)
    corners = [[0, 0], [50, 0], [50, 100], [0, 100]]
    size = {"original_width": 8, "original_height": 8}
    value = {"points": corners, "polygonlabels": ["cow"]}
    drawing = {"from_name": "polygon", "to_name": "image", "type": "polygonlabels", "value": value, **size}
    scene.server.annotate(scene.tasks[0], [drawing])
    assert said(project, inquiry) == {"a": "mask.png"}
    mask = np.asarray(Image.open(scene.folder / "mask.png"))
    assert (mask[:, :4] == 2).all()
    assert (mask[:, 5:] == 255).all()


def test_without_classes_it_says_what_to_give(scene: Scene) -> None:
    with pytest.raises(UsageError, match=r"classes=cat\|dog"):
        scene.project().send(scene.inquiry(classes=()))
    scene.project(classes="yes|no").send(scene.inquiry(classes=()))
    assert len(scene.tasks) == 3


def test_a_run_waits_for_label_studio_and_goes_on(
    label_studio: LabelStudioServer, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    home = tmp_path / "home"
    (tmp_path / "run.yaml").write_text(
        f"pool: {pool}\noracle: label-studio:url={label_studio.url},classes=even|odd\nmodel: mlp:4\nstrategy: random\n"
        "rounds: 1\nbudget: 4\nevaluation: none\nrecipe: {epochs: 1}\n"
    )
    waiting = command("run", tmp_path / "run.yaml", "--json", home=home).json
    (run,) = Workspace.open(home).records().runs(state="waiting")
    tasks = label_studio.tasks(run.id)
    assert [task["meta"]["foresift"]["sample_id"] for task in tasks] == waiting["rounds"][0]["selected"]
    for task in tasks[:3]:
        label_studio.choose(task, "even" if int(Path(task["data"]["uri"]).name[0]) % 2 == 0 else "odd")
    label_studio.annotate(tasks[3], [], was_cancelled=True)
    done = command("run", tmp_path / "run.yaml", "--json", home=home).json
    assert (done["rounds"][0]["labels"], done["rounds"][0]["selected"]) == (3, waiting["rounds"][0]["selected"])
    assert Workspace.open(home).records().run(run.id).state == "finished"
