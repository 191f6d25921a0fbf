"""What every tool of Table 2 is asked, and how its answer is timed and written.

Run as ``python run_TOOL.py FOLDER SIDE BUDGET BATCHES``, batches as ``1,2,4`` (0: as the tool chooses). The folder
holds ``files.txt``, one path a line, and ``network.pt``, the weights of a ResNet-18. The answer goes to standard output
as one line of JSON, with the seconds from files to ids for each batch, and the chosen rows of the last one to
``picks-TOOL.npy``. Everything is imported, the network is in memory and a few files were gone through before the clock
starts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

# torch and Pillow of another tool's environment, behind this one's own packages: 5 GB are installed once.
sys.path.extend(filter(None, [os.environ.get("TABLE2_TORCH", "")]))

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 10
FEW = 64
"""Files that are gone through before the clock starts."""


@dataclass(frozen=True)
class Task:
    """Files, and what to choose of them."""

    folder: Path
    side: int
    budget: int
    batch: int
    """Images a call; 0 = as the tool chooses."""
    files: tuple[str, ...]
    """Paths; a file's row is its place here."""

    def pixels(self, file: str) -> np.ndarray:
        """(3, side, side) float32 of a file, as networks trained on ImageNet take it; read by Pillow."""
        from PIL import Image

        with Image.open(file) as opened:
            image = opened.convert("RGB")
        if image.size != (self.side, self.side):
            image = image.resize((self.side, self.side), Image.Resampling.BILINEAR)
        scaled = np.asarray(image, dtype=np.float32) / 255
        return ((scaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1)

    def array(self) -> np.ndarray:
        """(n, 3, side, side) float32 of all files, read by as many threads as there are cores."""
        images = np.empty((len(self.files), 3, self.side, self.side), dtype=np.float32)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for row, image in enumerate(threads.map(self.pixels, self.files)):
                images[row] = image
        return images

    def network(self) -> Any:
        """The ResNet-18, ready to infer."""
        import torch
        from network import ResNet18

        network = ResNet18(classes=CLASSES)
        network.load_state_dict(torch.load(self.folder / "network.pt", weights_only=True))
        return network.eval()


def probabilities(network: Any, images: np.ndarray, batch: int) -> np.ndarray:
    """(n, c) of (n, 3, s, s)."""
    import torch

    with torch.inference_mode():
        parts = [network(torch.from_numpy(images[at : at + batch])) for at in range(0, len(images), batch)]
        return torch.softmax(torch.cat(parts), dim=1).numpy()


def answer(tool: str, *ways: Callable[[Task], Callable[[], np.ndarray]]) -> None:
    """Time a tool's choice for each batch: the fastest of its ways counts. A way prepares, and gives what is timed."""
    task, batches = _asked()
    seconds: dict[int, float] = {}
    chosen_by: dict[int, str] = {}
    rows = np.zeros(0, dtype=np.int64)
    for batch in batches:
        for way in ways:
            rows, taken = _timed(way, replace(task, batch=batch))
            if taken < seconds.get(batch, np.inf):
                seconds[batch], chosen_by[batch] = taken, way.__name__
    np.save(task.folder / f"picks-{tool}.npy", rows)
    peak = peak_bytes()
    print("\n" + json.dumps({"seconds": seconds, "ways": chosen_by, "peak_bytes": peak}))


def _asked() -> tuple[Task, list[int]]:
    folder, side, budget, batches = sys.argv[1:]
    files = tuple((Path(folder) / "files.txt").read_text().splitlines())
    return Task(Path(folder), int(side), int(budget), 0, files), [int(batch) for batch in batches.split(",")]


def _timed(way: Callable[[Task], Callable[[], np.ndarray]], task: Task) -> tuple[np.ndarray, float]:
    """Rows and seconds."""
    few = replace(task, files=task.files[:FEW], budget=min(task.budget, FEW // 2))
    way(few)()
    call = way(task)
    start = time.perf_counter()
    rows = np.asarray(call()).astype(np.int64).ravel()
    seconds = time.perf_counter() - start
    assert len(np.unique(rows)) == task.budget
    return rows, seconds


def peak_bytes() -> int:
    """Of this program's memory so far; ``ru_maxrss`` would begin with that of the process that started it."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024
