"""The rows a check looks at: those of the run's partitions, and of them a sample small enough for memory.

Belongs here: from a check's context to rows. Not here: what is asked of them (`suite.py`, `conservation.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.contracts.layers import DELIVERY
from crm_assets.contracts.model import Table
from crm_assets.lake.io_manager import DELIVERY_SEPARATOR, read_partitions, split_delivery
from crm_assets.lake.layout import Lake
from crm_assets.mining.samples import digest
from crm_assets.partitions import PARTITION, RANGE_END, RANGE_START, deliveries

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 8
"""Hexadecimal digits of a digest that are looked at: the finest share of a table that a sample can be."""

CAUTION = 0.95
"""A digest gives about the share asked for; a little less is asked for, so that the cap hardly ever cuts a key apart."""


@dataclass(frozen=True)
class Sample:
    """Rows of a table in memory.

    Attributes:
        frame: The rows, ordered by key; decimals are floats, dates are times, lists are text.
        rows: Rows there were.
    """

    frame: "pd.DataFrame"
    rows: int

    @classmethod
    def none(cls) -> "Sample":
        """Of a table without rows."""
        import pandas as pd

        return cls(pd.DataFrame(), 0)

    @property
    def coverage(self) -> str:
        """What was looked at, for people."""
        if len(self.frame) == self.rows:
            return f"all {self.rows} rows"
        return f"sampled {len(self.frame)} of {self.rows} rows"


def chosen(context: dg.AssetCheckExecutionContext, specs: Sequence[dg.AssetCheckSpec]) -> list[dg.AssetCheckSpec]:
    """Those of the specs of a check that the run asks for: one step for all tables costs less than one for each."""
    return [spec for spec in specs if spec.key in context.selected_asset_check_keys]


def run_keys(context: dg.AssetCheckExecutionContext, contract: Table) -> list[str] | None:
    """Partitions of the run, of a range of days its ends; None when the run has none.

    A check is a step of its own without partitions, so they are read off the run's tags.
    """
    tags = context.run.tags
    first, last = tags.get(RANGE_START, tags.get(PARTITION)), tags.get(RANGE_END, tags.get(PARTITION))
    if first is None or last is None:
        return None
    if contract.partition_by != DELIVERY or first == last:
        return sorted({first, last})
    order: list[str] = list(context.instance.get_dynamic_partitions(deliveries.name))
    return order[order.index(first) : order.index(last) + 1]


def rows_of_run(context: dg.AssetCheckExecutionContext, lake: Lake, layer: str, contract: Table) -> ir.Table:
    """Rows of the run's partitions; of the newest partition when the run has none."""
    return read_partitions(lake, layer, contract, keys_of_run(context, lake, layer, contract))


def keys_of_run(context: dg.AssetCheckExecutionContext, lake: Lake, layer: str, contract: Table) -> list[str] | None:
    """The run's partitions, or the newest one; None for a table without."""
    keys = run_keys(context, contract)
    return newest_key(lake, layer, contract) if keys is None and contract.partition_by else keys


def is_empty(lake: Lake, layer: str, contract: Table, keys: Sequence[str] | None) -> bool:
    """Whether no file holds rows of these deliveries or of a table without partitions, which costs no query."""
    if not contract.partition_by or keys is None:
        return not lake.has_rows(layer, contract.name)
    if contract.partition_by != DELIVERY:
        return False
    return not any(lake.file_of(layer, contract, part).exists() for part in map(split_delivery, keys))


def newest_key(lake: Lake, layer: str, contract: Table) -> list[str]:
    """The newest partition of a table, if any."""
    partitions = lake.partitions(layer, contract)
    if not partitions:
        return []
    # A delivery is named by its source first, but the newest is the one exported last.
    newest = max(partitions, key=lambda values: values[::-1])
    return [DELIVERY_SEPARATOR.join(newest)]


def sample(table: ir.Table, contract: Table, limit: int) -> Sample:
    """At most `limit` rows of a table, the same ones each time, rows of equal key together.

    Args:
        table: Rows of the contract's columns.
        contract: The table's contract; the sample is drawn by its key.
        limit: Most rows to fetch.
    """
    rows = table.count().to_pyarrow().as_py()
    order = list(contract.key)
    if rows > limit:
        texts = [table[name].cast("string") for name in contract.key]
        drawn = table.mutate(_digest=digest(texts))
        table = drawn.filter(drawn["_digest"] < f"{int(CAUTION * 16**DIGITS * limit / rows):0{DIGITS}x}")
        order.insert(0, "_digest")
    frame = table.order_by(order).limit(limit).select(**{name: _plain(table[name]) for name in contract.by_name})
    return Sample(frame.to_pandas(), rows)


def _plain(value: ir.Value) -> ir.Value:
    """The value in a type whose meaning pandas keeps."""
    dtype = value.type()
    if dtype.is_decimal():
        return value.cast("float64")
    if dtype.is_date():
        return value.cast("timestamp")
    if isinstance(value, ir.ArrayValue):
        return value.map(lambda item: item.cast("string")).join(", ")
    return value
