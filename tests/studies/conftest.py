"""One small demo, run once for all tests that look at it."""

import pytest

from foresift.studies.demo.page import write_all
from foresift.studies.demo.study import RECIPE, Protocol, Results, run

# Few epochs: the protocol is under test here, not how well the models learn.
SMALL = Protocol(seeds=2, rounds=3, budget=12, first="linear", second="mlp:16", recipe={**RECIPE, "epochs": 4})


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "out <&> here"


@pytest.fixture(scope="session")
def results(folder) -> Results:
    done = run(SMALL, folder)
    write_all(done, folder)
    return done
