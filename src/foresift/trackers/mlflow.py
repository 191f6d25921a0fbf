"""MLflow: a run of its tracking and a version in its model registry for each generation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.core.errors import MissingExtraError, StoreError, UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

GENERATION = "foresift.generation"
"""The tag by which a run or a version is found again."""
_FILES = "generation"
_LONGEST = 5000
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What MLflow is told of one generation."""

    id: str
    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Parent, surrogates, receipts, ...; those that are empty are left out."""
    files: Sequence[Path] = ()
    """Copied to the run once, when it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """Where a generation is found in MLflow."""

    run: str
    version: str
    new: bool
    """Whether anything had to be made."""


class MlflowMirror:
    """One experiment and one registered model of an MLflow server."""

    def __init__(self, uri: str, *, name: str) -> None:
        """Reach the server, and make the experiment and the registered model if they are not there.

        Raises:
            UsageError: no address.
            MissingExtraError: mlflow-skinny is not installed.
            StoreError: the server can't be reached, or refuses.
        """
        if "://" not in uri:
            raise UsageError(f"expected the address of an MLflow server such as http://localhost:5000, got {uri!r}")
        for variable, value in {**_PATIENCE, **_QUIET}.items():
            os.environ.setdefault(variable, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingExtraError("the mirror to MLflow", "mlflow") from error
        self._uri, self._name = uri, name
        self._client: MlflowClient = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiment = self._ask(self._find_experiment)
        self._ask(self._find_model)

    def keep(self, tracked: Tracked) -> Mirrored:
        """One run and one version of this generation: made the first time, their tags brought up to date ever after.

        Raises:
            StoreError: the server can't be reached, or refuses; calling again goes on.
        """
        kept: Mirrored = self._ask(lambda: self._keep(tracked))
        return kept

    def give_alias(self, alias: str, version: str) -> None:
        """Let an alias of the registered model mean this version."""
        self._ask(lambda: self._client.set_registered_model_alias(self._name, alias, version))

    def _keep(self, tracked: Tracked) -> Mirrored:
        tags = {GENERATION: tracked.id, **{name: value[:_LONGEST] for name, value in tracked.tags.items() if value}}
        run, made = self._run(tracked, tags)
        version = self._version(tracked.id)
        if version is None:
            created = self._client.create_model_version(self._name, f"runs:/{run}/{_FILES}", run_id=run, tags=tags)
            return Mirrored(run=run, version=str(created.version), new=True)
        for name, value in tags.items():
            self._client.set_tag(run, name, value)
            self._client.set_model_version_tag(self._name, version, name, value)
        return Mirrored(run=run, version=version, new=made)

    def _run(self, tracked: Tracked, tags: Mapping[str, str]) -> tuple[str, bool]:
        """The finished run of a generation; one that was begun and never finished is thrown away."""
        for found in self._client.search_runs([self._experiment], f"tags.`{GENERATION}` = '{tracked.id}'"):
            if found.info.status == "FINISHED":
                self._measure(found, tracked)
                return str(found.info.run_id), False
            self._client.delete_run(found.info.run_id)
        from mlflow.entities import Metric, Param

        run = str(self._client.create_run(self._experiment, tags=dict(tags), run_name=tracked.name).info.run_id)
        metrics = [Metric(name, value, 0, 0) for name, value in tracked.metrics.items()]
        params = [Param(name, value[:_LONGEST]) for name, value in tracked.params.items()]
        self._client.log_batch(run, metrics=metrics, params=params)
        for file in tracked.files:
            self._client.log_artifact(run, str(file), _FILES)
        self._client.set_terminated(run, "FINISHED")
        return run, True

    def _measure(self, found: Any, tracked: Tracked) -> None:
        """Add what was measured since the run was made."""
        from mlflow.entities import Metric

        fresh = {name: value for name, value in tracked.metrics.items() if name not in found.data.metrics}
        if fresh:
            self._client.log_batch(found.info.run_id, [Metric(name, value, 0, 0) for name, value in fresh.items()])

    def _version(self, generation: str) -> str | None:
        found = self._client.search_model_versions(f"name='{self._name}' and tags.`{GENERATION}`='{generation}'")
        return str(found[0].version) if found else None

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._name)
        return str(found.experiment_id) if found is not None else str(self._client.create_experiment(self._name))

    def _find_model(self) -> None:
        if not self._client.search_registered_models(f"name='{self._name}'"):
            self._client.create_registered_model(self._name)

    def _ask(self, act: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return act()
        except MlflowException as error:
            said = " ".join(str(error).split())[:300]
            raise StoreError(f"the MLflow server {self._uri} can't be used: {said}") from None
