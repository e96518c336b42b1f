"""Reading the files of a delivery as they are: the file's own columns, and where each row stood.

Belongs here: from the files of a delivery to rows. Not here: what one file is (`surveys.py`), or what the columns mean
(`mapping.py`, `rows.py`).
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import ERROR, FILE, FILE_SHA256, LINE, LINE_TEXT
from crm_assets.lake.streams import Stream, parquet_table, spill_folder, stream_table
from crm_assets.sources.archives import ARCHIVE, UnreadableFileError, members_of
from crm_assets.sources.deliveries import leads_outside
from crm_assets.sources.dialect import RESERVED, column_names
from crm_assets.sources.filling import look_up
from crm_assets.sources.mapping import TableMapping, matches, part_of
from crm_assets.sources.surveys import MOST_COLUMNS, OUTSIDE, PARQUET, Place, Survey, survey, unpacked
from crm_assets.sources.texts import batches_of

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

PartOf = Callable[[str], TableMapping | None]
"""The mapping that reads a file of this name, or None."""


@dataclass(frozen=True)
class Peek:
    """The beginning of a file.

    Attributes:
        columns: Names of its columns, as raw rows have them.
        rows: Its first rows that can be read, as text; null is None.
        encoding: Of a text.
        delimiter: Of a delimited text.
        header_line: Line of the file, or row of the sheet, that the header stands on, from 1; None when it has none.
        sheet: Of a workbook.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str | None]]
    encoding: str | None = None
    delimiter: str | None = None
    header_line: int | None = None
    sheet: str | None = None


def peek(backend: "Backend", folder: Path, name: str, part: TableMapping, rows: int = 200) -> Peek:
    """The columns and first rows of one file of a delivery.

    Args:
        backend: The engine.
        folder: The delivery's folder.
        name: The file's name in it, or a member's, such as `orders.zip/orders_1.csv`; of an archive, its first member.
        part: How it is read, whatever its glob.
        rows: How many rows.

    Raises:
        UnreadableFileError: It cannot be read; the message says why.
    """
    at = name.lower().find(f"{ARCHIVE}/")
    file = name[: at + len(ARCHIVE)] if at >= 0 else name
    places = [place for place in _places(folder, lambda _: part, [file], part) if place.name == name or file == name]
    if not places:
        raise UnreadableFileError(f"{name}: the archive does not hold it")
    found = survey(folder, places[0], spill_folder(backend))
    table = _rows_of(backend, [found])
    first = table.order_by(LINE.name).limit(rows + 1)
    own = [column for column in table.columns if column not in RESERVED]
    texts = first.select(**{column: first[column].cast("string") for column in (*own, ERROR.name, LINE.name)})
    read: list[dict[str, Any]] = texts.to_pyarrow().to_pylist()
    if read and read[0][LINE.name] == "0":
        raise UnreadableFileError(f"{name}: {read[0][ERROR.name]}")
    good = [{column: row[column] for column in own} for row in read[:rows] if row[ERROR.name] is None]
    layout = found.dialect
    header = layout.header_line if layout else found.header_row
    delimiter = layout.delimiter if layout else None
    return Peek(tuple(own), good, found.encoding, delimiter, header or None, found.sheet)


def read_files(
    backend: "Backend", folder: Path, parts: Sequence[TableMapping], files: Sequence[str]
) -> ir.Table | None:
    """The rows of a delivery's files for one table, lazily; they may be read more than once.

    Args:
        backend: The engine.
        folder: The delivery's folder.
        parts: The table's mapping; a file is read as the first part that matches its name says.
        files: Names of the delivery's files.

    Returns:
        The files' own columns, those absent in some file as null, and `_file`, `_file_sha256`, `_line`, `_error` and
        `_line_text`; None when no file matches. A line that cannot be read is a row with an `_error`, and so is, as
        line 0, a file that cannot be read. Reading the rows fails where a file has changed since.
    """
    surveys = [
        survey(folder, place, spill_folder(backend))
        for place in _places(folder, partial(part_of, parts), files, parts[0])
    ]
    tables = []
    for part, of_part in groupby(surveys, key=lambda found: found.place.part):
        found = list(of_part)
        if part.lookup:
            others = partial(_others, backend, folder, part, files)
            tables += [look_up(_rows_of(backend, [one]), part.lookup, others) for one in found]
        else:
            tables.append(_rows_of(backend, found))
    return union_by_name(tables) if tables else None


