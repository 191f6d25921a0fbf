import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from foresift.core.errors import DataError, LabelError
from foresift.core.samples import Pool
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.manifest import ManifestSource
from images import png

KINDS = ["csv", "tsv", "jsonl", "parquet"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for seed, name in enumerate(["a.png", "sub/b.png", "c d ä.png"]):
        (tmp_path / name).write_bytes(png(seed=seed))
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    kind = path.suffix[1:]
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def pool_of(path: Path, *, need_digests: bool = False) -> Pool:
    return ManifestSource(path).pool(DictDigestMemory(), need_digests=need_digests)


def refused(path: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        pool_of(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(images: Path, kind: str) -> None:
    rows = [
        {"id": "x1", "uri": "a.png", "label": "cat", "group": "g1", "more": "1"},
        {"id": "x2", "uri": str(images / "sub/b.png"), "label": "", "group": "g2", "more": "2"},
        {"id": "x3", "uri": (images / "c d ä.png").as_uri(), "label": "dog", "group": "", "more": "3"},
    ]
    path = write(images / f"m.{kind}", rows)
    pool = pool_of(path)
    assert pool.name == str(path)
    assert [s.id for s in pool] == ["x1", "x2", "x3"]
    assert [s.uris for s in pool] == [(str(images / n),) for n in ("a.png", "sub/b.png", "c d ä.png")]
    assert [s.label for s in pool] == ["cat", None, "dog"]
    assert [s.group for s in pool] == ["g1", "g2", ""]
    assert set(pool.digests.tolist()) == {""}
    assert all(pool_of(path, need_digests=True).digests.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_without_ids_the_content_digest_is_the_id(images: Path, kind: str) -> None:
    pool = pool_of(write(images / f"m.{kind}", [{"uri": "a.png"}, {"uri": "sub/b.png"}, {"uri": "sub/../a.png"}]))
    assert len(pool) == 2
    assert pool.ids.tolist() == pool.digests.tolist()
    assert pool.other_uris == {}


@pytest.mark.parametrize(
    ("kind", "ids", "expected"),
    [
        ("jsonl", [10, 9], [9, 10]),
        ("parquet", [10, 9], [9, 10]),
        ("csv", [10, 9], ["10", "9"]),
        ("jsonl", [10, "9"], ["10", "9"]),
        ("jsonl", [2**63, 9], ["9", str(2**63)]),
        ("jsonl", ["", None], None),
    ],
)
def test_ids_stay_what_they_are(images: Path, kind: str, ids: list[Any], expected: list[Any] | None) -> None:
    rows = [{"id": i, "uri": uri} for i, uri in zip(ids, ["a.png", "sub/b.png"], strict=True)]
    pool = pool_of(write(images / f"m.{kind}", rows))
    assert pool.ids.tolist() == (expected or pool.digests.tolist())


@pytest.mark.parametrize("bad", [True, 1.5, [1]])
def test_other_ids_are_refused(images: Path, bad: Any) -> None:
    path = write(images / "m.jsonl", [{"id": "1", "uri": "a.png"}, {"id": bad, "uri": "sub/b.png"}])
    assert "line 2: id must be text or a whole number" in refused(path)


def test_labels_of_data_frames(images: Path) -> None:
    rows = [{"uri": "a.png", "label": 3.0}, {"uri": "sub/b.png", "label": float("nan")}]
    pool = pool_of(write(images / "m.parquet", rows))
    assert {s.uris[0][-5:]: s.label for s in pool} == {"a.png": "3", "b.png": None}
    assert "label must be text" in refused(write(images / "n.parquet", [{"uri": "a.png", "label": 3.5}]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_lists_what_came(images: Path, kind: str) -> None:
    assert "no column uri (columns: path, label)" in refused(
        write(images / f"m.{kind}", [{"path": "a.png", "label": "cat"}])
    )


@pytest.mark.parametrize(("kind", "place"), [("csv", "line 3"), ("jsonl", "line 2"), ("parquet", "row 2")])
@pytest.mark.parametrize("column", ["uri", "id"])
def test_an_empty_cell_names_its_row(images: Path, kind: str, place: str, column: str) -> None:
    rows = [{"id": "1", "uri": "a.png"}, {"id": "2", "uri": "sub/b.png", column: ""}]
    message = refused(write(images / f"m.{kind}", rows))
    assert f"{place}: {column}" in message


def test_equal_rows_collapse_and_contradictions_do_not(images: Path) -> None:
    rows = [
        {"id": "1", "uri": "a.png", "label": ""},
        {"id": "2", "uri": "sub/b.png", "label": "dog"},
        {"id": "1", "uri": "./a.png", "label": "cat"},
    ]
    assert [(s.id, s.label) for s in pool_of(write(images / "m.csv", rows))] == [("1", "cat"), ("2", "dog")]
    other = [*rows, {"id": "1", "uri": "sub/b.png", "label": ""}]
    assert "line 5: id '1' names" in refused(write(images / "m.csv", other))
    other = [*rows, {"id": "1", "uri": "a.png", "label": "dog"}]
    assert "labeled 'dog', but was labeled 'cat'" in refused(write(images / "m.csv", other), LabelError)


def test_missing_files_are_quarantined_without_a_read(images: Path) -> None:
    pool = pool_of(write(images / "m.csv", [{"id": "1", "uri": "a.png"}, {"id": "2", "uri": "gone.png"}]))
    assert pool.ids.tolist() == ["1"]
    assert [(q.uri, q.reason) for q in pool.quarantined] == [(str(images / "gone.png"), "no such file")]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("m.jsonl", b'{"uri": "a.png"}\n{"uri": \n', "line 2: not valid JSON"),
        ("m.jsonl", b'{"uri": "a.png"}\n\n["a.png"]\n', "line 3: expected an object"),
        ("m.jsonl", b'{"uri": "a.png"}\n{"uri": 7}\n', "line 2: uri must be"),
        ("m.jsonl", b'{"uri": "a.png", "label": "\\ud800"}\n', "line 1: label is not valid text"),
        ("m.jsonl", b"[" * 100_000, "line 1: not valid JSON"),
        ("m.csv", b"uri,label\na.png\n", "line 2: expected 2 fields (uri, label), got 1"),
        ("m.csv", b"uri,label\na.png,cat,dog\n", "line 2: expected 2 fields (uri, label), got 3"),
        ("m.csv", b"uri|label\na.png|cat\n", "no column uri (columns: uri|label)"),
        ("m.csv", b"uri,uri\na.png,b.png\n", "column 'uri' occurs twice"),
        ("m.csv", b"uri\na.png\nb\xff.png\n", "line 3: not UTF-8"),
        ("m.csv", b"uri\nftp://bucket/a.png\n", "line 2: ftp://bucket/a.png: expected a path"),
        ("m.csv", b'uri\n"' + b"x" * 200_000 + b'"\n', "line 2: field larger"),
        ("m.csv", b"", "zero bytes"),
        ("m.parquet", b"PAR1 nonsense", "not a readable Parquet file"),
    ],
)
def test_malformed_files_name_the_line(images: Path, name: str, data: bytes, says: str) -> None:
    path = images / name
    path.write_bytes(data)
    assert says in refused(path)


def test_spreadsheets_write_a_byte_order_mark(images: Path) -> None:
    (images / "m.csv").write_bytes(b"\xef\xbb\xbfuri,label\r\na.png, cat \r\n\r\n")
    assert [s.label for s in pool_of(images / "m.csv")] == ["cat"]


def test_only_a_header_is_an_empty_pool(images: Path) -> None:
    (images / "m.csv").write_text("uri,id\n")
    assert len(pool_of(images / "m.csv")) == 0


def test_names_that_no_file_can_have(images: Path) -> None:
    pool = pool_of(write(images / "m.jsonl", [{"uri": "nul\0.png"}, {"uri": "half\ud800.png"}, {"uri": "a.png"}]))
    assert len(pool) == 1
    assert {q.reason for q in pool.quarantined} == {"not a possible file name"}
