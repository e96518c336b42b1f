"""DuckDB and Spark give the same: every function of `mining` on small tables, and the chain from exports to marts.

Spark is a real one: a cluster of two workers in processes of their own. The tests are skipped where there is no Java or no
pyspark. Functions are found by themselves; one that has no inputs in `parity_calls.py` fails here.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pytest
from pyarrow import parquet

from crm_assets.contracts.registry import contract_of
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.engine import Engine
from crm_assets.lake.layout import PART, STAGING, Lake
from crm_assets.lake.spark_engine import SparkEngine
from crm_assets.settings import write_settings
from crm_assets_tests import shop
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
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""For single functions: on some hundred rows, compiling a query takes longer than running it. The chain compiles."""

RUN = [sys.executable, "-m", "crm_assets.cli", "run"]

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
    parquet.write_table(VALUES, folder / "expressions.parquet")
    for name, make in DERIVED.items():
        engine.write_file(make(reader(engine, folder)), folder / f"{name}.parquet", [])
    return folder


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory, engine: DuckDBEngine) -> Iterator[SparkEngine]:
    found = SparkEngine(CLUSTER, tuple(sorted(CONF.items())), tmp_path_factory.mktemp("scratch"), engine)
    for name, value in INTERPRETED.items():
        found.backend.session.conf.set(name, value)
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

    expected, found = (comparable(ask(reader(each, tables)("expressions"))) for each in (engine, spark))
    assert difference(expected, found) is None


@pytest.fixture(scope="module")
def on_spark(tmp_path_factory: pytest.TempPathFactory, spark: SparkEngine) -> Path:
    """The shop of `finished`, whose first run on Spark was killed while it wrote, and which then ran to its end.

    What the killed run left is in `killed`.
    """
    home = tmp_path_factory.mktemp("on_spark")
    shop.lay_down(home)
    settings = write_settings(
        home, end_date=shop.LAST_DAY, engine="spark", spark_remote=CLUSTER, spark_conf=CONF, memory_limit="500MB"
    )
    process = subprocess.Popen(RUN, env=environment_of(home), start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        while not is_written_by_spark(settings.lake):
            assert process.poll() is None, "the run ended before it was killed"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shutil.copytree(settings.lake, home / "killed")
    for name in INTERPRETED:
        spark.backend.session.conf.unset(name)
    shop.run_all(home, shop.LAST_DAY)
    return home


def environment_of(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    return kept | {"CRM_HOME": str(home)}


def is_written_by_spark(lake: Path) -> bool:
    """Whether clean tables stand already and Spark is amid writing another."""
    return (lake / "clean" / "products").exists() and any((lake / STAGING).rglob("_temporary"))


def files_of(lake: Path) -> dict[str, Path]:
    """The lake's files by their place in it."""
    found = {str(path.relative_to(lake)): path for path in lake.rglob(PART)}
    return {place: path for place, path in found.items() if not place.startswith(STAGING)}


def rows_of(path: Path) -> Any:
    """All but when a file was last changed on this machine."""
    rows = parquet.ParquetFile(path).read()
    return comparable(rows.drop([name for name in ("modified_ns",) if name in rows.column_names]))


@needs_spark
def test_the_chain_gives_equal_tables_on_both_engines(on_spark: Path, finished: Path) -> None:
    expected, found = files_of(finished / "lake"), files_of(on_spark / "lake")
    assert {place for place in set(expected) ^ set(found) if f"as_of={shop.HISTORY_ENDS}" not in place} == set()
    unequal = {place: difference(rows_of(expected[place]), rows_of(path)) for place, path in found.items()}
    assert {place: why for place, why in unequal.items() if why} == {}
    tables = {"/".join(place.split("/")[:2]) for place in found}
    assert {"features/customer_features", "marts/churn_scores", "marts/cross_sell_rules", "profile/customers"} <= tables


@needs_spark
def test_models_learnt_on_spark_are_those_learnt_on_duckdb(on_spark: Path, finished: Path) -> None:
    cards = sorted(path.relative_to(finished) for path in (finished / "models").rglob("card.json"))
    assert cards
    for card in cards:
        assert json.loads((on_spark / card).read_text("utf-8")) == json.loads((finished / card).read_text("utf-8"))


@needs_spark
def test_either_engine_reads_what_the_other_wrote(
    on_spark: Path, finished: Path, spark: SparkEngine, engine: DuckDBEngine
) -> None:
    for layer, name in (("clean", "transactions"), ("features", "customer_features"), ("profile", "customers")):
        contract = contract_of(layer, name)
        written = [
            Lake(home / "lake", reading).read(layer, contract)
            for home in (on_spark, finished)
            for reading in (spark, engine)
        ]
        of_last_day = [
            table.filter(table.as_of == shop.LAST_DAY) if "as_of" in contract.by_name else table for table in written
        ]
        first, *others = map(comparable, of_last_day)
        assert [difference(first, other) for other in others] == [None] * 3


@needs_spark
def test_a_killed_run_on_spark_leaves_the_lake_readable(on_spark: Path, finished: Path) -> None:
    killed, expected = files_of(on_spark / "killed"), files_of(finished / "lake")
    assert any((on_spark / "killed" / STAGING).rglob("_temporary"))
    assert len(files_of(on_spark / "lake")) > len(killed) > 0
    for place, path in killed.items():
        assert difference(rows_of(expected[place]), rows_of(path)) is None
