"""The draft of a mapping, made from exports that nobody has mapped yet.

Belongs here: guessing tables, columns, forms and keys, and writing them down for a person to finish. Not here: the words
that guesses stand on (`vocabulary.py`).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ibis.expr.types as ir

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Column, Table
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.sources.expressions import in_short
from crm_assets.sources.mapping import SOURCE_NAME, ColumnMapping, TableMapping
from crm_assets.sources.readers import read_files, require_readable
from crm_assets.sources.rows import headers_of
from crm_assets.sources.values import text_of, typed
from crm_assets.sources.vocabulary import TABLES, column_words, is_generic, plain

SAMPLE = 5000
"""Rows whose values are looked at."""

TODO = "TODO"
"""Stands where a required column must be named; no file has such a column, so that a check finds it."""

ENOUGH = 0.9
"""A column is taken to be of a type where at least this share of its values is."""


@dataclass
class _Drafted:
    """What is drafted of one file for one table: lines of YAML by column, with what to say of each."""

    table: Table
    origins: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    decimal: str = "."
    dates: str | None = None
    dates_remark: str = ""


def sketch(engine: DuckDBEngine, files: Sequence[Path], name: str | None = None) -> str:
    """Draft a mapping.

    Args:
        engine: Reads the files.
        files: Exports of one source.
        name: The source's; by default that of the folder.

    Returns:
        YAML, in which `# ?` marks guesses and TODO what a person must fill in.

    Raises:
        ValueError: The name cannot be one of a source.
    """
    name = name or _name_of(files[0])
    if not SOURCE_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a source: use lower-case letters, digits and single - or _ between them"
        )
    parts: dict[str, list[str]] = {}
    notes: list[str] = []
    for path in files:
        try:
            for table, lines in _of_file(engine, path):
                parts.setdefault(table, []).append("\n".join(lines))
        except Exception as error:  # What one file brings about is written down, and the others are drafted.
            notes.append(f"# {path.name} cannot be read: {in_short(error)}")
    head = [
        "# A draft by `crm-assets sources sketch`. Look at every `# ?`, fill in every TODO, then run",
        f"# `crm-assets sources check {name}`.",
        f"source: {name}",
        "timezone: UTC  # ? of times that do not say their offset",
        *notes,
        "tables:" if parts else "tables: {}  # no file was understood",
    ]
    return "\n".join([*head, *_tables(parts)]) + "\n"


def _tables(parts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for table in CANONICAL:
        if drafts := parts.get(table):
            yield f"  {table}:"
            # Files of one form differ in their dates only, so that the first draft stands for all of them.
            different = list({draft.partition("\n")[0]: draft for draft in reversed(drafts)}.values())[::-1]
            for draft in different:
                lines = draft.split("\n")
                first, rest = ("  - ", "    ") if len(different) > 1 else ("    ", "    ")
                yield first + lines[0]
                yield from (rest + line for line in lines[1:])


def _of_file(engine: DuckDBEngine, path: Path) -> Iterator[tuple[str, list[str]]]:
    part = TableMapping.model_validate({"files": "*", "columns": {}})
    rows = read_files(engine.backend, path.absolute().parent, [part], [path.name])
    if rows is None:
        return
    with engine.held(rows) as held:
        require_readable(held)
        headers = headers_of(held)
        drafts = _drafts(path, headers)
        used = {header for draft in drafts for header in draft.headers.values()}
        with engine.held(held.limit(SAMPLE)) as sample:
            for draft in drafts:
                _complete(draft, sample, headers)
                _measure_key(draft, held)
                unused = [header for header in headers if header not in used]
                yield draft.table.name, list(_lines(draft, path, unused if draft is drafts[0] else []))


def _drafts(path: Path, headers: Sequence[str]) -> list[_Drafted]:
    """The tables a file may hold, the likeliest first: all that it can fill, or else the one that comes nearest."""
    found = [_Drafted(table, headers=_matches(table, headers)) for table in CANONICAL.values()]
    scored = sorted(found, key=lambda draft: -_score(draft, path))
    best = scored[0]
    if not best.headers:
        return []
    # A file of one thing names others in passing: customers and products of an order, for instance.
    others = [
        draft
        for draft in scored[1:]
        if not _missing(draft)
        and draft.table.name in ("customers", "products")
        and any(draft.headers[name] not in best.headers.values() for name in draft.headers)
        and set(draft.table.key) <= set(best.headers) | {draft.table.key[0]}
        and draft.headers[draft.table.key[0]] == best.headers.get(draft.table.key[0])
    ]
    return [best, *others]


def _score(draft: _Drafted, path: Path) -> float:
    stem = plain(path.name.split(".")[0])
    named = max((len(word) for word in TABLES[draft.table.name].split() if word in stem), default=0)
    event = draft.table.event_time in draft.headers if draft.table.event_time else False
    return len(draft.headers) - 2 * len(_missing(draft)) + event + (2 + 0.1 * named if named else 0)


def _missing(draft: _Drafted) -> list[str]:
    """Required columns that no header is for, and nothing else can give."""
    given = {*draft.headers, "line_id", "kind"}
    if "unit_price" in draft.headers:
        given.add("amount")
    return [column.name for column in draft.table.columns if column.required and column.name not in given]


def _matches(table: Table, headers: Sequence[str]) -> dict[str, str]:
    """Headers by column: the commonest word wins, and a header serves one column, required ones first."""
    by_word: dict[str, str] = {}
    for header in headers:
        by_word.setdefault(plain(header), header)
    ranked = sorted(
        (rank, not column.required, place, column.name, word)
        for place, column in enumerate(table.columns)
        for rank, word in enumerate(column_words(table.name, column.name))
        if word in by_word
    )
    found: dict[str, str] = {}
    for _, _, _, column, word in ranked:
        if column not in found and by_word[word] not in found.values():
            found[column] = by_word[word]
    return {column.name: found[column.name] for column in table.columns if column.name in found}


def _complete(draft: _Drafted, sample: ir.Table, headers: Sequence[str]) -> None:
    """Write down each column's origin, with the forms that its values have."""
    for name, header in draft.headers.items():
        draft.origins[name] = _quoted(header)
        column = draft.table.by_name[name]
        if is_generic(header):
            draft.remarks[name] = "?"
        if column.dtype not in ("string", "boolean"):
            _form(draft, column, sample, header)
        elif column.allowed:
            words = sample.select(word=text_of(sample[header])).distinct().limit(50).to_pyarrow()["word"].to_pylist()
            if strange := sorted(word for word in words if word and word not in column.allowed)[:5]:
                codes = ", ".join(f"{_quoted(word)}: {column.allowed[0]}" for word in strange)
                draft.origins[name] = f"{{column: {_quoted(header)}, values: {{{codes}}}}}"
                draft.remarks[name] = f"? one of {', '.join(column.allowed)}"
    for column in draft.table.columns:
        if column.required and column.name not in draft.origins:
            draft.origins[column.name], draft.remarks[column.name] = _made_up(draft, column, sample)
    order = {column.name: place for place, column in enumerate(draft.table.columns)}
    draft.origins = dict(sorted(draft.origins.items(), key=lambda item: order[item[0]]))


