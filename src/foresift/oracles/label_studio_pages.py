"""What labelers see in Label Studio: the labeling page of a project, and how an image gets there."""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from foresift.core.errors import UsageError
from foresift.core.labels import CANNOT_TELL
from foresift.core.oracles import SEGMENTATION, Inquiry, Question
from foresift.core.regions import split_id

EMBEDDED_BYTES = 512 * 1024
"""Images above this size are not written into tasks."""
_VALUE = re.compile(r'<(?:Choice|Label) value="([^"]*)"')
_KEYS = "123456789"


def page_of(inquiry: Inquiry, classes: Sequence[str]) -> str:
    """The labeling configuration: one choice a class with its key, or brush and polygon for masks."""
    if inquiry.task == SEGMENTATION:
        return _masks(classes)
    choices = [f"    <Choice value={quoteattr(name)}{_hotkey(row)}/>" for row, name in enumerate(classes)]
    choices.append(f'    <Choice value="{CANNOT_TELL}" hotkey="0"/>')
    return "\n".join(
        [
            "<View>",
            '  <Image name="image" value="$image" zoom="true"/>',
            '  <Choices name="label" toName="image" choice="single" showInLine="true">',
            *choices,
            "  </Choices>",
            "</View>",
        ]
    )


def _masks(classes: Sequence[str]) -> str:
    labels = [f"    <Label value={quoteattr(name)}{_hotkey(row)}/>" for row, name in enumerate(classes)]
    return "\n".join(
        [
            "<View>",
            '  <Image name="image" value="$image" zoom="true"/>',
            '  <BrushLabels name="brush" toName="image">',
            *labels,
            "  </BrushLabels>",
            '  <PolygonLabels name="polygon" toName="image">',
            *(label.partition(" hotkey")[0].removesuffix("/>") + "/>" for label in labels),
            "  </PolygonLabels>",
            "</View>",
        ]
    )


def _hotkey(row: int) -> str:
    return f' hotkey="{_KEYS[row]}"' if row < len(_KEYS) else ""


def classes_on(page: str) -> list[str]:
    """The classes that a configuration of ours offers, in its order."""
    names = [html.unescape(name) for name in _VALUE.findall(page)]
    return [name for name in dict.fromkeys(names) if name != CANNOT_TELL]


def task_of(question: Question, inquiry: Inquiry, image: str) -> dict[str, Any]:
    """A task as the server imports it: what people see in ``data``, whose it is in ``meta``."""
    region = split_id(question.sample_id)[1]
    data = {"image": image, "rank": question.rank, "score": question.score, "uri": question.uri}
    return {
        "data": {**data, **({} if region is None else {"region": list(region)})},
        "meta": {"foresift": {"run": inquiry.run, "round": inquiry.round, "sample_id": question.sample_id}},
    }


def image_address(uri: str, *, root: str, fetch: Callable[[str], bytes]) -> str:
    """Where the labeling page finds an image: as it is on the web, below the served folder, or in the task itself.

    Args:
        root: the folder that the server serves local files from; "" = none.
    Raises:
        UsageError: a large local image outside of that folder.
        DataError: it can't be read.
    """
    if "://" in uri and not uri.startswith("file://"):
        return uri
    path = uri.removeprefix("file://")
    if root and Path(path).is_relative_to(root):
        return f"/data/local-files/?d={quote(str(Path(path).relative_to(root)))}"
    data = fetch(uri)
    if len(data) > EMBEDDED_BYTES:
        raise UsageError(
            f"{uri} has {len(data):,} bytes, too many to be written into a task of Label Studio; let it serve the"
            " images (LOCAL_FILES_SERVING_ENABLED=true, LOCAL_FILES_DOCUMENT_ROOT=FOLDER) and give root=FOLDER"
        )
    kind = mimetypes.guess_type(path)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def served_folders(questions: Sequence[Question], root: str) -> list[str]:
    """The folders directly below ``root`` that hold images: Label Studio serves those, never the root itself."""
    below = [Path(one.uri).relative_to(root).parts for one in questions if root and Path(one.uri).is_relative_to(root)]
    if loose := [parts[0] for parts in below if len(parts) == 1]:
        raise UsageError(f"{Path(root) / loose[0]} lies directly in root; Label Studio serves subfolders only")
    return sorted({str(Path(root) / parts[0]) for parts in below})
