"""Dagster's SQLite event log, with the events of a batch written in one transaction on a connection that stays open.

Belongs here: the storage that `dagster.yaml` names. Not here: any other instance setting.

A run over a year of daily partitions logs two events a partition and asset. Dagster hands them over in batches when
`DAGSTER_EVENT_BATCH_SIZE` is set, but its SQLite storage commits each on its own, which takes longer than the work. It
also opens the database for each event, which empties the write-ahead log, and waits for the disk at each commit.

With `synchronous = NORMAL` SQLite waits for the disk only when it empties the log: a killed process loses nothing, a
power failure at most the last events, and the database stays whole (https://www.sqlite.org/pragma.html).
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import dagster as dg
import sqlalchemy as db
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster_shared.record import copy
from sqlalchemy.exc import DisconnectionError

BATCH_SIZE = 1_000
"""Events in one transaction, unless `DAGSTER_EVENT_BATCH_SIZE` says otherwise."""

BUSY_SECONDS = 30
"""How long a writer waits for another process to finish its transaction."""


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that writes batches of asset events in one transaction per database."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._found: set[str] = set()
        super().__init__(*args, **kwargs)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """The storage that `dagster.yaml` describes; its parent would make one of its own class."""
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[db.Connection]:
        """A connection to one database; its parent compiles every statement anew, which takes longer than running it."""
        with self._db_lock:
            engine = _engine(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._make_tables(shard, engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _make_tables(self, shard: str, engine: db.Engine) -> None:
        """The tables of one database: a new run's are copied, since making them takes longer than many a step."""
        path = Path(self.path_for_shard(shard))
        # Of another version of Dagster the tables may be others.
        template = path.with_name(f".empty-{dg.__version__}.db")
        if path.exists() or not self._is_copied(template, path):
            self._initdb(engine)

    def _is_copied(self, template: Path, path: Path) -> bool:
        if not template.exists():
            made = _beside(template)
            engine = db.create_engine(f"sqlite:///{made}", poolclass=db.NullPool)
            self._initdb(engine)
            engine.dispose()
            os.replace(made, template)
        made = _beside(path)
        shutil.copyfile(template, made)
        try:
            # Complete when it appears, also to other processes, and never over one of theirs.
            os.link(made, path)
        except OSError:
            return False
        finally:
            made.unlink()
        return True

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; its parent looks for it with each event."""
        if table_name not in self._found and (super().has_table(table_name) or self._is_completed(table_name)):
            self._found.add(table_name)
        return table_name in self._found

    def _is_completed(self, table_name: str) -> bool:
        """Whether the index has a table once those are made that a process left out which was killed amid them.

        Its parent makes tables of an index that is not there, or when it first connects to one.
        """
        if INDEX_SHARD_NAME in self._initialized_dbs:
            return False
        with self.index_connection():
            pass
        self.reindex_events()
        self.reindex_assets()
        return bool(super().has_table(table_name))

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether the index has a column of assets; its parent looks for it with each asset that is read."""
        name = f"asset_keys.{column_name}"
        if name not in self._found and super().has_asset_key_col(column_name):
            self._found.add(name)
        return name in self._found

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store one event."""
        super().store_event(_of_the_whole_run(event))

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store the events of a batch: of assets and of checks that are planned together, others one by one."""
        of_assets: dict[str, list[dg.EventLogEntry]] = defaultdict(list)
        of_checks: dict[str, list[dg.EventLogEntry]] = defaultdict(list)
        for event in events:
            if event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS:
                of_assets[event.run_id].append(event)
            elif _plans_a_check(event):
                of_checks[event.run_id].append(_of_the_whole_run(event))
            else:
                self.store_event(event)
        for run_id, batch in of_assets.items():
            self._store_asset_events(run_id, batch)
        for run_id, batch in of_checks.items():
            self._store_planned_checks(run_id, batch)

    def _store_planned_checks(self, run_id: str, stored: Sequence[dg.EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in stored]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self.index_transaction() as connection:
            ids = _insert(connection, rows)
            planned = [event.get_dagster_event().asset_check_planned_data for event in stored]
            connection.execute(
                AssetCheckExecutionsTable.insert(),
                [
                    {
                        "asset_key": check.asset_key.to_string(),
                        "check_name": check.check_name,
                        "run_id": run_id,
                        "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                        "evaluation_event": row["event"],
                        "evaluation_event_timestamp": row["timestamp"],
                        "evaluation_event_storage_id": event_id,
                    }
                    for check, row, event_id in zip(planned, rows, ids, strict=True)
                ],
            )

    def _store_asset_events(self, run_id: str, stored: Sequence[dg.EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in stored]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        # The index across runs: as in `SqliteEventLogStorage.store_event`, for many events at once.
        with self.index_transaction() as connection:
            ids = _insert(connection, rows)
            self._store_asset_event_tags(connection, stored, ids)
            last_of_asset = {}
            for event, event_id in zip(stored, ids, strict=True):
                assert event.dagster_event is not None
                last_of_asset[event.dagster_event.asset_key, event.dagster_event_type] = event, event_id
            for event, event_id in last_of_asset.values():
                self._store_asset_event(connection, event, event_id)


def _insert(connection: db.Connection, rows: Sequence[dict[str, Any]]) -> Sequence[int]:
    """Add events to the index in a transaction, and give their numbers."""
    connection.execute(SqlEventLogStorageTable.insert(), rows)
    # Nobody else writes meanwhile, so that the numbers follow each other.
    last = connection.execute(db.text("SELECT last_insert_rowid()")).scalar_one()
    return range(last - len(rows) + 1, last + 1)


def _plans_a_check(event: dg.EventLogEntry) -> bool:
    return (
        event.is_dagster_event
        and event.get_dagster_event().event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    )


def _of_the_whole_run(event: dg.EventLogEntry) -> dg.EventLogEntry:
    """The same event, without the run's partitions where it plans a check.

    Dagster plans each check for each partition of a ranged run, whether or not the check has partitions. Ours say once
    what they found in a run, so that 31 checks of a year's range would leave 11,315 that stay planned for ever.
    """
    if not _plans_a_check(event):
        return event
    planned = event.get_dagster_event()
    plan = copy(planned.asset_check_planned_data, partitions_subset=None)
    return event._replace(dagster_event=planned._replace(event_specific_data=plan))


@lru_cache(maxsize=16)
def _engine(address: str) -> db.Engine:
    """The engine of one database, whose connections are used again by the process that opened them."""
    engine = db.create_engine(address, pool_size=1, max_overflow=-1, connect_args={"timeout": BUSY_SECONDS})
    path = Path(str(engine.url.database))

    @db.event.listens_for(engine, "connect")
    def opened(connection: Any, record: Any) -> None:
        # Before the tables are made: else each of them is a commit that waits for the disk.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        record.info["opened"] = _identity(path)

    @db.event.listens_for(engine, "checkout")
    def used(_connection: Any, record: Any, _proxy: Any) -> None:
        # A forked process must not use its parent's connection, nor anyone one of a file that was removed.
        if record.info["opened"] != _identity(path):
            raise DisconnectionError

    return engine


def _beside(path: Path) -> Path:
    """A name for the file until it is complete."""
    return path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.new")


def _identity(path: Path) -> tuple[int, int]:
    return os.getpid(), path.stat().st_ino if path.exists() else 0
