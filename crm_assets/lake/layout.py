"""Where tables lie on disk, and how a partition gets there.

Belongs here: paths, staging and the atomic swap. Not here: what the tables hold, or any query beyond a scan.

Every partition is one file, `<layer>/<table>/<column>=<value>/part.parquet`. A new one is written under `.staging/` and
moved over the old one with a single rename, so a reader sees the old rows or the new ones, and a killed run leaves
nothing half-written. A partition that was written and has no rows is a folder without a file.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops
import ibis.expr.schema as sch
import ibis.expr.types as ir

from crm_assets.contracts.layers import DELIVERY
from crm_assets.contracts.model import Table
from crm_assets.lake.engine import COMPRESSION, COMPRESSION_LEVEL, Engine, note_of
from crm_assets.lake.functions import failure
from crm_assets.lake.processes import folder_of_this_process
from crm_assets.lake.streams import stream_of

if TYPE_CHECKING:
    import pyarrow as pa

PART = "part.parquet"
STAGING = ".staging"
"""Folder of the lake for what is not, or not yet, part of it, in a folder for each process."""

OUTSIDE = "rows outside the partitions asked for"

FEW_DELIVERIES = 8
"""Deliveries that are written one after the other: rows of files come in the order they are kept in."""

Partition = tuple[str, ...]
"""Values of a table's partition columns, such as ``("2017-06-01",)``; empty for a table without partitions."""


class LakeError(RuntimeError):
    """The lake does not hold what was asked for; the message says what to do."""


@dataclass(frozen=True)
class Written:
    """What a write left in the lake."""

    rows: int
    bytes: int
    files: tuple[Path, ...]
    created: bool
    """Whether the table had no rows in the lake before, so that nobody's view of it knows its files."""


