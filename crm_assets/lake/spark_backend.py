"""Ibis's backend for Spark, with results that leave and enter it as Arrow.

Belongs here: moving rows between Spark and this process. Not here: what SQL means (`spark_sql.py`), files
(`spark_engine.py`).

Ibis moves rows through pandas, which loses dates, decimals and the difference between null and NaN.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.backends.pyspark import Backend

from crm_assets.lake.spark_sql import SparkCompiler

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


class SparkBackend(Backend):
    """Spark as Ibis knows it, and as DuckDB means it.

    Args:
        scratch_folder: Folder that driver and executors share, for cached tables.
    """

    compiler = SparkCompiler()

    def __init__(self, scratch_folder: Path) -> None:
        super().__init__()
        self._scratch_folder = scratch_folder

    @property
    def session(self) -> "SparkSession":
        """The session."""
        return self._session

    def frame(self, table: ir.Table) -> "DataFrame":
        """A lazy table as Spark's own lazy table."""
        self._run_pre_execute_hooks(table)
        return self.session.sql(self.compile(table))

    def view(self, frame: "DataFrame", name: str) -> ir.Table:
        """Spark's own lazy table as a lazy table."""
        frame.createOrReplaceTempView(name)
        return self.table(name)

    def to_pyarrow(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[ir.Scalar, Any] | None = None,
        limit: int | str | None = None,
        **kwargs: Any,
    ) -> "pa.Table":
        """The rows, with the types that Ibis knows of."""
        self._run_pre_execute_hooks(expr)
        table = expr.as_table()
        found = self.session.sql(self.compile(table, params=params, limit=limit, **kwargs)).toArrow()
        return expr.__pyarrow_result__(found.rename_columns(table.columns).cast(table.schema().to_pyarrow()))

    def execute(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[ir.Scalar, Any] | None = None,
        limit: int | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The rows in pandas, as DuckDB's backend gives them."""
        import pandas as pd
        from ibis.formats.pandas import PandasData
        from pyarrow.types import is_nested

        table = expr.as_table()
        found = self.to_pyarrow(table, params=params, limit=limit, **kwargs)
        columns = {
            name: column.to_pylist() if is_nested(column.type) or column.null_count else column.to_pandas()
            for name, column in zip(found.column_names, found.columns, strict=True)
        }
        return expr.__pandas_result__(PandasData.convert_table(pd.DataFrame(columns), table.schema()))

    def _register_in_memory_table(self, op: ops.InMemoryTable) -> None:
        rows = op.data.to_pyarrow(op.schema)
        self.session.createDataFrame(rows).createOrReplaceTempView(op.name)

    def _create_cached_table(self, name: str, expr: ir.Table) -> ir.Table:
        folder = f"file://{self._scratch_folder / name}"
        self.frame(expr).write.parquet(folder)
        return self.view(self.session.read.parquet(folder), name)

    def _drop_cached_table(self, name: str) -> None:
        self.session.catalog.dropTempView(name)
        shutil.rmtree(self._scratch_folder / name, ignore_errors=True)
