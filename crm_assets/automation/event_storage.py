"""Dagster's SQLite event log, with the events of a batch written in one transaction.

Belongs here: the storage that `dagster.yaml` names. Not here: any other instance setting.

A run over a year of daily partitions logs two events a partition and asset. Dagster hands them over in batches when
`DAGSTER_EVENT_BATCH_SIZE` is set, but its SQLite storage commits each on its own, which takes longer than the work.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import sqlalchemy as db
from dagster import EventLogEntry
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy.pool import NullPool

BATCH_SIZE = 1_000
"""Events in one transaction, unless `DAGSTER_EVENT_BATCH_SIZE` says otherwise."""

BUSY_SECONDS = 30
"""How long a writer waits for another process to finish its transaction."""


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that writes batches of asset events in one transaction per database."""

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
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events of a batch; those that are not asset events are stored one by one."""
        by_run: dict[str, list[EventLogEntry]] = defaultdict(list)
        for event in events:
            if event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS:
                by_run[event.run_id].append(event)
            else:
                self.store_event(event)
        for run_id, batch in by_run.items():
            with self.run_connection(run_id) as connection:
                for event in batch:
                    connection.execute(self.prepare_insert_event(event))
        stored = [event for batch in by_run.values() for event in batch]
        if not stored:
            return
        # The index across runs: as in `SqliteEventLogStorage.store_event`, for many events at once.
        with self.index_transaction() as connection:
            ids = []
            for event in stored:
                result = connection.execute(self.prepare_insert_event(event))
                ids.append(result.inserted_primary_key[0])  # type: ignore[index]
            self._store_asset_event_tags(connection, stored, ids)
            last_of_asset = {}
            for event, event_id in zip(stored, ids, strict=True):
                assert event.dagster_event is not None
                last_of_asset[event.dagster_event.asset_key, event.dagster_event_type] = event, event_id
            for event, event_id in last_of_asset.values():
                self._store_asset_event(connection, event, event_id)


@lru_cache(maxsize=16)
def _engine(address: str) -> db.Engine:
    # Connections are not kept, so that neither a forked process nor a removed file meets an old one.
    return db.create_engine(address, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