def require_readable(rows: ir.Table) -> None:
    """Raise for a file that could not be read at all, whose error is its only row.

    Raises:
        UnreadableFileError: With that error.
    """
    whole = rows.filter(rows[LINE.name] == 0).select(ERROR.name).limit(1).to_pyarrow()
    if whole.num_rows:
        raise UnreadableFileError(whole[ERROR.name][0].as_py())


def _others(
    backend: "Backend", folder: Path, part: TableMapping, files: Sequence[str], globs: Sequence[str]
) -> ir.Table | None:
    """The rows of the files that a lookup names, written as those of the part."""
    places = _places(folder, lambda name: part if matches(globs, name) else None, files, part)
    surveys = [survey(folder, place, spill_folder(backend)) for place in places]
    if not surveys:
        return None
    rows = _rows_of(backend, surveys)
    return rows.filter(rows[ERROR.name].isnull())


def _places(folder: Path, part_for: PartOf, files: Sequence[str], any_part: TableMapping) -> Iterator[Place]:
    """The files and members of archives that some mapping reads, in order.

    An archive that cannot be opened is one place, of `any_part` where its own name says nothing.
    """
    for name in files:
        path = folder / name
        if not name.lower().endswith(ARCHIVE):
            if part := part_for(name):
                yield Place(name, path, None, part)
            continue
        try:
            if leads_outside(folder, path):
                raise UnreadableFileError(OUTSIDE)
            members = members_of(path)
        except UnreadableFileError as error:
            # What it holds cannot be known, so it may be what any of the mappings reads.
            yield Place(name, path, None, part_for(name) or any_part, str(error))
            continue
        for member in members:
            if part := part_for(f"{name}/{member}"):
                yield Place(f"{name}/{member}", path, member, part)


def _rows_of(backend: "Backend", surveys: Sequence[Survey]) -> ir.Table:
    """The rows of files of one part: texts and sheets in one stream, each parquet file with its types."""
    tables = []
    streamed = []
    for found in surveys:
        table = _parquet_rows(backend, found) if found.place.suffix == PARQUET and not found.error else found
        if isinstance(table, Survey):
            streamed.append(table)
        else:
            tables.append(table)
    if streamed:
        schema, batches = batches_of(streamed, spill_folder(backend))
        tables.insert(0, stream_table(backend, Stream(schema, batches)))
    return union_by_name(tables)


def _parquet_rows(backend: "Backend", found: Survey) -> ir.Table | Survey:
    """The rows of a parquet file, or why it cannot be read."""
    try:
        path = unpacked(found.place, spill_folder(backend)) if found.place.is_packed else found.place.path
        table = parquet_table(backend, path, "__place")
    except Exception as error:  # Whatever a damaged file brings about stops no other.
        return replace(found, error=f"it is not parquet that can be read: {str(error).splitlines()[0]}")
    if found.place.is_packed:
        weakref.finalize(table.op(), path.unlink, missing_ok=True)
    delivered = [name for name in table.columns if name != "__place"]
    if len(delivered) > MOST_COLUMNS:
        return replace(found, error=f"it has {len(delivered)} columns; at most {MOST_COLUMNS} are read")
    return table.select(
        **{name: table[old] for name, old in zip(column_names(delivered), delivered, strict=True)},
        **{
            FILE.name: ibis.literal(found.place.name),
            FILE_SHA256.name: ibis.literal(found.sha256),
            LINE.name: (table["__place"] + 1).cast(LINE.dtype),
            ERROR.name: ibis.null("string"),
            LINE_TEXT.name: ibis.null("string"),
        },
    )


def union_by_name(tables: Sequence[ir.Table]) -> ir.Table:
    """All rows of tables that may differ in columns: absent ones are null, differing types become text."""
    if len(tables) == 1:
        return tables[0]
    types: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for table in tables:
        for name, dtype in table.schema().items():
            # To the engine, names that differ in case are the same.
            name = spelled.setdefault(name.casefold(), name)
            types[name] = dtype if types.get(name, dtype) == dtype else "string"

    def aligned(table: ir.Table) -> ir.Table:
        own = {name.casefold(): name for name in table.columns}
        return table.select(
            **{
                name: table[own[name.casefold()]].cast(dtype) if name.casefold() in own else ibis.null(dtype)
                for name, dtype in types.items()
            }
        )

    return _union(list(map(aligned, tables)))


def _union(tables: Sequence[ir.Table]) -> ir.Table:
    """The union by halves: one after the other, a hundred tables nest too deeply for the engine's compiler."""
    if len(tables) == 1:
        return tables[0]
    middle = len(tables) // 2
    return _union(tables[:middle]).union(_union(tables[middle:]))
