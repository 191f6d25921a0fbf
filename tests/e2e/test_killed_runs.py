"""Runs killed with -9 at random moments end as if nobody had disturbed them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postgres import Postgres

ROOT = Path(__file__).parents[2]
SMALL = ("--kills", "5", "--rounds", "3", "--epochs", "3")


def kill_runs(**variables: str) -> str:
    """What ``make bench-kills`` does, with fewer kills."""
    command = [sys.executable, "-m", "benchmarks.kills", *SMALL]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=870, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_on_sqlite() -> None:
    assert "5 kills" in kill_runs()


@pytest.mark.timeout(900)
def test_on_postgres(postgres: Postgres) -> None:
    assert "5 kills" in kill_runs(FORESIFT_DATABASE_URL=postgres.new_database())