def _made_up(draft: _Drafted, column: Column, sample: ir.Table) -> tuple[str, str]:
    """The origin of a required column that no header is for."""
    headers = draft.headers
    if column.name == "line_id" and "order_id" in headers:
        return "{row_number: [order_id]}", "numbers the lines of an order in file order"
    if column.name == "amount" and {"quantity", "unit_price"} <= set(headers):
        pieces = [
            name if sample[name].type().is_numeric() else f"{name}::DECIMAL(18, 4)"
            for name in (headers["quantity"], headers["unit_price"])
        ]
        sql = " * ".join(
            f'"{piece.removesuffix("::DECIMAL(18, 4)")}"' + ("::DECIMAL(18, 4)" if "::" in piece else "")
            for piece in pieces
        )
        return f"{{sql: {_single(sql)}}}", "? no column of an amount was found"
    if column.name == "quantity":
        return "{value: 1}", "? no column of a quantity was found"
    if column.allowed:
        return f"{{value: {column.allowed[0]}}}", f"? one of {', '.join(column.allowed)}"
    return TODO, f"? required: {column.description}"


def _form(draft: _Drafted, column: Column, sample: ir.Table, header: str) -> None:
    """How the numbers or dates of a column are written, by what reads most of them."""
    is_date = column.dtype in ("date", "timestamp")
    ways: list[dict[str, str]] = [{}, {"dates": "dmy"}, {"dates": "mdy"}] if is_date else [{}, {"decimal": ","}]
    parts = [TableMapping.model_validate({"files": "*", "columns": {}, **way}) for way in ways]
    mapping = ColumnMapping.model_validate({"column": header})
    counted = {f"_{n}": typed(sample[header], column, mapping, part, "UTC").count() for n, part in enumerate(parts)}
    counts = sample.aggregate(_all=text_of(sample[header]).count(), **counted).to_pyarrow().to_pylist()[0]
    read = [counts[f"_{n}"] for n in range(len(ways))]
    if not counts["_all"]:
        draft.remarks[column.name] = "? every value is empty"
    elif max(read) < ENOUGH * counts["_all"]:
        kind = "dates" if is_date else "numbers"
        draft.remarks[column.name] = f"? {max(read):,} of {counts['_all']:,} values are {kind}"
        if max(read) == 0 and not column.required:
            draft.remarks[column.name] += "; another column, or none?"
    elif is_date and read[1] > read[0]:
        _order(draft, sample, header)
    elif not is_date and read[1] > read[0]:
        draft.decimal = ","


