"""DuckDB and Spark give the same: every function of `mining` on small tables, and the chain from exports to marts.

Spark is a real one: a cluster of two workers in processes of their own. The tests are skipped where there is no Java or no
pyspark. Functions are found by themselves; one that has no inputs in `parity_calls.py` fails here.
"""

import functools
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pytest
from pyarrow import parquet

from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.engine import Engine
from crm_assets.lake.spark_engine import SparkEngine
from crm_assets_tests.parity_calls import CALLS, DERIVED, functions_on_tables
from crm_assets_tests.parity_compare import comparable, difference
from crm_assets_tests.parity_expressions import AGGREGATES, EXPRESSIONS, TABLES, VALUES
from crm_assets_tests.parity_tables import Tables

CLUSTER = "local-cluster[2,1,1024]"
CONF = {
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.showConsoleProgress": "false",
}

needs_spark = pytest.mark.skipif(
    shutil.which("java") is None or find_spec("pyspark") is None,
    reason="needs Java 17 or later and pyspark: pip install -e '.[spark]'",
)

pytestmark = pytest.mark.slow


def name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__.rsplit('.', 1)[-1]}.{function.__qualname__}"


FOUND = sorted(functions_on_tables(), key=name_of)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, engine: DuckDBEngine) -> Path:
    """The inputs as files; those that functions make are made by DuckDB, so that each function is tried alone."""
    folder = tmp_path_factory.mktemp("tables")
    for name, table in Tables().arrow.items():
        parquet.write_table(table, folder / f"{name}.parquet")
    parquet.write_table(VALUES, folder / "values.parquet")
    for name, make in DERIVED.items():
        engine.write_file(make(reader(engine, folder)), folder / f"{name}.parquet", [])
    return folder


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory, engine: DuckDBEngine) -> Iterator[SparkEngine]:
    found = SparkEngine(CLUSTER, tuple(sorted(CONF.items())), tmp_path_factory.mktemp("scratch"), engine)
    yield found
    found.stop()


def reader(engine: Engine, folder: Path) -> Callable[[str], ir.Table]:
    return functools.cache(lambda name: engine.scan(str(folder / f"{name}.parquet"), {}))


def test_every_function_on_tables_has_inputs() -> None:
    assert [name_of(function) for function in FOUND if function not in CALLS] == []
    assert [name_of(function) for function in CALLS if function not in FOUND] == []


@needs_spark
@pytest.mark.parametrize("function", FOUND, ids=name_of)
def test_a_function_gives_the_same_on_both_engines(
    function: Callable[..., Any], tables: Path, engine: DuckDBEngine, spark: SparkEngine
) -> None:
    expected = [comparable(result) for result in CALLS[function](reader(engine, tables))]
    found = [comparable(result) for result in CALLS[function](reader(spark, tables))]
    assert [difference(one, other) for one, other in zip(expected, found, strict=True)] == [None] * len(expected)
    assert any(expected), "no result to compare"


@needs_spark
@pytest.mark.parametrize("meaning", [*EXPRESSIONS, *AGGREGATES, *TABLES])
def test_an_expression_means_the_same_on_both_engines(
    meaning: str, tables: Path, engine: DuckDBEngine, spark: SparkEngine
) -> None:
    def ask(values: ir.Table) -> ir.Table:
        if meaning in EXPRESSIONS:
            return values.select("key", "money", **EXPRESSIONS[meaning](values))
        if meaning in AGGREGATES:
            return values.group_by("key").agg(**AGGREGATES[meaning](values))
        return TABLES[meaning](values)

    expected, found = (comparable(ask(reader(each, tables)("values"))) for each in (engine, spark))
    assert difference(expected, found) is None
