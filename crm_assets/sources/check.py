"""What is wrong with a mapping and the files it is for, found on a sample before anything runs.

Belongs here: findings and what to do about them. Not here: how they are printed (`cli.py`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import EXPORT_DATE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.sources.deliveries import list_files, tables_of
from crm_assets.sources.expressions import evaluate, in_short, unmet_columns
from crm_assets.sources.mapping import MappingError, Source, TableMapping, nearest, part_of
from crm_assets.sources.readers import read_files, require_readable
from crm_assets.sources.rows import KEPT, headers_of, judge, rejected_rows

MOST_REJECTED = 0.5
"""A reason that rejects at least this share of a file's sample is a problem of the mapping, not of some rows."""

_REASON = re.compile(r"^(?P<column>\w+): (?:'(?P<value>.*?)' )?(?P<problem>.*)$", re.DOTALL)

_ADVICE = {
    "is not a date": "give its `format` in the mapping, such as '%d.%m.%Y %H:%M', or correct the file",
    "is not a number": "clean it with `sql` in the mapping, or correct the file",
    "is not a whole number": "clean it with `sql` in the mapping, or correct the file",
    "is not yes or no": "translate it with `values: {its word: yes, another: no}`",
    "is not one of": "translate it with `values: {its word: one of these}`",
    "missing": "map another column, give a `value`, or leave such rows out with `where`",
    "is after the export": "check the order of day and month, the `timezone` and the delivery's date",
    "is below": "correct the file, or leave such rows out with `where`",
    "is above": "correct the file, or leave such rows out with `where`",
}


@dataclass(frozen=True)
class Landed:
    """A file to check: where it lies, its name as mappings see it, and the date of its export."""

    folder: Path
    name: str
    export_date: date


@dataclass(frozen=True)
class Finding:
    """Something to know about a mapping or a file.

    Attributes:
        place: The mapping or the file, with the line where there is one.
        message: What is there, and what to do.
        is_problem: Whether it must be put right; other findings are for information.
    """

    place: str
    message: str
    is_problem: bool = True


@dataclass(frozen=True)
class Judged:
    """How the sample of a file fared for one table."""

    table: str
    file: str
    rows: int
    rejected: int

    @property
    def valid(self) -> int:
        """Rows that meet the contract."""
        return self.rows - self.rejected


@dataclass
class Report:
    """What a check found."""

    findings: list[Finding] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """What must be put right."""
        return [finding for finding in self.findings if finding.is_problem]


def check_source(engine: DuckDBEngine, source: Source, files: Sequence[Landed], rows: int = 1000) -> Report:
    """Check a mapping against the files it is for.

    Args:
        engine: Reads the files and judges the sample.
        source: The mapping.
        files: Files of one or more deliveries.
        rows: How many rows of each file are judged.
    """
    report = Report()
    report.findings += _unmatched(source, [file.name for file in files])
    for table, parts in source.tables.items():
        for file in files:
            if part := part_of(parts, file.name):
                _check_file(engine, source, CANONICAL[table], part, file, rows, report)
    return report


def _unmatched(source: Source, names: Sequence[str]) -> Iterator[Finding]:
    globs = [glob for parts in source.tables.values() for part in parts for glob in part.files]
    for name in dict.fromkeys(names):
        if not tables_of(source, name):
            base = PurePosixPath(name).name
            yield Finding(name, f"no `files` of {source.source}.yaml matches it{nearest(base, globs)}")
    for table, parts in source.tables.items():
        for place, part in enumerate(parts):
            if not any(part_of(parts, name) is part for name in names):
                before = any(part_of([part], name) for name in names)
                cause = "the parts before it match its files" if before else "matches no file"
                hint = "" if before else nearest(part.files[0], [PurePosixPath(name).name for name in names])
                number = f"[{place}]" if len(parts) > 1 else ""
                yield Finding(
                    f"{source.source}.yaml",
                    f"{table}{number}: `files: {', '.join(part.files)}`: {cause}{hint}",
                    not before,
                )


def _check_file(
    engine: DuckDBEngine, source: Source, table: Table, part: TableMapping, file: Landed, rows: int, report: Report
) -> None:
    try:
        # Other files of the delivery may hold columns that this one's rows are completed from.
        others = [listed.name for listed in list_files(file.folder) if not part_of([part], listed.name)]
        found = read_files(engine.backend, file.folder, [part], [file.name, *others])
        if found is None:
            return
        sample = found.limit(rows).mutate(
            **{SOURCE.name: ibis.literal(source.source), EXPORT_DATE.name: ibis.literal(file.export_date)}
        )
        with engine.held(sample) as raw:
            require_readable(raw)
            wrong = list(_wrong_headers(source, table, part, file, headers_of(raw)))
            wrong += _wrong_expressions(source, table, part, raw)
            report.findings += wrong
            if not any(finding.place.endswith(".yaml") for finding in wrong):
                _judge_sample(engine, source, table, part, file, raw, report)
    except MappingError as error:
        report.findings.append(Finding(f"{source.source}.yaml", str(error)))
    except Exception as error:  # Whatever a broken file brings about is said, and the others are checked too.
        report.findings.append(Finding(file.name, f"cannot be read: {in_short(error)}"))