def _order(draft: _Drafted, sample: ir.Table, header: str) -> None:
    text = text_of(sample[header])
    first, second = (text.re_extract(rf"^{pattern}", 1).try_cast("int64") for pattern in (r"(\d+)\D", r"\d+\D(\d+)\D"))
    days = sample.aggregate(first=(first > 12).sum(), second=((second > 12) & (first <= 12)).sum()).to_pyarrow()
    dmy, mdy = (days[name][0].as_py() or 0 for name in ("first", "second"))
    draft.dates = "mdy" if mdy > dmy else "dmy"
    draft.dates_remark = "" if bool(dmy) != bool(mdy) else "? nothing in the values tells the order of day and month"


def _measure_key(draft: _Drafted, rows: ir.Table) -> None:
    """Say how unique the key is in the file, or which columns could be one."""
    key = [draft.headers.get(name) for name in draft.table.key]
    total = int(rows.count().execute())
    named = [header for header in key if header]
    if len(named) == len(key):
        distinct = int(rows.select(*dict.fromkeys(named)).drop_null().distinct().count().execute())
        last = draft.table.key[-1]
        if distinct == total:
            remark = f"unique in {total:,} rows"
        elif draft.table.name in ("customers", "products", "campaigns"):
            remark = f"{distinct:,} in {total:,} rows; the last one counts"
        else:
            remark = f"? not unique: {distinct:,} in {total:,} rows"
        draft.remarks.setdefault(last, remark)
    elif TODO in draft.origins.values() and total:
        unique = [name for name in headers_of(rows) if int(rows[name].nunique().execute()) == total]
        for name in draft.table.key:
            if draft.origins.get(name) == TODO and unique:
                draft.remarks[name] += f" Unique in the file: {', '.join(unique[:5])}"


def _lines(draft: _Drafted, path: Path, unused: Sequence[str]) -> Iterator[str]:
    yield f"files: {_quoted(_glob(path.name), always=True)}"
    if draft.decimal != ".":
        yield 'decimal: ","'
    if draft.dates:
        yield f"dates: {draft.dates}" + (f"  # {draft.dates_remark}" if draft.dates_remark else "")
    yield "columns:"
    for name, origin in draft.origins.items():
        remark = draft.remarks.get(name)
        yield f"  {name}: {origin}" + (f"  # {remark}" if remark else "")
    if unused:
        yield f"  # not used: {', '.join(' '.join(header.split()) for header in unused)}"


def _glob(name: str) -> str:
    """The name with its dates and numbers left open, since the next export will have others."""
    escaped = re.sub(r"[\[\]?*]", "?", name)
    return re.sub(r"\d{4}[-_.]?\d{2}(?:[-_.]?\d{2})?(?:[-_T]?\d{4,6})?", "*", escaped)


def _name_of(path: Path) -> str:
    parent = path.absolute().parent
    folder = parent.parent.name if re.fullmatch(r"\d{4}-\d\d-\d\d", parent.name) else parent.name
    name = re.sub(r"[^a-z0-9]+", "_", folder.lower()).strip("_")
    return name or "my_source"


def _quoted(text: str, always: bool = False) -> str:
    """A text as YAML has it, quoted where it must be."""
    is_plain = re.fullmatch(r"[A-Za-z\u4e00-\u9fff](?:[\w\u4e00-\u9fff ]*[\w\u4e00-\u9fff])?", text)
    if is_plain and not always and text.lower() not in ("yes", "no", "on", "off", "true", "false", "null", "y", "n"):
        return text
    return json.dumps(text, ensure_ascii=False)


def _single(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
