"""A Label Studio server that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from label_studio_server import LabelStudioServer, installed_command


@pytest.fixture(scope="session")
def label_studio() -> Iterator[LabelStudioServer]:
    """A real server; each test has a run of its own on it."""
    server = LabelStudioServer(installed_command())
    try:
        server.start()
        yield server
    finally:
        server.remove()
