"""Rows of texts and sheets as a stream of Arrow batches, one file after the other.

Belongs here: from surveyed files to batches with provenance. Not here: how each format is split into rows
(`records.py`, `objects.py`, `workbooks.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_assets.contracts.layers import ERROR, FILE, FILE_SHA256, LINE, LINE_TEXT
from crm_assets.sources.deliveries import sha256
from crm_assets.sources.objects import read_objects
from crm_assets.sources.records import Rows, read_rows
from crm_assets.sources.surveys import Survey, on_disk, state_of, text_of
from crm_assets.sources.workbooks import read_sheet

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_A_BATCH = 20_000


class ChangedFileError(RuntimeError):
    """A file changed while it was read; the message names it. Its delivery is read again by the next run."""


def batches_of(surveys: Sequence[Survey], spill: Path) -> "tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]":
    """The columns of some files, which are text, and what makes their rows, each time from the files.

    Args:
        surveys: The files in order; those with an error give one row that says so.
        spill: Folder for what must be unpacked to be read.
    """
    import pyarrow as pa

    spelled: dict[str, str] = {}
    for found in surveys:
        for name in found.columns:
            # To the engine, names that differ in case are the same.
            spelled.setdefault(name.casefold(), name)
    constant = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema(
        [
            *((name, pa.string()) for name in spelled.values()),
            (FILE.name, constant),
            (FILE_SHA256.name, constant),
            (LINE.name, pa.int64()),
            (ERROR.name, pa.string()),
            (LINE_TEXT.name, pa.string()),
        ]
    )
    return schema, partial(_batches, surveys, schema, list(spelled), spill)


def _batches(
    surveys: Sequence[Survey], schema: "pa.Schema", folded: Sequence[str], spill: Path
) -> "Iterator[pa.RecordBatch]":
    for found in surveys:
        if found.error:
            yield _batch(Rows([], 1, {0: found.error}), found, schema, folded, 0)
            continue
        line = 1
        for rows in _rows(found, spill):
            yield _batch(rows, found, schema, folded, line)
            line += rows.count
        path = found.place.path
        if state_of(path) != found.state and sha256(path) != found.sha256:
            raise ChangedFileError(f"{path} changed while it was read; nothing of it is kept, run the ingestion again")


def _batch(rows: Rows, found: Survey, schema: "pa.Schema", folded: Sequence[str], line: int) -> "pa.RecordBatch":
    import numpy as np
    import pyarrow as pa

    own = {name.casefold(): place for place, name in enumerate(found.columns)}
    zeros = pa.array(np.zeros(rows.count, np.int8))

    def text(values: dict[int, str]) -> pa.Array:
        if not values:
            return pa.nulls(rows.count, pa.string())
        return pa.array([values.get(place) for place in range(rows.count)], pa.string())

    def column(place: int | None) -> pa.Array:
        if place is None or not rows.columns:
            return pa.nulls(rows.count, pa.string())
        values: Any = rows.columns[place]
        return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values, pa.string())

    return pa.RecordBatch.from_arrays(
        [
            *(column(own.get(name)) for name in folded),
            pa.DictionaryArray.from_arrays(zeros, pa.array([found.place.name], pa.string())),
            pa.DictionaryArray.from_arrays(zeros, pa.array([found.sha256], pa.string())),
            pa.array(np.arange(line, line + rows.count, dtype=np.int64)),
            text(rows.errors),
            text(rows.lines),
        ],
        schema=schema,
    )


def _rows(found: Survey, spill: Path) -> Iterator[Rows]:
    if found.dialect:
        return read_rows(text_of(found.place, found.encoding or "utf-8"), found.dialect)
    return _rows_of_objects(found) if found.encoding else _rows_of_sheet(found, spill)


def _rows_of_objects(found: Survey) -> Iterator[Rows]:
    objects = read_objects(text_of(found.place, found.encoding or "utf-8"), found.place.suffix)
    while some := list(islice(objects, ROWS_A_BATCH)):
        bad = {place: row for place, row in enumerate(some) if isinstance(row, tuple)}
        good = [row if isinstance(row, dict) else {} for row in some]
        yield Rows(
            [[row.get(key) for row in good] for key in found.keys],
            len(some),
            {place: reason for place, (reason, _) in bad.items()},
            {place: text for place, (_, text) in bad.items()},
        )


def _rows_of_sheet(found: Survey, spill: Path) -> Iterator[Rows]:
    with on_disk(found.place, spill) as path:
        sheet = read_sheet(path, found.place.suffix, found.sheet)
    rows = iter([row for number, row in sheet.rows if number > found.header_row])
    while some := list(islice(rows, ROWS_A_BATCH)):
        yield Rows([[row[cell] or None for row in some] for cell in found.cells], len(some))
