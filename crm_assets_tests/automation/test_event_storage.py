"""The batched event log keeps what Dagster's own keeps."""

import multiprocessing
import shutil
import sqlite3

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from crm_assets.automation.event_storage import BatchedSqliteEventLogStorage

DAYS = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")
KEYS = [dg.AssetKey(["clean", "first"]), dg.AssetKey(["clean", "second"])]
RANGE = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-12"}


@dg.asset(key=KEYS[0], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def first(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 7}, tags={"kind": "test"})


@dg.asset(key=KEYS[1], partitions_def=DAYS, deps=[first], backfill_policy=dg.BackfillPolicy.single_run())
def second(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.add_asset_metadata({"note": "x"})
    return dg.MaterializeResult()


def instance_with(storage, folder):
    folder.mkdir(exist_ok=True)
    return dg.DagsterInstance.local_temp(
        str(folder),
        overrides={
            "event_log_storage": {
                "module": storage.__module__,
                "class": storage.__name__,
                "config": {"base_dir": str(folder / "runs")},
            }
        },
    )


def kept(instance):
    """What an event log says of the two assets, without times and run ids."""
    said = {}
    for key in KEYS:
        records = instance.fetch_materializations(key, limit=100).records
        said[key] = {
            "partitions": sorted(record.asset_materialization.partition for record in records),
            "rows": {record.asset_materialization.metadata.get("rows") for record in records},
            "tags": {record.asset_materialization.tags.get("kind") for record in records},
            "materialized": sorted(instance.get_materialized_partitions(key)),
            "latest": instance.get_latest_materialization_event(key).asset_materialization.partition,
            "known": instance.has_asset_key(key),
            "records": [
                record.asset_entry.last_materialization.asset_materialization.partition
                for record in instance.get_asset_records([key])
            ],
        }
    run = instance.get_runs()[0]
    events = [entry.dagster_event_type for entry in instance.all_logs(run.run_id) if entry.is_dagster_event]
    said["events"] = {kind.value: events.count(kind) for kind in sorted(set(events), key=lambda kind: kind.value)}
    said["run"] = sorted(
        (record.asset_key.to_user_string(), record.partition_key)
        for record in instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, limit=100
        ).records
    )
    return said


@pytest.mark.parametrize("batch", ["0", "3", "1000"])
def test_a_ranged_run_leaves_the_same_in_both_storages(tmp_path, monkeypatch, batch):
    said = []
    for storage, size in ((SqliteEventLogStorage, "0"), (BatchedSqliteEventLogStorage, batch)):
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", size)
        with instance_with(storage, tmp_path / storage.__name__) as instance:
            assert isinstance(instance.event_log_storage, storage)
            assert dg.materialize([first, second], instance=instance, tags=RANGE).success
            said.append(kept(instance))
    assert said[0] == said[1]
    assert said[1][KEYS[0]]["partitions"] == [f"2024-01-{day:02}" for day in range(3, 13)]


def test_the_storage_asks_for_batches_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "")
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    import os

    BatchedSqliteEventLogStorage.from_config_value(None, {"base_dir": str(tmp_path)})
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "1000"


def test_an_instance_that_was_deleted_and_made_again_starts_empty(tmp_path):
    for _ in range(2):
        with instance_with(BatchedSqliteEventLogStorage, tmp_path / "instance") as instance:
            assert instance.get_latest_materialization_event(KEYS[0]) is None
            assert dg.materialize([first], instance=instance, tags=RANGE).success
            assert len(instance.get_materialized_partitions(KEYS[0])) == 10
        shutil.rmtree(tmp_path / "instance")


@pytest.mark.parametrize("made", [0, 1, 4])
def test_an_index_whose_making_was_killed_is_completed(tmp_path, made):
    """Tables come one by one, and the version once all are there."""
    instance_with(BatchedSqliteEventLogStorage, tmp_path).dispose()
    with sqlite3.connect(tmp_path / "runs" / "index.db") as index:
        tables = [name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in [name for name in tables if not name.startswith("sqlite_")][made:]:
            index.execute(f"DROP TABLE {name}")
    with instance_with(BatchedSqliteEventLogStorage, tmp_path) as instance:
        assert instance.get_dynamic_partitions("deliveries") == []
        instance.add_dynamic_partitions("deliveries", ["shop--2024-01-01"])
        assert instance.get_dynamic_partitions("deliveries") == ["shop--2024-01-01"]
        assert dg.materialize([first], instance=instance, partition_key="2024-01-01").success
        assert instance.get_materialized_partitions(KEYS[0]) == {"2024-01-01"}


def test_a_forked_process_does_not_use_its_parents_connection(tmp_path):
    with instance_with(BatchedSqliteEventLogStorage, tmp_path / "instance") as instance:
        assert dg.materialize([first], instance=instance, tags=RANGE).success
        child = multiprocessing.get_context("fork").Process(target=wipe, args=(instance,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert not instance.has_asset_key(KEYS[0]), "what the child wrote is seen"
        assert dg.materialize([first], instance=instance, tags=RANGE).success
        assert instance.has_asset_key(KEYS[0])


def wipe(instance):
    instance.event_log_storage.wipe_asset(KEYS[0])


@dg.multi_asset_check(specs=[dg.AssetCheckSpec("a", asset=first), dg.AssetCheckSpec("b", asset=first)])
def checked():
    yield dg.AssetCheckResult(passed=True, asset_key=KEYS[0], check_name="a")
    yield dg.AssetCheckResult(passed=False, asset_key=KEYS[0], check_name="b")


@pytest.mark.parametrize("batch", ["0", "1000"])
def test_a_check_of_a_ranged_run_is_planned_and_evaluated_once(tmp_path, monkeypatch, batch):
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch)
    with instance_with(BatchedSqliteEventLogStorage, tmp_path / "instance") as instance:
        checks = dg.Definitions(assets=[first], asset_checks=[checked]).resolve_implicit_global_asset_job_def()
        assert checks.execute_in_process(instance=instance, tags=RANGE).success
        for name, status in (("a", "SUCCEEDED"), ("b", "FAILED")):
            key = dg.AssetCheckKey(KEYS[0], name)
            records = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
            assert [(record.status.value, record.partition) for record in records] == [(status, None)]
            assert records[0].event.dagster_event.asset_check_evaluation_data.check_name == name