@dataclass(frozen=True)
class Lake:
    """The Parquet tables of one workspace.

    Attributes:
        root: The lake's folder.
        engine: The engine that reads and writes it.
    """

    root: Path
    engine: Engine

    @property
    def local(self) -> "Lake":
        """The same lake read by this process, for tables so small that a cluster has nothing to gain."""
        return replace(self, engine=self.engine.local)

    def folder(self, layer: str, table: str) -> Path:
        """The folder of a table."""
        return self.root / layer / table

    def file_of(self, layer: str, contract: Table, partition: Partition) -> Path:
        """The file of a partition, whether it exists or not."""
        return self._place_of(layer, contract, partition) / PART

    def has_rows(self, layer: str, table: str) -> bool:
        """Whether any partition of the table has ever held a row."""
        return any(self.folder(layer, table).rglob(PART))

    def partitions(self, layer: str, contract: Table) -> list[Partition]:
        """Partitions that have been written, empty ones included, in order."""
        folders = self.folder(layer, contract.name).glob("/".join(f"{name}=*" for name in contract.partition_by))
        depth = len(contract.partition_by)
        return sorted(tuple(part.split("=", 1)[1] for part in folder.parts[-depth:]) for folder in folders)

    def written_ns(self, layer: str, contract: Table) -> dict[Partition, int]:
        """When each partition was last made, nanoseconds since 1970; `()` stands for a table without partitions."""
        places = {
            part: self._place_of(layer, contract, part)
            for part in (self.partitions(layer, contract) if contract.partition_by else [()])
        }
        paths = {part: place / PART if (place / PART).exists() else place for part, place in places.items()}
        return {part: path.stat().st_mtime_ns for part, path in paths.items() if path.exists()}

    def read(self, layer: str, contract: Table) -> ir.Table:
        """The table as a lazy Ibis table with the contract's columns in order; no rows when none were written.

        Raises:
            LakeError: The files have other columns than the contract.
        """
        if not self.has_rows(layer, contract.name):
            return self.engine.empty(contract.schema)
        try:
            table = self.engine.scan(
                self._glob(layer, contract.name, len(contract.partition_by)),
                partition_types={name: contract.by_name[name].dtype for name in contract.partition_by},
                columns=list(contract.by_name),
                name=f"{layer}__{contract.name}__",
            )
        except Exception as error:
            raise LakeError(
                f"{layer}.{contract.name} in the lake cannot be read with its contract; "
                f"if it was written by another version, materialise it again. The engine said: {error}"
            ) from error
        # Lakes of earlier versions hold some whole numbers as floating-point numbers.
        return table.cast(dict(contract.schema.items()))

    def note(self, layer: str, contract: Table) -> str | None:
        """What was noted when a table without partitions was last written; None for nothing."""
        path = self.file_of(layer, contract, ())
        return note_of(path) if path.exists() else None

    def write(
        self,
        layer: str,
        contract: Table,
        table: ir.Table | None,
        partitions: Sequence[Partition],
        note: str | None = None,
        made_ns: int | None = None,
    ) -> Written:
        """Replace `partitions` of a table by the rows of a lazy table, each atomically.

        Args:
            layer: The table's layer.
            contract: Its contract; the rows are cast to it and sorted by its key.
            table: The new rows; None for none.
            partitions: The partitions to replace, `[()]` for a table without; those without rows become empty.
            note: Of a table without partitions, text that is kept with the rows, such as what they were made with.
            made_ns: When that which the rows are made from began to be read; now by default. `written_ns` tells it.

        Raises:
            LakeError: `table` has other columns than the contract, or rows outside `partitions`.
        """
        created = not self.has_rows(layer, contract.name)
        order = [column for column in contract.key if column not in contract.partition_by]
        with self._staging() as staging:
            if table is None:
                found: dict[Partition, Path] = {}
            else:
                conformed = _conform(table, contract)
                engine = self.engine.owner(conformed)
                if not contract.partition_by:
                    found = {(): _write_one(engine, conformed, staging / PART, order, note)}
                elif len(partitions) <= (FEW_DELIVERIES if contract.partition_by == DELIVERY else 1):
                    found = _write_each(engine, conformed, layer, contract, partitions, staging, order)
                else:
                    found = _write_many(engine, conformed, contract, staging, order)
            if outside := sorted(set(found) - set(partitions), key=str):
                raise LakeError(f"{layer}.{contract.name}: {OUTSIDE}: {outside[:5]}")
            placed = [self._place(layer, contract, part, found.get(part), staging, made_ns) for part in partitions]
        return _written(placed, created)

    def write_as_is(self, layer: str, contract: Table, table: ir.Table, partition: Partition) -> Written:
        """Replace one partition by the rows of a lazy table in their order, whatever its columns.

        Args:
            layer: The table's layer.
            contract: Names the table and its partition columns, which `table` lacks.
            table: The new rows.
            partition: The partition to replace.
        """
        created = not self.has_rows(layer, contract.name)
        with self._staging() as staging:
            staged = staging / PART
            if stream := stream_of(table):
                stream.write(staged)
            else:
                self.engine.owner(table).write_file(table, staged, [])
            placed = self._place(layer, contract, partition, staged, staging)
        return _written([placed], created)

    @contextmanager
    def collected(self, schema: sch.Schema, parts: "Iterable[pa.Table]") -> Iterator[ir.Table]:
        """Rows made part by part in this process, as a lazy table inside the `with` block; memory holds one part."""
        from pyarrow import parquet

        types = schema.to_pyarrow()
        with self._staging() as staging:
            with parquet.ParquetWriter(
                staging / PART, types, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL
            ) as writer:
                for part in parts:
                    writer.write_table(part.select(types.names).cast(types))
            yield self.engine.scan(str(staging / PART), {})

    def _place(
        self,
        layer: str,
        contract: Table,
        partition: Partition,
        staged: Path | None,
        staging: Path,
        made_ns: int | None = None,
    ) -> Path | None:
        folder = self._place_of(layer, contract, partition)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / PART
        made = made_ns or time.time_ns()
        if staged is None and not target.exists():
            # That it was written just now can only be told from the folder.
            os.utime(folder, ns=(made, made))
            return None
        if staged is None:
            # A reader may already have listed the file, so it is emptied rather than removed.
            columns = [name for name in contract.by_name if name not in contract.partition_by]
            empty = _conform(self.engine.empty(contract.schema), contract).select(*columns)
            staged = _write_one(self.engine.local, empty, staging / f"{uuid.uuid4().hex}.parquet", [])
        os.utime(staged, ns=(made, made))
        os.replace(staged, target)
        return target

    def _place_of(self, layer: str, contract: Table, partition: Partition) -> Path:
        names = zip(contract.partition_by, partition, strict=True)
        return self.folder(layer, contract.name).joinpath(*(f"{name}={value}" for name, value in names))

    def _glob(self, layer: str, table: str, depth: int) -> str:
        return str(self.folder(layer, table).joinpath(*["*"] * depth, PART))

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        folder = folder_of_this_process(self.root / STAGING) / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _write_one(engine: Engine, table: ir.Table, path: Path, order: Sequence[str], note: str | None = None) -> Path:
    engine.write_file(table, path, order, note)
    return path


