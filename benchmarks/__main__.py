"""Run all benchmarks, or those named: ``python -m benchmarks [help round32 round224 engines memory fleet runs]``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import dense, engines, fleet, footprint, rounds
from benchmarks.data import cifar10, part
from benchmarks.measure import Figure, command
from benchmarks.overhead import overhead

OUT = Path("bench-out")


def start_up(work: Path) -> list[Figure]:
    """How soon the command line answers."""
    return footprint.start_up(work)


def round32(work: Path) -> list[Figure]:
    """One round at 32 px, where decoding and bookkeeping weigh most."""
    pool, model = _pool(work), _model(work, "resnet18", size=32, epochs=5)
    fresh = _fresh(work / "r32")
    figures, _ = rounds.one_round(pool, model, fresh, engine="torch-f32")
    faster, _ = rounds.one_round(pool, model, fresh, engine="openvino-f32")
    return [*figures, *faster, *rounds.second_call(pool, model, fresh, engine="torch-f32", limits=False)]


def round224(work: Path) -> list[Figure]:
    """One round at 224 px, where inference is nearly everything."""
    pool, model = _pool(work), _model(work, "resnet18", size=224, epochs=3)
    fresh = _fresh(work / "r224")
    automatic = rounds.automatic(pool, model, fresh)
    figures, _ = rounds.one_round(pool, model, fresh, engine="openvino-bf16")
    return [*automatic, *figures, *rounds.second_call(pool, model, fresh, engine="openvino-bf16", limits=True)]


def side_by_side(work: Path) -> list[Figure]:
    """Engines at 224 px: how fast each is, and whether it ranks as the reference does."""
    return engines.engines(_fresh(work / "engines"), _model(work, "resnet18", size=224, epochs=3), _pool(work))


def memory(work: Path) -> list[Figure]:
    """Whether memory grows with the pool."""
    data = cifar10(work) / "train"
    small = part(data, work / "pool-5000", per_class=slice(0, 500))
    return footprint.memory(small, data, _model(work, "resnet8", size=32, epochs=1), _fresh(work / "memory"))


def device(work: Path) -> list[Figure]:
    """What a device of a fleet pays for choosing."""
    data = cifar10(work) / "train"
    return fleet.fleet(data, _model(work, "resnet8", size=32, epochs=1), _fresh(work / "fleet"))


def runs(work: Path) -> list[Figure]:
    """What the engine of a run costs a round."""
    return overhead(_fresh(work / "run"))


BENCHMARKS: dict[str, Callable[[Path], list[Figure]]] = {
    "help": start_up,
    "round32": round32,
    "memory": memory,
    "round224": round224,
    "engines": side_by_side,
    **dense.BENCHMARKS,
    "fleet": device,
    "runs": runs,
}


def _fresh(folder: Path) -> Path:
    """An empty folder: a workspace kept from an earlier run would have nothing left to infer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _pool(work: Path) -> Path:
    return part(cifar10(work) / "train", work / "pool", per_class=slice(200, 1200))


def _model(work: Path, name: str, *, size: int, epochs: int) -> Path:
    """A network trained on 2,000 labeled images."""
    labeled = part(cifar10(work) / "train", work / "labeled", per_class=slice(0, 200))
    folder = work / f"{name}-{size}"
    if not folder.exists():
        arguments = ["train", str(labeled), "--model", name, "--out", str(folder)]
        command([*arguments, "--image-size", str(size), "--epochs", str(epochs)], home=work / "home-train")
    return folder


def main(names: list[str]) -> int:
    """Run, print, and write ``bench-out/results.json``; 1 if a limit was missed."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"unknown benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    missed, results = 0, []
    work = Path(os.environ.get("FORESIFT_BENCH") or tempfile.mkdtemp(prefix="foresift-bench-"))
    work.mkdir(parents=True, exist_ok=True)
    for name in names or BENCHMARKS:
        print(f"\n{name}: {(BENCHMARKS[name].__doc__ or '').strip()}", flush=True)
        for figure in BENCHMARKS[name](work):
            print(f"  {figure}", flush=True)
            missed += figure.fine is False
            results.append({"benchmark": name, "what": figure.what, "value": figure.value, "unit": figure.unit})
    OUT.mkdir(exist_ok=True)
    (OUT / "results.json").write_text(json.dumps(results, indent=2))
    print(f"\nwritten to {OUT / 'results.json'}; work files in {work} may be deleted")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
