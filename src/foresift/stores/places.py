"""Where data sets of predictions lie: in a folder of the disk, or in a bucket that several machines share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from foresift.core.errors import UsageError
from foresift.stores.files import locked, write_json

BUCKETS = ("s3", "gs", "az")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Place(Protocol):
    """A root below which data sets have names."""

    @property
    def options(self) -> dict[str, str] | None:
        """How Lance reaches it."""
        ...

    def at(self, name: str) -> str:
        """The address of a data set."""
        ...

    def holds(self, name: str) -> bool:
        """Whether there is a whole version of a data set; a killed first append leaves none."""
        ...

    def create(self, name: str, table: pa.Table, record: Mapping[str, Any]) -> bool:
        """Make a data set of a table, unless there is one by now; whether it was made."""
        ...

    def __str__(self) -> str:
        """For people."""
        ...


def place_at(address: str | Path) -> Place:
    """The place behind a path or ``s3://``, ``gs://``, ``az://``.

    Raises:
        UsageError: another kind of address.
    """
    match = _SCHEME.match(str(address))
    if match is None:
        return Folder(Path(address).expanduser())
    if match[1].lower() not in BUCKETS:
        raise UsageError(f"{address}: expected a folder or {', '.join(f'{kind}://' for kind in BUCKETS)}")
    return Bucket(str(address))


class Folder:
    """A folder of the local disk; made when something is written."""

    options = None

    def __init__(self, root: Path) -> None:
        self._root = root

    def at(self, name: str) -> str:
        """Its path."""
        return str(self._root / name)

    def holds(self, name: str) -> bool:
        """Whether a manifest lies there."""
        return any((self._root / name / "_versions").glob("*.manifest"))

    def create(self, name: str, table: pa.Table, record: Mapping[str, Any]) -> bool:
        """Under a lock: of two data sets created at once, Lance would let the second replace the first."""
        import lance

        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if self.holds(name):
                return False
            write_json(path.with_suffix(".json"), record)
            lance.write_dataset(table, path, mode="create")
        return True

    def __str__(self) -> str:
        return str(self._root)


class Bucket:
    """A prefix of a bucket; credentials and endpoint come from the usual environment variables."""

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")

    @property
    def options(self) -> dict[str, str]:
        """An endpoint that the environment names, which may be one without TLS."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        return {} if endpoint is None else {"aws_endpoint": endpoint, "allow_http": "true"}

    def at(self, name: str) -> str:
        """Its address."""
        return f"{self._root}/{name}"

    def holds(self, name: str) -> bool:
        """Whether Lance finds a version there."""
        import lance

        try:
            lance.dataset(self.at(name), storage_options=self.options)
        except (FileNotFoundError, ValueError):  # what Lance says of a data set that is not there
            return False
        return True

    def create(self, name: str, table: pa.Table, record: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the name says it
        """The bucket itself lets one writer make the first version; ``write_dataset`` would replace that of another."""
        from lance import LanceDataset, LanceOperation
        from lance.fragment import write_fragments

        parts = write_fragments(table, self.at(name), storage_options=self.options)
        first = LanceOperation.Overwrite(table.schema, parts)
        try:
            LanceDataset.commit(self.at(name), first, max_retries=0, storage_options=self.options)
        except OSError:
            if self.holds(name):
                return False
            raise
        return True

    def __str__(self) -> str:
        return self._root
