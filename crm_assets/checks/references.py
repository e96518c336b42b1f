"""Checks of references: each value of a column that names a row of another table is found there.

Belongs here: references between tables. Not here: anything of one table alone (`contract.py`).

They are answered in the engine over all rows of the run. A broken reference warns: tables of one delivery may land
before the table they refer to.
"""

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.checks.rows import rows_of_run
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Column, Table
from crm_assets.contracts.registry import contract_of, lake_tables
from crm_assets.lake.layout import Lake

EXAMPLES = 5


def reference_check(layer: str, contract: Table, column: Column) -> dg.AssetChecksDefinition:
    """Whether the values of a column are found in the column it references."""
    target, _, target_column = (column.references or "").partition(".")
    target_layer = layer if layer == "validated" else "clean"

    @dg.asset_check(
        asset=dg.AssetKey([layer, contract.name]),
        name=f"{column.name}_in_{target}",
        description=f"Every {column.name} is a {target_column} of {target_layer}.{target}.",
        additional_deps=[dg.AssetKey([target_layer, target])],
    )
    def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        known = lake.read(target_layer, contract_of(target_layer, target))[[target_column]].distinct()
        severity = dg.AssetCheckSeverity.WARN
        if not lake.has_rows(target_layer, target):
            note = f"{target_layer}.{target} has no rows, so there is nothing to compare with"
            return dg.AssetCheckResult(passed=True, severity=severity, description=note)
        orphans = _orphans(rows_of_run(context, lake, layer, contract), column.name, known)
        rows = orphans.agg(rows=ibis._["rows"].sum(), ids=ibis._.count()).to_pyarrow().to_pylist()[0]
        examples = orphans.order_by(column.name).limit(EXAMPLES).to_pyarrow()[column.name].to_pylist()
        text = (
            f"{rows['rows']} rows name {rows['ids']} unknown ids, such as {', '.join(examples)}" if examples else None
        )
        return dg.AssetCheckResult(
            passed=not examples,
            severity=severity,
            description=text,
            metadata={"orphan rows": rows["rows"] or 0, "orphan ids": rows["ids"], "examples": ", ".join(examples)},
        )

    return check


def _orphans(rows: ir.Table, name: str, known: ir.Table) -> ir.Table:
    counted = rows.filter(rows[name].notnull()).group_by(name).agg(rows=ibis._.count())
    return counted.anti_join(known, counted[name] == known[known.columns[0]])


reference_checks = [
    reference_check(layer, contract, column)
    for (layer, _), contract in lake_tables().items()
    if layer in ("validated", "marts")
    for column in contract.columns
    if column.references and column.references.split(".")[0] in CANONICAL
]
