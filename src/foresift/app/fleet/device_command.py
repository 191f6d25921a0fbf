"""The command line of an exported folder, where there is no other: ``python run.py FRAMES --spool DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from foresift.app.fleet.device import run_device
from foresift.app.fleet.device_run import BY_CLOCK, DeviceRun
from foresift.core.errors import ForesiftError


def default_batch(spec: str) -> int:
    """Frames a call, 0 = by their size: of a live stream each is decided when it comes."""
    return 1 if spec == "-" else 0


def main(arguments: Sequence[str], *, write: Callable[[str], object] = sys.stdout.write) -> int:
    """The command of an exported folder: one JSON object on standard output, errors as one line; the exit code."""
    given = _parser().parse_args(arguments)
    job = DeviceRun(
        folder=given.folder,
        spool=given.spool,
        device=given.device,
        quota_per_day=given.quota_per_day,
        day=given.day,
        upload=given.upload,
        batch=given.batch or default_batch(given.frames),
        keep_open=given.keep_open,
        threads=given.threads,
    )
    try:
        report = run_device(job, given.frames)
    except ForesiftError as error:
        sys.stderr.write(f"fleet run: {' '.join(str(error).split())}\n")
        return 1
    for line in report.warnings():
        sys.stderr.write(f"fleet run: {line}\n")
    write(json.dumps(asdict(report)) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description="Score frames under an upload budget.")
    parser.add_argument("folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("frames", help="a folder of frames, a .csv or .jsonl file with a column uri, or -")
    parser.add_argument("--spool", type=Path, required=True, help="folder for hits, candidates and the state")
    parser.add_argument("--quota-per-day", type=int, help="in place of the exported one")
    parser.add_argument("--device", default="", help="name in receipts (default: the host's)")
    parser.add_argument("--day", default=BY_CLOCK, help="clock, file, or a name for all of these frames")
    parser.add_argument("--upload", type=Path, help="folder to move hits to whenever it is there")
    parser.add_argument("--batch", type=int, default=0, help="frames a call (default: up to 64; 1 for -)")
    parser.add_argument("--keep-open", action="store_true", help="the day goes on after these frames")
    parser.add_argument("--threads", type=int, default=0, help="of one call (default: one a core)")
    return parser
