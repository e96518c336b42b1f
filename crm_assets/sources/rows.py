"""From the rows of a file to the rows of a canonical table: mapped, typed and judged.

Belongs here: applying a mapping and a contract to every row, in the engine. Not here: how a text is read as a number or
a date (`values.py`), removing duplicates or repairing values, which is cleaning (`mining/cleaning.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import reduce
from operator import or_

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import ERROR, EXPORT_DATE, FILE, FILE_SHA256, LINE, LINE_TEXT, SOURCE, quarantine
from crm_assets.contracts.model import Column, Table
from crm_assets.contracts.predicates import Violation, unreadable, violations
from crm_assets.sources.expressions import evaluate, unmet_columns
from crm_assets.sources.filling import as_delivered, fill_down
from crm_assets.sources.mapping import Source, TableMapping, nearest, part_of
from crm_assets.sources.values import ambiguous_date, text_of, typed

PROVENANCE = (FILE.name, LINE.name, SOURCE.name, EXPORT_DATE.name)

KEPT = "__kept"
"""Whether `where` keeps the row."""

_ORDER_UNKNOWN = "' may be day or month first: write `dates: dmy` or `dates: mdy` in the mapping"


def judge(raw: ir.Table, source: Source, contract: Table) -> ir.Table:
    """Map, type and judge the raw rows of a source for one canonical table.

    Args:
        raw: The files' own columns, `_file`, `_file_sha256`, `_line`, `_source`, `_export_date` and, where rows or
            files could not be read, `_error`.
        source: The source, which maps this table.
        contract: The canonical table.

    Returns:
        One row per raw row: the contract's columns, where the row came from, and for rejected rows `_reasons`, all of
        them, and `_raw_row`, the row as delivered; both are null for valid rows. Read it through `valid_rows` and
        `rejected_rows`, and compute it once (`Engine.held`), since both need all of it.

    Raises:
        MappingError: An expression of the mapping is wrong in itself.
    """
    parts = source.tables[contract.name]
    if len(parts) == 1:
        return _judge_part(raw, parts[0], source, contract)
    files = raw.select(FILE.name).distinct().to_pyarrow()[FILE.name].to_pylist()
    names: dict[int, list[str]] = {}
    for name in files:
        part = part_of(parts, name)
        # Files that the mapping no longer names are judged as before, so that their rows are not lost.
        names.setdefault(parts.index(part) if part else 0, []).append(name)
    judged = [
        _judge_part(raw.filter(raw[FILE.name].isin(found)), parts[place], source, contract)
        for place, found in sorted(names.items())
    ] or [_judge_part(raw, parts[0], source, contract)]
    return reduce(lambda left, right: left.union(right), judged)


def headers_of(raw: ir.Table) -> list[str]:
    """The files' own columns."""
    return [name for name in raw.columns if name not in (*PROVENANCE, FILE_SHA256.name, ERROR.name, LINE_TEXT.name)]


def _judge_part(raw: ir.Table, mapping: TableMapping, source: Source, contract: Table) -> ir.Table:
    if ERROR.name not in raw.columns:
        raw = raw.mutate(**{ERROR.name: ibis.null("string")})
    if LINE_TEXT.name not in raw.columns:
        raw = raw.mutate(**{LINE_TEXT.name: ibis.null("string")})
    headers = headers_of(raw)
    rows = _with_origins(fill_down(raw, mapping.fill_down), mapping, source, contract)
    rows = rows.mutate(**_typed_columns(rows, mapping, source, contract))
    error, kept = rows[ERROR.name], rows[KEPT]
    broken = reduce(or_, [condition for condition, _ in _broken_rules(rows, mapping, contract, headers)])
    # Each step names its result, so that the engine computes it once a row.
    rows = rows.mutate(_bad=error.notnull() | (broken if mapping.where is None else ~kept | broken))
    bad, error, kept = rows["_bad"], rows[ERROR.name], rows[KEPT]
    problems = _broken_rules(rows, mapping, contract, headers)
    reasons = ibis.array([condition.ifelse(reason, ibis.null("string")) for condition, reason in problems])
    left_out = f"left out by the mapping: not ({mapping.where}){_note(unmet_columns(mapping.where, headers), headers)}"
    delivered = {name: as_delivered(rows, name) for name in headers} or {ERROR.name: error}
    return rows.select(
        **{column.name: rows[_value(column.name)] for column in contract.columns},
        **{name: rows[name] for name in PROVENANCE},
        _reasons=ibis.cases(
            (~bad, ibis.null("array<string>")),
            # What cannot be read, or was left out on purpose, is not judged besides.
            (error.notnull(), ibis.array([error])),
            (~kept, ibis.array([ibis.literal(left_out)])),
            else_=reasons.filter(lambda reason: reason.notnull()),
        ),
        _raw_row=ibis.cases(
            (~bad, ibis.null("string")),
            (rows[LINE_TEXT.name].notnull(), ibis.struct({"line": rows[LINE_TEXT.name]}).cast("json").cast("string")),
            else_=ibis.struct(delivered).cast("json").cast("string"),
        ),
    )


def valid_rows(judged: ir.Table) -> ir.Table:
    """The rows that meet the contract, as `contracts.layers.validated` has them."""
    return judged.filter(judged["_reasons"].isnull()).drop("_reasons", "_raw_row")


