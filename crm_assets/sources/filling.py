"""Values that a row takes from elsewhere in its delivery: from the rows above it, or from a row of another file.

Belongs here: `fill_down` and `lookup` of a mapping. Not here: what the columns mean (`rows.py`), file formats (`readers.py`).
"""

from collections.abc import Callable, Sequence

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import EXPORT_DATE, FILE, LINE, SOURCE
from crm_assets.sources.mapping import FillDown, Lookup

_DELIVERED = "__as_delivered_"
_LINE = "__line_of_"


def fill_down(rows: ir.Table, wanted: FillDown | None) -> ir.Table:
    """Give empty values that of the nearest row above with the same `within`, in the same file.

    A row whose `within` is empty belongs to the row above it.

    Args:
        rows: Raw rows; columns of `wanted` that they lack are passed over.
        wanted: What to fill; None changes nothing.

    Returns:
        The rows, with the values as delivered kept for `as_delivered`.
    """
    if wanted is None:
        return rows
    within = [name for name in wanted.within if name in rows.columns]
    columns = [name for name in wanted.columns if name in rows.columns and name not in within]
    if not within or not columns:
        return rows
    kept = rows.mutate(**{f"{_DELIVERED}{name}": rows[name] for name in (*within, *columns)})
    file = [SOURCE.name, EXPORT_DATE.name, FILE.name]
    return _from_above(_from_above(kept, within, file), columns, [*file, *within])


def _from_above(rows: ir.Table, columns: Sequence[str], group: Sequence[str]) -> ir.Table:
    """Fill columns within the group; ibis's last keeps nulls, so: the nearest filled line, then the value of that line."""
    above = ibis.window(group_by=list(group), order_by=LINE.name, following=0)
    lines = {
        f"{_LINE}{name}": _given(rows[name]).notnull().ifelse(rows[LINE.name], ibis.null("int64")).max().over(above)
        for name in columns
    }
    placed = rows.mutate(**lines)
    values = {name: _given(placed[name]).max().over(group_by=[*group, f"{_LINE}{name}"]) for name in columns}
    return placed.mutate(**values).drop(*lines)


def as_delivered(rows: ir.Table, name: str) -> ir.Value:
    """A column's values before `fill_down`."""
    before = f"{_DELIVERED}{name}"
    return rows[before if before in rows.columns else name]


def look_up(rows: ir.Table, wanted: Sequence[Lookup], read: Callable[[Sequence[str]], ir.Table | None]) -> ir.Table:
    """Add the columns of rows of other files, each under its prefix.

    Args:
        rows: Rows of one file, with `_file` and `_line`.
        wanted: Which files, and which of their rows goes to which row.
        read: The rows of the delivery's files that match some globs, or None when there are none.

    Returns:
        The same rows in the same order. Of several rows with the key, the last one counts. A column that the rows have
        already, under the same name, is left; a lookup whose files or key columns are absent adds nothing.
    """
    for lookup in wanted:
        others = read(lookup.files)
        if others is not None:
            rows = _joined(rows, others, lookup)
    return rows


def _joined(rows: ir.Table, others: ir.Table, lookup: Lookup) -> ir.Table:
    if not all(mine in rows.columns and its in others.columns for mine, its in lookup.match.items()):
        return rows
    keys = {f"__key_{number}": _key(others[its]) for number, its in enumerate(lookup.match.values())}
    added = {
        f"{lookup.prefix}{name}": others[name]
        for name in others.columns
        if not name.startswith("_") and f"{lookup.prefix}{name}" not in rows.columns
    }
    keyed = others.mutate(**keys)
    newest = ibis.window(
        group_by=[keyed[name] for name in keys], order_by=[keyed[FILE.name].desc(), keyed[LINE.name].desc()]
    )
    keyed = keyed.mutate(__place=ibis.row_number().over(newest))
    unique = keyed.filter(keyed["__place"] == 0).select(*keys, **added)
    mine = rows.mutate(**{f"__own_{name}": _key(rows[column]) for name, column in zip(keys, lookup.match, strict=True)})
    joined = mine.left_join(unique, [mine[f"__own_{name}"] == unique[name] for name in keys])
    return joined.select(*rows.columns, *added).order_by(LINE.name)


def _key(value: ir.Value) -> ir.StringValue:
    return value.cast("string").strip().nullif("")


def _given(value: ir.Value) -> ir.Value:
    return value.nullif("") if value.type().is_string() else value
