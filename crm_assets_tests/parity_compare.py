"""Whether two engines gave the same: every value equal, floating-point numbers to 1e-9 of their size."""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
from ibis.expr.schema import Schema

RELATIVE = 1e-9


@dataclass(frozen=True)
class Rows:
    """Column types, and rows in an order of their own."""

    types: dict[str, str]
    rows: list[tuple[Any, ...]]


def comparable(result: Any) -> dict[str, Any]:
    """What a function gave, by name, as plain values."""
    if isinstance(result, ir.Table):
        return {"table": _rows(result.to_pyarrow())}
    if isinstance(result, pa.Table):
        return {"table": _rows(result)}
    if isinstance(result, pd.DataFrame):
        return {"frame": _rows(pa.Table.from_pandas(result, preserve_index=False))}
    if is_dataclass(result):
        parts = {field.name: comparable(getattr(result, field.name)) for field in fields(result)}
        return {f"{name}.{inner}": value for name, part in parts.items() for inner, value in part.items()}
    return {"value": result}


def difference(left: dict[str, Any], right: dict[str, Any]) -> str | None:
    """Where two results differ; None where they are equal."""
    if set(left) != set(right):
        return f"parts {sorted(left)} and {sorted(right)}"
    for part, one in left.items():
        other = right[part]
        if not isinstance(one, Rows):
            if one != other:
                return f"{part}: {one!r} and {other!r}"
            continue
        types, rows, other_types, other_rows = one.types, one.rows, other.types, other.rows
        if types != other_types:
            return f"{part}: types {set(types.items()) ^ set(other_types.items())}"
        if len(rows) != len(other_rows):
            return f"{part}: {len(rows)} and {len(other_rows)} rows"
        for here, there in zip(rows, other_rows, strict=True):
            columns = [name for name, a, b in zip(types, here, there, strict=True) if not _equal(a, b)]
            if columns:
                names = list(types)
                values = {name: (here[names.index(name)], there[names.index(name)]) for name in columns}
                return f"{part}: {values} in {here}"
    return None


def _rows(table: pa.Table) -> Rows:
    # Whether a file says that a column has no nulls is up to who writes it.
    types = {name: str(dtype).removeprefix("!") for name, dtype in Schema.from_pyarrow(table.schema).items()}
    rows = [tuple(row.values()) for row in table.to_pylist()]
    # Numbers that may differ in their last digits come last.
    exact = [n for n, field in enumerate(table.schema) if not pa.types.is_floating(field.type)]
    rest = [n for n in range(table.num_columns) if n not in exact]
    return Rows(types, sorted(rows, key=lambda row: tuple(_sortable(row[n]) for n in (*exact, *rest))))


def _sortable(value: Any) -> tuple[bool, str]:
    return value is None, f"{value:+.6e}" if isinstance(value, float) else str(value)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=RELATIVE, abs_tol=0) or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and left == right
