"""From the rows of a file to the rows of a canonical table: mapped, typed and judged.

Belongs here: applying a mapping and a contract to every row, in the engine. Not here: removing duplicates or repairing
values, which is cleaning (`mining/cleaning.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import reduce
from operator import or_

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import EXPORT_DATE, FILE, LINE, SOURCE, quarantine
from crm_assets.contracts.model import Column, Table
from crm_assets.contracts.predicates import Violation, unreadable, violations
from crm_assets.lake.functions import parse_timestamp, to_utc
from crm_assets.sources.mapping import ColumnMapping, MappingError, Source, TableMapping, nearest, part_of
from crm_assets.sources.readers import FILE_SHA256

TRUE_WORDS = ("true", "t", "yes", "y", "1", "1.0", "是")
FALSE_WORDS = ("false", "f", "no", "n", "0", "0.0", "否")

OFFSET = r":\d\d(\.\d+)?([Zz]|[+-]\d\d(:?\d\d)?)$"
"""A time that ends with its offset from UTC, such as ``10:00:00Z`` or ``10:00:00+02:00``."""

PROVENANCE = (FILE.name, LINE.name, SOURCE.name, EXPORT_DATE.name)

_KEPT = "__kept"


def judge(raw: ir.Table, source: Source, contract: Table) -> ir.Table:
    """Map, type and judge the raw rows of a source for one canonical table.

    Args:
        raw: The files' own columns, `_file`, `_file_sha256`, `_line`, `_source` and `_export_date`.
        source: The source, which maps this table.
        contract: The canonical table.

    Returns:
        One row per raw row: the contract's columns, where the row came from, and for rejected rows `_reasons`, all of
        them, and `_raw_row`, the row as delivered; both are null for valid rows. Read it through `valid_rows` and
        `rejected_rows`, and compute it once (`Engine.held`), since both need all of it.

    Raises:
        MappingError: The mapping names a column or expression that the files cannot give.
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


def _judge_part(raw: ir.Table, mapping: TableMapping, source: Source, contract: Table) -> ir.Table:
    rows = _with_expressions(raw, mapping, source, contract)
    rows = rows.mutate(**_typed_columns(rows, mapping, contract, source.timezone))
    # Each step names its result, so that the engine computes it once a row.
    rows = rows.mutate(_bad=reduce(or_, [condition for condition, _ in _problems(rows, mapping, contract)]))
    bad, problems = rows["_bad"], list(_problems(rows, mapping, contract))
    reasons = ibis.array([condition.ifelse(reason, ibis.null("string")) for condition, reason in problems])
    delivered = {name: rows[name] for name in raw.columns if name not in (*PROVENANCE, FILE_SHA256)}
    return rows.select(
        **{column.name: rows[_value(column.name)] for column in contract.columns},
        **{name: rows[name] for name in PROVENANCE},
        _reasons=bad.ifelse(reasons.filter(lambda reason: reason.notnull()), ibis.null("array<string>")),
        _raw_row=bad.ifelse(ibis.struct(delivered).cast("json").cast("string"), ibis.null("string")),
    )


def valid_rows(judged: ir.Table) -> ir.Table:
    """The rows that meet the contract, as `contracts.layers.validated` has them."""
    return judged.filter(judged["_reasons"].isnull()).drop("_reasons", "_raw_row")


def rejected_rows(judged: ir.Table, contract: Table) -> ir.Table:
    """The rows that do not, as `contracts.layers.quarantine` has them."""
    rejected = judged.filter(judged["_reasons"].notnull()).rename(reasons="_reasons", raw_row="_raw_row")
    return rejected.mutate(table_name=ibis.literal(contract.name)).select(*quarantine(contract).by_name)


def _typed_columns(rows: ir.Table, mapping: TableMapping, contract: Table, timezone: str) -> dict[str, ir.Value]:
    return {
        _value(column.name): _typed(rows[_origin(column.name)], column, mapping.columns[column.name], timezone)
        if column.name in mapping.columns
        else ibis.null(column.dtype)
        for column in contract.columns
    }


def _problems(rows: ir.Table, mapping: TableMapping, contract: Table) -> Iterator[Violation]:
    broken = _broken_rules(rows, mapping, contract)
    if not mapping.where:
        yield from broken
        return
    yield ~rows[_KEPT], ibis.literal(f"left out by the mapping: not ({mapping.where})")
    for condition, reason in broken:
        # A row that was left out on purpose is not judged besides.
        yield rows[_KEPT] & condition, reason


def _broken_rules(rows: ir.Table, mapping: TableMapping, contract: Table) -> Iterator[Violation]:
    for column in contract.columns:
        if column.name not in mapping.columns:
            continue
        value = rows[_value(column.name)]
        if column.dtype != "string":
            yield unreadable(column, _text(rows[_origin(column.name)]), value)
        yield from violations(column, value)
        if column.name == contract.event_time:
            yield _after_the_export(rows, column, value)


def _with_expressions(raw: ir.Table, mapping: TableMapping, source: Source, contract: Table) -> ir.Table:
    """The raw rows with one column per mapped column, still as delivered, and whether `where` keeps the row."""
    expressions = {_origin(name): column.sql for name, column in mapping.columns.items() if column.sql}
    rows = _evaluate(raw, {**expressions, _KEPT: mapping.where or "true"}, source, contract)
    others: dict[str, ir.Value] = {}
    for name, column in mapping.columns.items():
        _require_columns(column, raw, mapping, source, contract, name)
        if column.column:
            others[_origin(name)] = _recoded(_first_of(rows, column.column), column.values)
        elif column.value is not None:
            others[_origin(name)] = ibis.literal(column.value)
    rows = rows.mutate(**others) if others else rows
    numbers = {name: column.row_number for name, column in mapping.columns.items() if column.row_number}
    return rows.mutate(**{_origin(name): _row_number(rows, keys) for name, keys in numbers.items()})


