"""Which columns of which tables an output column is made of.

Belongs here: reading lineage off an Ibis expression. Not here: showing it (`io_manager.py`).

The expression's own graph is walked once with memory of what was seen, which costs milliseconds for a table of 200
columns; asking sqlglot for the lineage of each column of the compiled SQL costs tens of milliseconds a column.
"""

from collections.abc import Iterable, Mapping

import ibis.expr.operations as ops
import ibis.expr.types as ir

Origin = tuple[str, str]
"""Name of a table in the engine, and a column of it."""


def column_lineage(table: ir.Table) -> Mapping[str, list[Origin]]:
    """For each column of a lazy table, the columns of the engine's tables it is made of, sorted.

    Conditions, join keys and sort orders are not lineage: they choose rows, they do not make values.
    """
    seen: dict[ops.Node, frozenset[Origin]] = {}
    relation = table.op()
    return {name: sorted(_of_column(relation, name, seen)) for name in table.columns}


def _of_column(relation: ops.Relation, name: str, seen: dict[ops.Node, frozenset[Origin]]) -> frozenset[Origin]:
    if isinstance(relation, ops.PhysicalTable):
        return frozenset({(getattr(relation, "name", ""), name)})
    if isinstance(relation, ops.Set):
        return _of_column(relation.left, name, seen) | _of_column(relation.right, name, seen)
    if name in relation.values:
        value = relation.values[name]
        if isinstance(value, ops.Field) and value.rel is relation:
            return frozenset()
        return _of_value(value, seen)
    parents = [child for child in relation.__children__ if isinstance(child, ops.Relation)]
    return _union(_of_column(parent, name, seen) for parent in parents if name in parent.schema)


def _of_value(node: ops.Node, seen: dict[ops.Node, frozenset[Origin]]) -> frozenset[Origin]:
    if node not in seen:
        if isinstance(node, ops.Field):
            seen[node] = _of_column(node.rel, node.name, seen)
        else:
            children = (child for child in node.__children__ if not isinstance(child, ops.Relation))
            seen[node] = _union(_of_value(child, seen) for child in children)
    return seen[node]


def _union(sets: Iterable[frozenset[Origin]]) -> frozenset[Origin]:
    return frozenset().union(*sets)
