"""Label Studio: a round's questions become tasks of a project, its annotations become labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foresift.core.errors import DataError, OracleError, UsageError
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.oracles import SEGMENTATION, Answers, Desk, Inquiry, Oracle, Question, Refusal
from foresift.core.rounds import SampleId
from foresift.oracles.label_studio_client import Client, read_token, shifted
from foresift.oracles.label_studio_masks import drawn_mask
from foresift.oracles.label_studio_pages import classes_on, image_address, page_of, served_folders, task_of
from foresift.oracles.registry import oracle

NAME = "label-studio"
BATCH = 100
"""Tasks that are sent at once."""
BATCH_CHARS = 16_000_000
"""Characters of images that are sent at once, but one image at least."""
OVERLAP_S = 300.0
"""So much of what was seen is asked for again: an answer may be stored later than it was stamped."""
_LONGEST_TITLE = 50
_TASK_FIELDS = "id,meta,updated_at,annotations,result,was_cancelled,completed_by"
"""Of tasks and of the annotations in them; above all not ``data``, which holds the images."""


@oracle(NAME)
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudio:
    """People who label in a Label Studio project, one project a run."""

    url: str = "http://localhost:8080"
    project: int = 0
    """Number of a project whose labeling page is set up already; 0 = one is made for the run."""
    token_env: str = "LABEL_STUDIO_API_KEY"  # noqa: S105 - the name of a variable
    """Environment variable with the access token."""
    token_file: str = ""
    """File with the access token, in place of the variable."""
    root: str = ""
    """Folder from which the server serves local files (its LOCAL_FILES_DOCUMENT_ROOT)."""
    classes: str = ""
    """What may be answered, such as ``cat|dog``, for runs that know no classes yet."""
    timeout: float = 30.0
    """Seconds to wait for the server."""

    def open(self, desk: Desk) -> Oracle:
        """The oracle for one run.

        Raises:
            UsageError: no token, or an address that is none.
        """
        return Project(settings=self, desk=desk)


class Project:
    """The project of a run.

    A task is known by run and sample id, so that nothing is sent twice. What labelers skip is ``cannot-tell``, each
    labeler is an annotator, and an annotation that is changed later is a correction.
    """

    name = NAME

    def __init__(self, settings: LabelStudio, desk: Desk) -> None:
        """Read the token; nothing is sent yet."""
        self._settings = settings
        self._desk = desk
        token = read_token(settings.token_env, settings.token_file)
        self._client = Client(settings.url, token, timeout_s=settings.timeout)
        self._there: set[SampleId] = set()
        self._root = str(Path(settings.root).expanduser().absolute()) if settings.root else ""

    def send(self, inquiry: Inquiry) -> None:
        """Make tasks of the questions that the project does not hold yet, the most wanted first.

        Raises:
            OracleError: the server can't be reached or refuses.
            UsageError: the classes are not known, or an image can't be shown.
        """
        project = self._found() or self._made(inquiry)
        self._offer_classes(project, inquiry)
        if self._there.issuperset(one.sample_id for one in inquiry.questions):
            return
        self._there = set(self._sent(project["id"]))
        fresh = [one for one in inquiry.questions if one.sample_id not in self._there]
        self._serve(project["id"], fresh)
        for batch in self._batches(fresh, inquiry):
            self._client.send("POST", f"/api/projects/{project['id']}/import", batch)

    def collect(self, inquiry: Inquiry, *, since: str = "") -> Answers:
        """Annotations of this run's tasks that are new or were changed after ``since``.

        Raises:
            OracleError: the server can't be reached or refuses.
        """
        if (project := self._found()) is None:
            return Answers((), since)
        tasks = list(self._annotated(project["id"], since))
        names = self._people() if tasks else {}
        labels: list[tuple[str, int, LabelRecord]] = []
        refused: list[Refusal] = []
        for task in tasks:
            for one in task["annotations"]:
                try:
                    labels.append((one["updated_at"], one["id"], self._label(one, task, inquiry, names)))
                except DataError as error:
                    refused.append(Refusal(f"annotation {one['id']} of task {task['id']}", str(error)))
        ordered = sorted(labels, key=lambda entry: entry[:2])
        cursor = max([since, *(task["updated_at"] for task in tasks)])
        return Answers(tuple(label for *_, label in ordered), cursor, tuple(refused))

    def can_answer(self, inquiry: Inquiry) -> bool:  # noqa: ARG002
        """Always: people may come back any time."""
        return True

    def _found(self) -> Mapping[str, Any] | None:
        """The run's project, the oldest if two processes made one each; None if there is none yet."""
        if number := self._settings.project:
            project: Mapping[str, Any] = self._client.get(f"/api/projects/{number}/")
            return project
        title = self._title()
        listed = self._client.pages("/api/projects/", "results", title=title, include="id,title,label_config")
        found = [one for one in listed if one["title"] == title]
        return min(found, key=lambda one: int(one["id"]), default=None)

    def _title(self) -> str:
        return f"Foresift {self._desk.run}"[:_LONGEST_TITLE]

    def _made(self, inquiry: Inquiry) -> Mapping[str, Any]:
        page = page_of(inquiry, self._classes(inquiry))
        about = {"title": self._title(), "description": f"Pool {inquiry.pool}", "label_config": page}
        made = self._client.send("POST", "/api/projects/", {**about, "skip_queue": "IGNORE_SKIPPED"})
        return self._found() or dict(made)

    def _classes(self, inquiry: Inquiry) -> list[str]:
        """Raise :class:`UsageError` if nobody knows what may be answered."""
        classes = [*inquiry.classes, *filter(None, self._settings.classes.split("|"))]
        if not classes:
            raise UsageError(
                "label-studio must offer classes, and the run knows none yet: give label-studio:classes=cat|dog"
                " (or classes in the run file), or a project of your own with project=NUMBER"
            )
        return list(dict.fromkeys(classes))

    def _offer_classes(self, project: Mapping[str, Any], inquiry: Inquiry) -> None:
        """Add classes that came up since; the page of a project that was given is left alone."""
        if self._settings.project:
            return
        offered = classes_on(project["label_config"])
        wanted = list(dict.fromkeys([*offered, *self._classes(inquiry)]))
        if wanted != offered:
            page = page_of(inquiry, wanted)
            self._client.send("PATCH", f"/api/projects/{project['id']}/", {"label_config": page})

    def _sent(self, project: int) -> Iterator[SampleId]:
        """Samples of this run that the project holds."""
        for task in self._client.pages("/api/tasks/", "tasks", project=project, include="id,meta"):
            if (sample := self._sample(task)) is not None:
                yield sample

    def _sample(self, task: Mapping[str, Any]) -> SampleId | None:
        """The sample of a task, None if it is not of this run."""
        mark = (task.get("meta") or {}).get("foresift") or {}
        sample: SampleId | None = mark.get("sample_id") if mark.get("run") == self._desk.run else None
        return sample

    def _serve(self, project: int, questions: list[Question]) -> None:
        """Let the server serve the folders of the images."""
        folders = served_folders(questions, self._root)
        known = self._client.get("/api/storages/localfiles/", project=project) if folders else []
        for folder in sorted(set(folders) - {one["path"] for one in known}):
            storage = {"project": project, "title": "Foresift", "path": folder, "use_blob_urls": True}
            self._client.send("POST", "/api/storages/localfiles/", storage)

    def _batches(self, questions: Iterable[Question], inquiry: Inquiry) -> Iterator[list[dict[str, Any]]]:
        batch: list[dict[str, Any]] = []
        chars = 0
        for one in questions:
            image = image_address(one.uri, root=self._root, fetch=self._desk.fetch)
            if batch and (len(batch) == BATCH or chars + len(image) > BATCH_CHARS):
                yield batch
                batch, chars = [], 0
            batch.append(task_of(one, inquiry, image))
            chars += len(image)
        if batch:
            yield batch

    def _annotated(self, project: int, since: str) -> Iterator[Mapping[str, Any]]:
        """Tasks of this run that changed, with their annotations; everything if the server's clock went back."""
        wanted = {"project": project, "fields": "all", "include": _TASK_FIELDS}
        tasks = self._client.pages("/api/tasks/", "tasks", **wanted, query=_changed(since))
        found = list(tasks)
        if since and self._client.now and self._client.now < since:
            found = list(self._client.pages("/api/tasks/", "tasks", **wanted, query=_changed("")))
        yield from (task for task in found if self._sample(task) is not None)

    def _people(self) -> dict[int, str]:
        """Who is who: an address stays when a name changes."""
        return {one["id"]: one["email"] or one["username"] for one in self._client.get("/api/users/")}

    def _label(
        self, annotation: Mapping[str, Any], task: Mapping[str, Any], inquiry: Inquiry, names: Mapping[int, str]
    ) -> LabelRecord:
        """An annotation as a label.

        Raises:
            DataError: it names no class, or more than one.
        """
        sample = self._sample(task)
        assert sample is not None  # noqa: S101 - other tasks were left out
        person = annotation["completed_by"]
        number = int(person["id"] if isinstance(person, dict) else person or 0)
        return LabelRecord(
            sample_id=sample,
            value=self._value(annotation, inquiry),
            pool=self._desk.pool,
            run=self._desk.run,
            annotator=names.get(number, f"user {number}"),
            at=_time(annotation["updated_at"]),
            source=f"{NAME} {self._client.url} annotation {annotation['id']}",
        )

    def _value(self, annotation: Mapping[str, Any], inquiry: Inquiry) -> str:
        if annotation["was_cancelled"]:
            return CANNOT_TELL
        if inquiry.task == SEGMENTATION:
            return self._desk.keep(drawn_mask(annotation["result"], inquiry.classes))
        return _choice(annotation["result"])


def _changed(since: str) -> str:
    """The query for tasks that changed since a time, by number."""
    import json

    items = []
    if since:
        after = {"operator": "greater_or_equal", "type": "Datetime", "value": shifted(since, -OVERLAP_S)}
        items = [{"filter": "filter:tasks:updated_at", **after}]
    return json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]})


def _choice(result: Iterable[Mapping[str, Any]]) -> str:
    """The one class that an annotation names.

    Raises:
        DataError: none, or several.
    """
    chosen = [name for one in result for name in one.get("value", {}).get("choices", [])]
    if len(chosen) != 1:
        raise DataError(f"expected one class, got {', '.join(map(repr, chosen)) or 'none'}")
    return str(chosen[0])


def _time(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise OracleError(f"Label Studio tells a time that is none: {text!r}") from None
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
