"""Checks of references: each value of a column that names a row of another table is found there.

Belongs here: references between tables. Not here: anything of one table alone (`contract.py`).

They are answered in the engine over all rows of the run. A broken reference warns: tables of one delivery may land
before the table they refer to.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.checks.rows import chosen, is_empty, keys_of_run
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Column, Table
from crm_assets.contracts.registry import contract_of, lake_tables
from crm_assets.lake.io_manager import read_partitions
from crm_assets.lake.layout import Lake

EXAMPLES = 5


def reference_checks_of(layer: str) -> dg.AssetChecksDefinition:
    """Whether the values of columns that reference others are found there, for all tables of a layer."""
    found = [
        (_spec(layer, contract, column), contract, column)
        for (place, _), contract in lake_tables().items()
        if place == layer
        for column in contract.columns
        if column.references and column.references.split(".")[0] in CANONICAL
    ]
    specs, references = [spec for spec, *_ in found], {spec.key: (contract, column) for spec, contract, column in found}

    @dg.multi_asset_check(name=f"references_{layer}", specs=specs, can_subset=True)
    def references_found(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> Iterator[dg.AssetCheckResult]:
        for spec in chosen(context, specs):
            contract, column = references[spec.key]
            keys = keys_of_run(context, lake, layer, contract)
            passed, text, metadata = _found(lake, layer, contract, column, keys)
            yield dg.AssetCheckResult(
                passed=passed,
                asset_key=spec.asset_key,
                check_name=spec.name,
                severity=dg.AssetCheckSeverity.WARN,
                description=text,
                metadata=metadata,
            )

    return references_found


def _spec(layer: str, contract: Table, column: Column) -> dg.AssetCheckSpec:
    target_layer, target, target_column = _target(layer, column)
    return dg.AssetCheckSpec(
        f"{column.name}_in_{target}",
        asset=dg.AssetKey([layer, contract.name]),
        description=f"Every {column.name} is a {target_column} of {target_layer}.{target}.",
        additional_deps=[dg.AssetKey([target_layer, target])],
    )


def _target(layer: str, column: Column) -> tuple[str, str, str]:
    table, _, name = (column.references or "").partition(".")
    return layer if layer == "validated" else "clean", table, name


def _found(
    lake: Lake, layer: str, contract: Table, column: Column, keys: Sequence[str] | None
) -> tuple[bool, str | None, dict[str, Any]]:
    """Whether the check passes, what to say, and figures."""
    target_layer, target, target_column = _target(layer, column)
    if not lake.has_rows(target_layer, target):
        return True, f"{target_layer}.{target} has no rows, so there is nothing to compare with", {}
    if is_empty(lake, layer, contract, keys):
        return True, None, {"orphan rows": 0, "orphan ids": 0, "examples": ""}
    known = lake.read(target_layer, contract_of(target_layer, target))[[target_column]].distinct()
    orphans = _orphans(read_partitions(lake, layer, contract, keys), column.name, known)
    rows = orphans.agg(rows=ibis._["rows"].sum(), ids=ibis._.count()).to_pyarrow().to_pylist()[0]
    examples = (
        orphans.order_by(column.name).limit(EXAMPLES).to_pyarrow()[column.name].to_pylist() if rows["ids"] else []
    )
    text = f"{rows['rows']} rows name {rows['ids']} unknown ids, such as {', '.join(examples)}" if examples else None
    figures = {"orphan rows": rows["rows"] or 0, "orphan ids": rows["ids"], "examples": ", ".join(examples)}
    return not examples, text, figures


def _orphans(rows: ir.Table, name: str, known: ir.Table) -> ir.Table:
    counted = rows.filter(rows[name].notnull()).group_by(name).agg(rows=ibis._.count())
    return counted.anti_join(known, counted[name] == known[known.columns[0]])


reference_checks = [reference_checks_of("validated"), reference_checks_of("marts")]