def _write_each(
    engine: Engine,
    table: ir.Table,
    layer: str,
    contract: Table,
    partitions: Sequence[Partition],
    staging: Path,
    order: Sequence[str],
) -> dict[Partition, Path]:
    """Each partition's rows by a query of its own."""
    from pyarrow import parquet

    names = contract.partition_by
    values = [table[name].cast("string").fill_null("null") for name in names]
    said = ibis.literal(f"{OUTSIDE}: ") + ibis.literal(", ").join(values)
    inside = {
        partition: ibis.and_(
            *[
                table[name] == ibis.literal(value).cast(table[name].type())
                for name, value in zip(names, partition, strict=True)
            ]
        )
        for partition in partitions
    }
    found = {}
    for number, (partition, wanted) in enumerate(inside.items()):
        others = [(rest, False) for other, rest in inside.items() if other != partition]
        # The first query looks at each row as it is written, since the rows may be many and dear to compute twice.
        own = table.filter(wanted if number else ibis.cases((wanted, True), *others, else_=failure(said)))
        path = staging / f"{number}.parquet"
        try:
            if contract.partition_by == DELIVERY:
                path = _write_as_it_comes(engine, own.drop(*names), path, order)
            else:
                _write_one(engine, own.drop(*names), path, order)
        except Exception as error:
            if outside := re.search(f"{OUTSIDE}.*", str(error)):
                raise LakeError(f"{layer}.{contract.name}: {outside[0]}") from error
            raise
        if parquet.read_metadata(path).num_rows:
            found[partition] = path
    return found


def _write_as_it_comes(engine: Engine, table: ir.Table, path: Path, order: Sequence[str]) -> Path:
    """Rows that are probably in order, and are sorted if they are not: sorting most rows takes longer than writing them.

    Row groups may end elsewhere the next time.
    """
    _write_one(engine, table, path, [])
    if _is_sorted(path, order):
        return path
    return _write_one(engine, engine.scan(str(path), {}), path.with_name(f"sorted-{path.name}"), order)


def _write_many(
    engine: Engine, table: ir.Table, contract: Table, staging: Path, order: Sequence[str]
) -> dict[Partition, Path]:
    names = contract.partition_by
    engine.write_partitions(table, staging, names, order)
    files: dict[Partition, list[Path]] = {}
    for path in sorted(staging.rglob("*.parquet")):
        parts = path.relative_to(staging).parts[: len(names)]
        files.setdefault(tuple(part.split("=", 1)[1] for part in parts), []).append(path)
    columns = [name for name in contract.by_name if name not in names]
    return {
        # Threads of the engine may each leave a file in the same partition, or their rows out of order in one.
        part: paths[0]
        if len(paths) == 1 and _is_sorted(paths[0], order)
        else _write_one(engine, engine.scan(list(map(str, paths)), {}, columns), paths[0].with_name(PART), order)
        for part, paths in files.items()
    }


def _is_sorted(path: Path, order: Sequence[str]) -> bool:
    """Whether the rows of a file are in the order of some columns; False where that cannot be told."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    last: list[pa.RecordBatch] = []
    for batch in parquet.ParquetFile(path).iter_batches(columns=list(order)):
        rows = pa.Table.from_batches([*last, batch]).combine_chunks()
        before, after = rows.slice(0, len(rows) - 1), rows.slice(1)
        ordered = pa.array([True] * len(before))
        try:
            for name in reversed(order):
                alike = compute.and_(compute.equal(before[name], after[name]), ordered)
                ordered = compute.or_(compute.less(before[name], after[name]), alike)
        except pa.ArrowNotImplementedError:
            return False
        if not compute.all(ordered, skip_nulls=False).as_py():
            return False
        last = [batch.slice(len(batch) - 1)]
    return True


def _written(placed: Sequence[Path | None], created: bool) -> Written:
    from pyarrow import parquet

    files = tuple(path for path in placed if path)
    rows = sum(parquet.read_metadata(path).num_rows for path in files)
    return Written(rows, sum(path.stat().st_size for path in files), files, created and bool(files))


def _conform(table: ir.Table, contract: Table) -> ir.Table:
    names = list(contract.by_name)
    missing = [name for name in names if name not in table.columns]
    extra = [name for name in table.columns if name not in contract.by_name]
    if missing or extra:
        raise LakeError(f"{contract.name}: the rows lack columns {missing} and have unknown columns {extra}")
    # Ibis leaves out casts between equal types, but engines sum to wider types than it knows of.
    return table.select(**{name: ops.Cast(table[name], dtype).to_expr() for name, dtype in contract.schema.items()})
