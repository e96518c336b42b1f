"""Expressions of a mapping, in the engine's dialect, over the columns of a file.

Belongs here: evaluating `sql` and `where`, and what they name. Not here: what becomes of their values (`rows.py`).
"""

from collections.abc import Callable, Mapping, Sequence

import ibis.expr.types as ir
from ibis.util import gen_name

from crm_assets.lake.duckdb_engine import quote_name
from crm_assets.sources.mapping import MappingError


def absent_columns(sql: str | None, headers: Sequence[str]) -> list[str]:
    """Columns that an expression names and a file does not have; none where the expression cannot be parsed."""
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    if not sql:
        return []
    try:
        tree = parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return []
    arguments = {name.name for call in tree.find_all(exp.Lambda) for name in call.expressions}
    named = [column.parts[0].name for column in tree.find_all(exp.Column)]
    # The engine does not tell upper from lower case in names.
    known = {header.lower() for header in headers} | {name.lower() for name in arguments}
    return list(dict.fromkeys(name for name in named if name and name.lower() not in known))


def unmet_columns(sql: str | None, headers: Sequence[str]) -> list[str]:
    """Absent columns but for those that a `coalesce` names beside one that is there, such as a label in another language."""
    from sqlglot import exp, parse_one

    absent = absent_columns(sql, headers)
    if not absent or not sql:
        return absent
    known, met = {header.lower() for header in headers}, set()
    for choice in parse_one(sql, dialect="duckdb").find_all(exp.Coalesce):
        named = {column.parts[0].name.lower() for column in choice.find_all(exp.Column)}
        met |= named if named & known else set()
    return [name for name in absent if name.lower() not in met]


def evaluate(
    raw: ir.Table,
    expressions: Mapping[str, str],
    where: str | None,
    kept: str,
    headers: Sequence[str],
    place: Callable[[str], str],
) -> ir.Table:
    """The rows with the value of each expression, null where it fails on a row or names an absent column only.

    Args:
        raw: The rows as delivered.
        expressions: New column's name to its expression.
        where: Which rows are kept; all by default.
        kept: Name of the new column that says so; false where `where` fails.
        headers: The files' own columns.
        place: Where in the mapping a new column stands, for messages.

    Raises:
        MappingError: An expression is wrong in itself.
    """

    def query(wanted: Mapping[str, str]) -> ir.Table:
        absent = list(dict.fromkeys(name for sql in wanted.values() for name in absent_columns(sql, raw.columns)))
        columns = ", ".join(
            f"coalesce(try({sql}), false) AS {name}" if name == kept else f"try({sql}) AS {quote_name(name)}"
            for name, sql in wanted.items()
        )
        # Tables of several parts and sources meet in one query, where a name may stand for one of them only.
        delivered = gen_name("delivered")
        if not absent:
            return raw.alias(delivered).sql(f"SELECT *, {columns} FROM {delivered}", dialect="duckdb")
        nulls = ", ".join(f"NULL AS {quote_name(name)}" for name in absent)
        without = ", ".join(map(quote_name, absent))
        return raw.alias(delivered).sql(
            f"SELECT * EXCLUDE ({without}), {columns} FROM (SELECT *, {nulls} FROM {delivered})", dialect="duckdb"
        )

    wanted = {**expressions, kept: where or "true"}
    try:
        return query(wanted)
    except Exception as whole:
        for name, sql in wanted.items():
            try:
                query({name: sql})
            except Exception as error:
                raise MappingError(
                    f"{place(name)}: the expression {sql!r} cannot be evaluated: {in_short(error)}"
                ) from error
        raise whole


def in_short(error: Exception) -> str:
    """The first line of an engine's message, which is what went wrong; the others repeat the statement."""
    return str(error).strip().split("\n")[0]
