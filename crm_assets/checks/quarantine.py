"""Checks of rejected rows: which reasons, in which files, how often.

Belongs here: counting reasons. Not here: why a row is rejected (`contracts/predicates.py`, `sources/rows.py`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.checks.rows import chosen, is_empty, run_keys
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERED_FILES, DELIVERY, EXPORT_DATE, FILE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.contracts.predicates import LEFT_OUT, kind_of_reason
from crm_assets.lake.io_manager import read_partitions
from crm_assets.lake.layout import Lake

SHOWN = 20
"""Most pairs of a reason and a file that the check lists."""

TABLES = {layers.quarantine(table).name: layers.quarantine(table) for table in CANONICAL.values()}

REJECTED = [
    dg.AssetCheckSpec(
        "quarantine",
        asset=dg.AssetKey(["quality", name]),
        description="No row was rejected, other than those the mapping leaves out.",
    )
    for name in TABLES
]


@dg.multi_asset_check(specs=REJECTED, can_subset=True)
def quarantine(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """Whether rows were rejected, and why; those a mapping leaves out on purpose do not count."""
    for spec in chosen(context, REJECTED):
        yield _result(lake, TABLES[spec.asset_key.path[-1]], run_keys(context, DELIVERED_FILES))


def _result(lake: Lake, contract: Table, keys: Sequence[str] | None) -> dg.AssetCheckResult:
    rows, counted = 0, []
    if not is_empty(lake, "quality", contract, keys):
        rejected = read_partitions(lake, "quality", contract, keys)
        rows, counted = rejected.count().to_pyarrow().as_py(), reasons_by_file(rejected)
    kinds: Counter[str] = Counter()
    for row in counted:
        if not row["reason"].startswith(LEFT_OUT):
            kinds[row["reason"]] += row["rows"]
    listed = "; ".join(f"{kind}: {count}" for kind, count in kinds.most_common(SHOWN))
    return dg.AssetCheckResult(
        passed=not kinds,
        asset_key=dg.AssetKey(["quality", contract.name]),
        check_name="quarantine",
        severity=dg.AssetCheckSeverity.WARN,
        description=f"rows by reason: {listed}" if kinds else None,
        metadata={"rows": rows} | ({"reasons": _as_table(counted[:SHOWN])} if counted else {}),
    )


def reasons_by_file(rejected: ir.Table) -> list[dict[str, Any]]:
    """Rows by reason, without the value that gave it, and file, most first; a row of two reasons counts twice."""
    each = rejected.select(*DELIVERY, FILE.name, reason=rejected.reasons.unnest())
    kinds = each.mutate(reason=kind_of_reason(each.reason))
    counted = kinds.group_by("reason", *DELIVERY, FILE.name).agg(rows=ibis._.count())
    return counted.order_by(ibis.desc("rows"), "reason", *DELIVERY, FILE.name).to_pyarrow().to_pylist()


def _as_table(counted: Sequence[dict[str, Any]]) -> dg.MetadataValue:
    columns = ["reason", "source", "export", "file"]
    schema = dg.TableSchema([*(dg.TableColumn(name, "string") for name in columns), dg.TableColumn("rows", "int")])
    records = [
        dg.TableRecord(
            {
                "reason": row["reason"],
                "source": row[SOURCE.name],
                "export": str(row[EXPORT_DATE.name]),
                "file": row[FILE.name],
                "rows": row["rows"],
            }
        )
        for row in counted
    ]
    return dg.MetadataValue.table(records, schema)
