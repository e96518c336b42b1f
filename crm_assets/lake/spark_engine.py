"""Apache Spark behind Ibis, one session for the whole process.

Belongs here: starting Spark, and reading and writing the lake's files with it. Not here: what its SQL means
(`spark_sql.py`), how results leave it (`spark_backend.py`).

The lake must lie on a path that the driver and every executor see under the same name. What is kept for a while, such as
held tables, is Parquet in the lake's staging folder: it takes no executor's memory and outlives the loss of one.
"""

import functools
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir

from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.engine import COMPRESSION, COMPRESSION_LEVEL, NOTE, Engine, EngineError
from crm_assets.lake.processes import folder_of_this_process

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from pyspark.sql import DataFrame, SparkSession

    from crm_assets.lake.spark_backend import SparkBackend

CONNECT = "sc://"
"""How the address of a Spark Connect server begins."""

LOOPBACK = "127.0.0.1"

OWN_MACHINE = {
    "spark.driver.bindAddress": LOOPBACK,
    "spark.driver.host": LOOPBACK,
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
}
"""What a driver of this process starts with, unless the settings say otherwise: nobody else reaches it."""

SEMANTICS = {
    # Days and times mean what they mean in DuckDB: no time zone but UTC, and no calendar of before 1582.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # Overflow and values that cannot be cast are errors, not nulls.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.compression.codec": COMPRESSION,
    # Partition values are text until the contract says what they are.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}
"""What every session is told, since results depend on it."""

WRITTEN = {"parquet.compression.codec.zstd.level": str(COMPRESSION_LEVEL)}

TUNING = {
    # A year of daily partitions is listed in the driver in less time than a job takes to start.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Plans of 200 columns take longer to print than to run.
    "spark.sql.maxPlanStringLength": "1000",
}
"""What every session is told unless the settings say otherwise."""


@dataclass(frozen=True)
class SparkEngine(Engine):
    """A Spark session of this process.

    Attributes:
        remote: A master URL, such as ``local[2]`` or ``spark://host:7077``, or a Spark Connect address, ``sc://host``.
        conf: Spark properties and their values.
        scratch_folder: Folder that driver and executors share, for what is kept for a while.
        duckdb: DuckDB in this process, for exports and for libraries.
    """

    remote: str
    conf: tuple[tuple[str, str], ...]
    scratch_folder: Path
    duckdb: DuckDBEngine

    @property
    def backend(self) -> "SparkBackend":
        """The process-wide Ibis connection.

        Raises:
            EngineError: pyspark is not installed, or Spark cannot be reached.
        """
        return _connect(self)

    @property
    def local(self) -> DuckDBEngine:
        """DuckDB in the driver."""
        return self.duckdb

    def scan(
        self,
        files: str | Sequence[str],
        partition_types: Mapping[str, str],
        columns: Sequence[str] | None = None,
        name: str = "scan",
    ) -> ir.Table:
        """A lazy table over Parquet files whose folders are named `column=value`."""
        reader = self.backend.session.read
        paths = [files] if isinstance(files, str) else list(files)
        if partition_types:
            # Spark lists a folder faster than it matches a glob.
            folders = {str(Path(path).parents[len(partition_types)]) for path in paths}
            base = next(iter(folders))
            reader = reader.option("basePath", _address(base))
            if isinstance(files, str) and Path(files).relative_to(base).parts[:-1] == ("*",) * len(partition_types):
                paths = [base]
        frame = reader.parquet(*map(_address, paths))
        types = {
            column: self.backend.compiler.type_mapper.to_string(_dtype(t)) for column, t in partition_types.items()
        }
        selected = columns or [*(c for c in frame.columns if c not in types), *types]
        parts = [f"CAST({_quoted(c)} AS {types[c]}) AS {_quoted(c)}" if c in types else _quoted(c) for c in selected]
        return self.backend.view(frame.selectExpr(*parts), f"{name}{uuid.uuid4().hex}")

    @contextmanager
    def held(self, table: ir.Table) -> Iterator[ir.Table]:
        """The rows of a lazy table, computed once and kept in a scratch folder inside the `with` block."""
        with self._written(self.backend.frame(table)) as folder:
            yield self.backend.view(self.backend.session.read.parquet(_address(str(folder))), f"held_{folder.name}")

    def scratch(self) -> "AbstractContextManager[DuckDBPyConnection]":
        """A connection to an empty DuckDB database in the driver."""
        return self.local.scratch()

    def write_file(self, table: ir.Table, path: Path, order_by: Sequence[str], note: str | None = None) -> None:
        """Write a lazy table into one Parquet file, by one task, with a note in its metadata if there is one."""
        frame = self.backend.frame(table).repartition(1)
        with self._written(_sorted(frame, order_by) if order_by else frame) as folder:
            (only,) = folder.glob("*.parquet")
            if note is None:
                os.replace(only, path)
            else:
                _copy_with_note(only, path, note)

    def write_partitions(
        self, table: ir.Table, folder: Path, partition_by: Sequence[str], order_by: Sequence[str]
    ) -> None:
        """Write a lazy table into `folder`, a subfolder per value of `partition_by` with one file each."""
        # All rows of a value go to one task, which writes them in their order.
        frame = _sorted(self.backend.frame(table).repartition(*partition_by), [*partition_by, *order_by])
        frame.write.options(**WRITTEN).mode("append").partitionBy(*partition_by).parquet(_address(str(folder)))

    def stop(self) -> None:
        """End Spark, and with it every lazy table of this engine."""
        self.backend.session.stop()
        shutil.rmtree(scratch_of(self.scratch_folder), ignore_errors=True)
        _connect.cache_clear()
        scratch_of.cache_clear()

    def _batches(self, table: ir.Table) -> "Iterator[pa.RecordBatch]":
        from pyarrow import parquet

        # Files of a sorted table are numbered in its order.
        with self._written(self.backend.frame(table)) as folder:
            for path in sorted(folder.glob("*.parquet")):
                yield from parquet.ParquetFile(path).iter_batches()

    @contextmanager
    def _written(self, frame: "DataFrame") -> Iterator[Path]:
        """A folder of files with the rows, there inside the `with` block."""
        folder = scratch_of(self.scratch_folder) / uuid.uuid4().hex
        try:
            frame.write.options(**WRITTEN).parquet(_address(str(folder)))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def scratch_of(folder: Path) -> Path:
    """A folder of this process under `folder`, removed when the process ends."""
    own = folder_of_this_process(folder) / f"spark-{uuid.uuid4().hex}"
    own.mkdir(parents=True)
    return own


@functools.cache
def _connect(engine: SparkEngine) -> "SparkBackend":
    try:
        import pyspark  # noqa: F401
    except ImportError as error:
        raise EngineError(
            "engine = \"spark\" needs pyspark, which is not installed: pip install 'crm_assets[spark]' "
            '(and Java 17 or later), or set engine = "duckdb"'
        ) from error
    from crm_assets.lake.spark_backend import SparkBackend

    try:
        session = _session(engine.remote, dict(engine.conf))
    except Exception as error:
        raise EngineError(
            f"Spark at {engine.remote!r} cannot be used: {str(error).strip().splitlines()[0]}; "
            "see spark_remote and spark_conf, and whether Java 17 or later is installed"
        ) from error
    backend = SparkBackend(scratch_of(engine.scratch_folder))
    backend.do_connect(session)
    return backend


def _session(remote: str, conf: Mapping[str, str]) -> "SparkSession":
    from pyspark.sql import SparkSession

    # It prints the whole stack of Java for every error, which the error carries already.
    logging.getLogger("SQLQueryContextLogger").disabled = True
    builder: Any = SparkSession.builder
    if remote.startswith(CONNECT):
        builder = builder.remote(remote)
    else:
        # Workers that Spark starts itself, as for local-cluster, listen where this says.
        if remote.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)
        builder = builder.master(remote).appName("crm_assets")
        for name, value in {**OWN_MACHINE, **conf}.items():
            builder = builder.config(name, value)
    session = builder.getOrCreate()
    for name, value in {**TUNING, **conf, **SEMANTICS}.items():
        if name.startswith("spark.sql.") and session.conf.isModifiable(name):
            session.conf.set(name, value)
    return session


def _copy_with_note(source: Path, target: Path, note: str) -> None:
    """Copy a file group by group: Spark itself writes no metadata of others."""
    from pyarrow import parquet

    given = parquet.ParquetFile(source)
    with parquet.ParquetWriter(
        target, given.schema_arrow, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL
    ) as writer:
        writer.add_key_value_metadata({NOTE: note})
        for number in range(given.num_row_groups):
            writer.write_table(given.read_row_group(number))


def _sorted(frame: "DataFrame", names: Sequence[str]) -> "DataFrame":
    from pyspark.sql.functions import col

    return frame.sortWithinPartitions(*(col(_quoted(name)).asc_nulls_last() for name in names))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _address(path: str) -> str:
    """A path as Spark is to read it, whatever file system is its default."""
    return f"file://{path}"


def _dtype(dtype: str) -> Any:
    import ibis.expr.datatypes as dt

    return dt.dtype(dtype)
