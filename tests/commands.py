"""Running commands: as a process, or inside this one where a process would only cost time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

FORESIFT = Path(sys.executable).with_name("foresift")


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on standard output; anything else there is an error."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        assert line.startswith("foresift: ")
        return line


def start(*args: object, home: Path, variables: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """The installed command as a process of its own."""
    environment = {**os.environ, "FORESIFT_HOME": str(home), **(variables or {})}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([FORESIFT, *map(str, args)], env=environment, **{**pipes, **options})


def process(*args: object, home: Path, stdin: str | None = None) -> Answer:
    """What the installed command answers."""
    options = {} if stdin is None else {"stdin": subprocess.PIPE}
    with start(*args, home=home, **options) as running:
        out, err = running.communicate(stdin, timeout=280)
    return Answer(running.returncode, out, err)


def command(*args: object, home: Path) -> Answer:
    """What the same entry point answers inside this process."""
    from foresift.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", ["foresift", *map(str, args)]),
        mock.patch.dict(os.environ, FORESIFT_HOME=str(home)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Answer(code, out.getvalue(), err.getvalue())