def rejected_rows(judged: ir.Table, contract: Table) -> ir.Table:
    """The rows that do not, as `contracts.layers.quarantine` has them."""
    rejected = judged.filter(judged["_reasons"].notnull()).rename(reasons="_reasons", raw_row="_raw_row")
    return rejected.mutate(table_name=ibis.literal(contract.name)).select(*quarantine(contract).by_name)


def _typed_columns(rows: ir.Table, mapping: TableMapping, source: Source, contract: Table) -> dict[str, ir.Value]:
    def value(column: Column) -> ir.Value:
        if column.name not in mapping.columns:
            return ibis.null(column.dtype)
        found = typed(rows[_origin(column.name)], column, mapping.columns[column.name], mapping, source.timezone)
        return ibis.literal(source.id_prefix) + found if source.id_prefix and _is_identifier(column) else found

    return {_value(column.name): value(column) for column in contract.columns}


def _is_identifier(column: Column) -> bool:
    # The line of an order is numbered within it, so the order's own prefix tells it from others.
    return column.name.endswith("_id") and column.name != "line_id"


def _broken_rules(
    rows: ir.Table, mapping: TableMapping, contract: Table, headers: Sequence[str]
) -> Iterator[Violation]:
    for column in contract.columns:
        if column.name not in mapping.columns:
            continue
        origin = mapping.columns[column.name]
        value, text = rows[_value(column.name)], text_of(rows[_origin(column.name)])
        if column.dtype != "string":
            condition, reason = unreadable(column, text, value)
            if column.dtype in ("date", "timestamp") and not (origin.format or mapping.dates):
                unknown = ibis.literal(f"{column.name}: '") + text + ibis.literal(_ORDER_UNKNOWN)
                reason = ambiguous_date(text).ifelse(unknown, reason)
            yield condition, reason
        wanted = origin.columns if origin.column else unmet_columns(origin.sql, headers)
        absent = [] if any(name in headers for name in wanted) else wanted
        yield from violations(
            column, value, text if column.dtype != "string" else None, _note(absent, headers) if column.required else ""
        )
        if column.name == contract.event_time:
            yield _after_the_export(rows, column, value)


def _note(absent: Sequence[str], headers: Sequence[str]) -> str:
    """That a file lacks columns that were named, with the header that may be meant."""
    if not absent:
        return ""
    names = " or ".join(map(repr, absent))
    hint = next(filter(None, (nearest(name, headers) for name in absent)), None)
    shown = ", ".join(headers[:6]) + (", ..." if len(headers) > 6 else "")
    return f", since the file has no column {names}{hint or f'; it has: {shown[:160]}'}"


def _with_origins(raw: ir.Table, mapping: TableMapping, source: Source, contract: Table) -> ir.Table:
    """The raw rows with one column per mapped column, still as delivered, and whether `where` keeps the row."""
    expressions = {_origin(name): column.sql for name, column in mapping.columns.items() if column.sql}
    place = f"{source.source}.yaml: {contract.name}"
    rows = evaluate(raw, expressions, mapping.where, KEPT, headers_of(raw), lambda name: f"{place}.{_named(name)}")
    others: dict[str, ir.Value] = {}
    for name, column in mapping.columns.items():
        if column.column:
            found = _first_of(rows, column.column)
            others[_origin(name)] = _recoded(found, column.values) if column.values else found
        elif column.value is not None:
            others[_origin(name)] = ibis.literal(column.value)
    rows = rows.mutate(**others) if others else rows
    numbers = {name: column.row_number for name, column in mapping.columns.items() if column.row_number is not None}
    return rows.mutate(**{_origin(name): _row_number(rows, keys) for name, keys in numbers.items()})


def _row_number(rows: ir.Table, keys: Sequence[str]) -> ir.IntegerValue:
    """Numbers from 1 within columns of the file, or of the canonical table, in file order."""
    names = [_origin(key) if _origin(key) in rows.columns else key for key in keys]
    within = [rows[name] for name in names if name in rows.columns]
    file = [rows[SOURCE.name], rows[EXPORT_DATE.name], rows[FILE.name]]
    return ibis.row_number().over(group_by=[*file, *within], order_by=rows[LINE.name]) + 1


def _first_of(rows: ir.Table, names: Sequence[str]) -> ir.Value:
    """The first of these columns that has a value; null where the file has none of them."""
    found = [rows[name] for name in names if name in rows.columns]
    if not found:
        return ibis.null("string")
    return found[0] if len(found) == 1 else ibis.coalesce(*map(text_of, found))


def _recoded(value: ir.Value, replacements: Mapping[str, str]) -> ir.Value:
    text = text_of(value)
    return ibis.cases(*[(text == old, ibis.literal(new)) for old, new in replacements.items()], else_=text)


def _after_the_export(rows: ir.Table, column: Column, value: ir.Value) -> Violation:
    # One day of grace, since an export's date and its events may be in different time zones.
    latest = rows[EXPORT_DATE.name].cast("timestamp") + ibis.interval(timedelta(days=2))
    reason = ibis.literal(f"{column.name}: '") + value.cast("string") + ibis.literal("' is after the export")
    return (value >= latest).fill_null(False), reason


def _named(name: str) -> str:
    return "where" if name == KEPT else name.removeprefix(_origin(""))


def _origin(name: str) -> str:
    return f"__delivered_{name}"


def _value(name: str) -> str:
    return f"__value_{name}"