def _wrong_headers(
    source: Source, table: Table, part: TableMapping, file: Landed, headers: list[str]
) -> Iterator[Finding]:
    named = {name: column.columns or unmet_columns(column.sql, headers) for name, column in part.columns.items()}
    read = {header for column in part.columns.values() for header in column.columns}
    for name, wanted in {**named, "where": unmet_columns(part.where, headers)}.items():
        column = part.columns.get(name)
        known = [*headers, *part.columns] if column and column.row_number else headers
        absent = [header for header in wanted if header not in known]
        if not absent or (column and column.column and len(absent) < len(wanted)):
            continue
        required = name == "where" or table.by_name[name].required
        # For an optional column, a header that the mapping reads already is not what was meant.
        near = headers if required else [header for header in headers if header not in read]
        hint = "".join(nearest(header, near) for header in absent[:1])
        shown = "" if hint else f"; it has: {', '.join(headers[:12])}{', ...' if len(headers) > 12 else ''}"
        message = f"{table.name}.{name}: the file has no column {' or '.join(map(repr, absent))}{hint}{shown}"
        yield Finding(file.name, message, required or bool(hint))


def _wrong_expressions(source: Source, table: Table, part: TableMapping, raw: ir.Table) -> Iterator[Finding]:
    expressions = {name: column.sql for name, column in part.columns.items() if column.sql}
    for name, sql in [*expressions.items(), *([(KEPT, part.where)] if part.where else [])]:
        place = f"{table.name}.{'where' if name == KEPT else name}"
        try:
            if name == KEPT:
                evaluate(raw, {}, sql, KEPT, [], lambda _, place=place: place)  # type: ignore[misc]
            else:
                evaluate(raw, {name + "_": sql}, None, KEPT, [], lambda _, place=place: place)  # type: ignore[misc]
        except MappingError as error:
            yield Finding(f"{source.source}.yaml", str(error))


def _judge_sample(
    engine: DuckDBEngine, source: Source, table: Table, part: TableMapping, file: Landed, raw: ir.Table, report: Report
) -> None:
    alone = source.model_copy(update={"tables": {table.name: (part,)}})
    with engine.held(judge(raw, alone, table)) as judged:
        total = int(judged.count().execute())
        rejected = rejected_rows(judged, table).order_by("_line").to_pyarrow().to_pylist()
    report.judged.append(Judged(table.name, file.name, total, len(rejected)))
    if not total:
        report.findings.append(Finding(file.name, f"{table.name}: holds no rows", False))
    report.findings += _reasons(table, part, file, rejected, total)


def _reasons(
    table: Table, part: TableMapping, file: Landed, rejected: Iterable[dict[str, Any]], total: int
) -> Iterator[Finding]:
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for row in rejected:
        for reason in row["reasons"]:
            match = _REASON.match(reason)
            kind = (match["column"], match["problem"]) if match else ("", reason)
            counts[kind] += 1
            first.setdefault(kind, (row["_line"], (match["value"] or "") if match else ""))
    for kind, count in counts.most_common():
        column, problem = kind
        line, value = first[kind]
        shown = f" '{value}'" if value else ""
        message = f"{table.name}{'.' + column if column else ''}: {count:,} of {total:,} rows:{shown} {problem}"
        left_out = problem.startswith("left out by the mapping") and "no column" not in problem
        is_problem = count >= MOST_REJECTED * total and not left_out
        yield Finding(f"{file.name}:{line}", message + _advice(problem, value, part), is_problem)


def _advice(problem: str, value: str, part: TableMapping) -> str:
    if problem == "is not a number" and part.decimal == "." and re.search(r"\d,\d{1,2}\D*$", value):
        return '; write `decimal: ","` in the mapping if the comma is the decimal sign'
    if problem == "is not a number" and part.decimal == "," and re.search(r"\d\.\d{1,2}\D*$", value):
        return '; write `decimal: "."` in the mapping if the point is the decimal sign'
    if problem.startswith("missing, since"):
        return ""
    return next((f"; {advice}" for start, advice in _ADVICE.items() if problem.startswith(start)), "")