def _row_number(rows: ir.Table, keys: Sequence[str]) -> ir.IntegerValue:
    """Numbers from 1 within columns of the file, or of the canonical table, in file order."""
    within = [rows[_origin(key)] if _origin(key) in rows.columns else rows[key] for key in keys]
    file = [rows[SOURCE.name], rows[EXPORT_DATE.name], rows[FILE.name]]
    return ibis.row_number().over(group_by=[*file, *within], order_by=rows[LINE.name]) + 1


def _evaluate(raw: ir.Table, expressions: Mapping[str, str], source: Source, contract: Table) -> ir.Table:
    def query(wanted: Mapping[str, str]) -> ir.Table:
        columns = ", ".join(
            f"coalesce(try({sql}), false) AS {name}" if name == _KEPT else f'try({sql}) AS "{name}"'
            for name, sql in wanted.items()
        )
        return raw.alias("delivered").sql(f"SELECT *, {columns} FROM delivered", dialect="duckdb")

    try:
        return query(expressions)
    except Exception as whole:
        for name, sql in expressions.items():
            try:
                query({name: sql})
            except Exception as error:
                place = "where" if name == _KEPT else name.removeprefix(_origin(""))
                raise MappingError(
                    f"{source.source}.yaml: {contract.name}.{place}: the expression {sql!r} cannot be evaluated: {error}"
                ) from error
        raise whole


def _first_of(rows: ir.Table, names: Sequence[str]) -> ir.Value:
    """The first of these columns that has a value."""
    found = [rows[name] for name in names if name in rows.columns]
    return found[0] if len(found) == 1 else ibis.coalesce(*map(_text, found))


def _require_columns(
    column: ColumnMapping, raw: ir.Table, mapping: TableMapping, source: Source, contract: Table, name: str
) -> None:
    if column.column and any(name in raw.columns for name in column.column):
        return
    for wanted in column.columns:
        if wanted not in raw.columns and not (column.row_number and wanted in mapping.columns):
            headers = [header for header in raw.columns if header not in (*PROVENANCE, FILE_SHA256)]
            raise MappingError(
                f"{source.source}.yaml: {contract.name}.{name} reads column {wanted!r}, which "
                f"{mapping.files} does not have{nearest(wanted, headers)}; "
                f"its columns: {', '.join(headers)}"
            )


def _recoded(value: ir.Value, replacements: Mapping[str, str] | None) -> ir.Value:
    if not replacements:
        return value
    text = _text(value)
    return ibis.cases(*[(text == old, ibis.literal(new)) for old, new in replacements.items()], else_=text)


def _typed(origin: ir.Value, column: Column, mapping: ColumnMapping, timezone: str) -> ir.Value:
    """The delivered value in the contract's type, null where it is not of that type."""
    delivered = origin.type()
    if column.dtype == "string":
        return _text(origin)
    if column.dtype == "boolean":
        if delivered.is_boolean():
            return origin
        word = _text(origin).lower()
        return ibis.cases((word.isin(TRUE_WORDS), True), (word.isin(FALSE_WORDS), False), else_=ibis.null("boolean"))
    if column.dtype in ("date", "timestamp"):
        if delivered.is_temporal():
            moment = origin.cast("timestamp")
        elif mapping.format:
            moment = parse_timestamp(_text(origin), mapping.format)
        else:
            moment = _text(origin).try_cast("timestamp")
        if column.dtype == "date":
            return moment.cast("date")
        return _in_utc(moment, origin, mapping.format, timezone)
    return (origin if delivered.is_numeric() else _text(origin)).try_cast(column.dtype)


def _in_utc(moment: ir.TimestampValue, origin: ir.Value, format: str | None, timezone: str) -> ir.TimestampValue:
    """The UTC time of a delivered time: values that say their offset are read by it, the others are local."""
    delivered = origin.type()
    if getattr(delivered, "timezone", None) or (format and "%z" in format):
        return moment
    local = to_utc(moment, timezone)
    if delivered.is_temporal() or format:
        return local
    text = _text(origin)
    # Reading an offset takes the engine six times as long, so only where there is one.
    return text.re_search(OFFSET).ifelse(text.try_cast("timestamp('UTC')").cast("timestamp"), local)


def _text(value: ir.Value) -> ir.StringValue:
    """The delivered value as text, without surrounding blanks; null where nothing is left."""
    if value.type().is_floating():
        # Identifiers that a file holds as floating-point numbers are whole numbers with lost zeros.
        whole = value == value.floor()
        text = whole.ifelse(value.try_cast("int64").cast("string"), value.cast("string"))
    else:
        text = value.cast("string")
    return text.strip().nullif("")


def _after_the_export(rows: ir.Table, column: Column, value: ir.Value) -> Violation:
    # One day of grace, since an export's date and its events may be in different time zones.
    latest = rows[EXPORT_DATE.name].cast("timestamp") + ibis.interval(timedelta(days=2))
    reason = ibis.literal(f"{column.name}: '") + value.cast("string") + ibis.literal("' is after the export")
    return (value >= latest).fill_null(False), reason


def _origin(name: str) -> str:
    return f"__delivered_{name}"


def _value(name: str) -> str:
    return f"__value_{name}"
