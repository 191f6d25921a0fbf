"""A Label Studio server that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from installed import installed_command
from label_studio_server import VARIABLE, LabelStudioServer


@pytest.fixture(scope="session")
def label_studio() -> Iterator[LabelStudioServer]:
    """A real server; each test has a run of its own on it."""
    server = LabelStudioServer(installed_command(VARIABLE, what="Label Studio", target="label-studio"))
    try:
        server.start()
        yield server
    finally:
        server.remove()
