"""The part of Foresift that a device needs, as a folder of its own: the very files that run here, and no more."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from foresift import core

PACKAGE = Path(str(core.__file__)).parents[1]
ENTRY = "foresift.app.fleet.device_command"
REQUIREMENTS = ("numpy", "onnxruntime", "pillow")
_RUN = '''"""Score frames under an upload budget: python run.py FRAMES --spool DIR (see --help)."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "device"))

from foresift.app.fleet.device_command import main  # noqa: E402

raise SystemExit(main([str(HERE), *sys.argv[1:]]))
'''


def write_device_package(folder: Path) -> None:
    """``run.py``, ``requirements.txt`` and the modules that it needs, under ``device``."""
    root = PACKAGE.parent
    for file in modules():
        target = folder / "device" / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (folder / "run.py").write_text(_RUN)
    (folder / "requirements.txt").write_text("".join(f"{name}\n" for name in REQUIREMENTS))


def modules(entry: str = ENTRY) -> list[Path]:
    """The files of our modules that an entry module imports, directly or through others; their packages included."""
    seen: dict[str, Path] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file is None or name in seen:
            continue
        seen[name] = file
        waiting += [name.rpartition(".")[0], *_imported(ast.parse(file.read_text(encoding="utf-8")))]
    return sorted(seen.values())


def _file(name: str) -> Path | None:
    """Where a module lies; None for what is no module of ours."""
    if name.partition(".")[0] != "foresift":
        return None
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _imported(module: ast.Module) -> Iterator[str]:
    """Names that a module imports when it is imported; what its functions import later (torch engines) is left out."""
    for child in module.body:
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
