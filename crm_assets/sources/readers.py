"""Reading the files of a delivery as they are: the file's own columns, and where each row stood.

Belongs here: file formats. Not here: what the columns mean (`mapping.py`, `rows.py`).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import FILE, FILE_SHA256, LINE
from crm_assets.sources.deliveries import sha256
from crm_assets.sources.filling import look_up
from crm_assets.sources.mapping import CsvOptions, TableMapping, matches, part_of

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

SMALL_FILE = 2_500_000
"""Bytes; the engine wants a buffer larger than the longest line it allows, 2 MB."""

DELIMITERS = {".csv": None, ".tsv": "\t", ".txt": None}


class UnreadableFileError(ValueError):
    """A delivered file cannot be read; the message says which and why."""


def read_files(
    backend: "Backend", folder: Path, parts: Sequence[TableMapping], files: Sequence[str]
) -> ir.Table | None:
    """The rows of a delivery's files for one table, lazily.

    Args:
        backend: The engine.
        folder: The delivery's folder.
        parts: The table's mapping; a file is read as the first part that matches its name says.
        files: Names of the delivery's files.

    Returns:
        The files' own columns, those absent in some file as null, and `_file`, `_file_sha256`, `_line`; None when no
        file matches.

    Raises:
        UnreadableFileError: A file's format is unknown, or its content is not of its format.
    """
    matching = [(name, part) for name in files if (part := part_of(parts, name))]
    tables = [
        look_up(
            _read_file(backend, folder, name, part.csv), part.lookup, partial(_others, backend, folder, part, files)
        )
        for name, part in matching
    ]
    return union_by_name(tables) if tables else None


def _others(
    backend: "Backend", folder: Path, part: TableMapping, files: Sequence[str], globs: Sequence[str]
) -> ir.Table | None:
    """The rows of the files that a lookup names, written as those of the part."""
    tables = [_read_file(backend, folder, name, part.csv) for name in files if matches(globs, name)]
    return union_by_name(tables) if tables else None


def union_by_name(tables: Sequence[ir.Table]) -> ir.Table:
    """All rows of tables that may differ in columns: absent ones are null, differing types become text."""
    types: dict[str, Any] = {}
    for table in tables:
        for name, dtype in table.schema().items():
            types[name] = dtype if types.get(name, dtype) == dtype else "string"

    def aligned(table: ir.Table) -> ir.Table:
        return table.select(
            **{
                name: table[name].cast(dtype) if name in table.columns else ibis.null(dtype)
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


def _read_file(backend: "Backend", folder: Path, name: str, csv: CsvOptions) -> ir.Table:
    path = folder / name
    try:
        table = _scan(backend, path, csv)
    except Exception as error:
        raise UnreadableFileError(f"{folder.parent.name}/{folder.name}/{name} cannot be read: {error}") from error
    line = (ibis.row_number() + 1).cast(LINE.dtype)
    return table.mutate(
        **{FILE.name: ibis.literal(name), FILE_SHA256.name: ibis.literal(sha256(path)), LINE.name: line}
    )


def _buffer_size(path: Path) -> int | None:
    """A small file's own buffer: with the engine's default of 32 MB, a hundred small files fill the memory."""
    return SMALL_FILE if path.suffix != ".gz" and path.stat().st_size < SMALL_FILE else None


def _scan(backend: "Backend", path: Path, csv: CsvOptions) -> ir.Table:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix in DELIMITERS:
        options: dict[str, Any] = {
            "delim": csv.delimiter or DELIMITERS[suffix],
            "quote": csv.quote,
            "encoding": csv.encoding,
            "header": True if csv.header is None else csv.header,
            "all_varchar": True,
            # Else lines that start with # may be taken for comments: the order numbers of Shopify do.
            "comment": "",
            "buffer_size": _buffer_size(path),
        }
        return backend.read_csv(path, **{name: value for name, value in options.items() if value is not None})
    if suffix == ".parquet":
        return backend.read_parquet(path)
    if suffix in {".json", ".jsonl", ".ndjson"}:
        return backend.read_json(path)
    raise UnreadableFileError(f"the format {suffix!r} is not known; use csv, tsv, parquet, json or jsonl")
