"""The demonstration on DuckDB and on Spark: equal tables, and what each takes.

Belongs here: running `crm-assets demo` on both engines and comparing every file of the lakes. Not here: single functions,
which the tests compare (`crm_assets_tests/test_parity.py`).

Spark is a local cluster with two workers in processes of their own. Values must be equal, floating-point numbers to 1e-9
of their size. Needs Java 17 and pyspark.

    python benchmarks/demo_on_spark.py [--home FOLDER] [--master URL]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

CLUSTER = "local-cluster[2,1,2048]"
CONF = {"spark.driver.memory": "3g", "spark.executor.memory": "2g", "spark.sql.shuffle.partitions": "4"}
RELATIVE = 1e-9
CLOCKS = ("modified_ns",)
"""Columns that say when a file was written on this machine."""


def main() -> int:
    """Run both, compare, print; 1 when a table differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="a folder for the two workspaces (default: a temporary one)")
    parser.add_argument("--master", default=CLUSTER, help="Spark's master, or a Spark Connect address")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        spark = {"CRM_ENGINE": "spark", "CRM_SPARK_REMOTE": arguments.master, "CRM_SPARK_CONF": json.dumps(CONF)}
        taken = {engine: run(home / engine, more) for engine, more in (("duckdb", {}), ("spark", spark))}
        print(f"DuckDB {taken['duckdb']:.0f} s, Spark ({arguments.master}) {taken['spark']:.0f} s")
        return compare(home / "duckdb" / "lake", home / "spark" / "lake")


def run(home: Path, more: dict[str, str]) -> float:
    """Seconds of the demonstration; at once where the workspace has been run already."""
    if (home / "lake" / "marts").exists():
        return 0.0
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"} | more
    began = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", "crm_assets.cli", "demo"]
    subprocess.run(command, env=environment | {"CRM_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def compare(one: Path, other: Path) -> int:
    """Compare the lakes file by file; 1 when something differs."""
    expected, found = files(one), files(other)
    only = sorted(set(expected) ^ set(found))
    tables: dict[str, list[int]] = {}
    different = [f"{place}: on one engine only" for place in only]
    for place in sorted(set(expected) & set(found)):
        left, right = read(expected[place]), read(found[place])
        counts = tables.setdefault("/".join(place.split("/")[:2]), [0, 0])
        counts[0], counts[1] = counts[0] + 1, counts[1] + left.num_rows
        if why := difference(left, right):
            different.append(f"{place}: {why}")
    for table, (parts, rows) in tables.items():
        print(f"  {table:44}{parts:>6} files{rows:>12,} rows")
    print(
        "\n".join(different) or f"all {sum(rows for _, rows in tables.values()):,} rows of {len(tables)} tables equal"
    )
    return int(bool(different))


def files(lake: Path) -> dict[str, Path]:
    """The files of a lake by their place in it."""
    found = {str(path.relative_to(lake)): path for path in lake.rglob("part.parquet")}
    return {place: path for place, path in found.items() if not place.startswith(".")}


def read(path: Path) -> pa.Table:
    """The rows of a file, but for what is a clock's."""
    rows = parquet.ParquetFile(path).read()
    return rows.drop([name for name in CLOCKS if name in rows.column_names])


def difference(left: pa.Table, right: pa.Table) -> str | None:
    """Where two tables differ, row by row in their order; None where they are equal."""
    if left.column_names != right.column_names or left.num_rows != right.num_rows:
        return f"{left.num_columns} columns and {left.num_rows} rows, {right.num_columns} and {right.num_rows}"
    for name in left.column_names:
        here, there = left[name], right[name]
        if pa.types.is_floating(here.type):
            numbers = [np.asarray(values.cast("float64").to_numpy(zero_copy_only=False)) for values in (here, there)]
            equal = np.isclose(*numbers, rtol=RELATIVE, atol=0, equal_nan=True)
            if here.null_count != there.null_count or not equal.all():
                row = int(np.argmin(equal))
                return f"{name}, row {row}: {numbers[0][row]!r} and {numbers[1][row]!r}"
        elif not here.equals(there.cast(here.type)):
            values = zip(here.to_pylist(), there.to_pylist(), strict=True)
            row, pair = next((row, pair) for row, pair in enumerate(values) if pair[0] != pair[1])
            return f"{name}, row {row}: {pair[0]!r} and {pair[1]!r}"
    return None


if __name__ == "__main__":
    sys.exit(main())
