"""Sensors on real exports and a real instance."""

import json
import os
import time
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.automation.sensors import delivery_ingested, exports_landed
from crm_assets.definitions import resources
from crm_assets.settings import Settings, load_settings, write_settings
from crm_assets_tests import shop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shop.lay_down(tmp_path, customers=4)
    return write_settings(tmp_path, end_date=shop.LAST_DAY)


def look(settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    chosen = {name: resources(settings)[name] for name in ("settings", "lake")}
    return exports_landed(context, **chosen)


def age(folder: Path, seconds: int) -> None:
    then = time.time() - seconds
    for path in folder.rglob("*.csv"):
        os.utime(path, (then, then))


def test_a_delivery_is_requested_once_its_files_have_stopped_changing(settings: Settings) -> None:
    with dg.instance_for_test() as instance:
        first = look(settings, instance)
        assert first.run_requests == []
        assert "still changing" in first.skip_reason.skip_message
        age(settings.exports, 3_600)
        changed = look(settings, instance, first.cursor)
        assert changed.run_requests == []
        settled = look(settings, instance, changed.cursor)
        keys = [request.partition_key for request in settled.run_requests]
        assert keys[0] == "shop--2024-06-25"
        assert len(keys) == 6
        assert settled.dynamic_partitions_requests[0].partition_keys == keys


def test_a_file_still_being_written_waits(settings: Settings) -> None:
    age(settings.exports, 3_600)
    with dg.instance_for_test() as instance:
        first = look(settings, instance)
        newest = settings.exports / "shop" / shop.LAST_DAY.isoformat() / "orders.csv"
        with newest.open("a") as file:
            file.write("half a li")
        keys = [request.partition_key for request in look(settings, instance, first.cursor).run_requests]
        assert f"shop--{shop.LAST_DAY}" not in keys
        assert len(keys) == 5


def test_a_run_key_names_the_files_so_that_only_a_change_asks_again(settings: Settings) -> None:
    age(settings.exports, 3_600)
    with dg.instance_for_test() as instance:
        cursor = look(settings, instance).cursor
        before = {request.partition_key: request.run_key for request in look(settings, instance, cursor).run_requests}
        age(settings.exports / "shop" / shop.LAST_DAY.isoformat(), 1_800)
        cursor = look(settings, instance).cursor
        after = {request.partition_key: request.run_key for request in look(settings, instance, cursor).run_requests}
    assert [key for key in before if before[key] != after[key]] == [f"shop--{shop.LAST_DAY}"]


def test_what_is_in_the_lake_is_not_asked_for_even_by_a_new_instance(finished: Path) -> None:
    with dg.instance_for_test() as instance:
        result = look(load_settings(finished), instance)
    assert result.run_requests == []
    assert result.skip_reason.skip_message == "no new exports"
    assert json.loads(result.cursor) == {}


def test_an_ingested_delivery_asks_for_exactly_the_days_it_touched(finished: Path) -> None:
    settings = load_settings(finished)
    with dg.instance_for_test() as instance:
        run = instance.create_run_for_job(
            dg.Definitions(jobs=[_nothing]).resolve_job_def("nothing"),
            tags={"dagster/partition": f"shop--{shop.LAST_DAY}"},
        )
        context = dg.build_run_status_sensor_context(
            "delivery_ingested",
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "nothing"),
            instance,
            run,
        )
        chosen = {name: resources(settings)[name] for name in ("settings", "lake")}
        result = delivery_ingested(context, **chosen)
    tags = [request.tags for request in result.run_requests]
    assert [(tag["dagster/asset_partition_range_start"], tag["dagster/asset_partition_range_end"]) for tag in tags] == [
        (str(shop.LAST_DAY), str(shop.LAST_DAY))
    ]


@dg.job(name="nothing")
def _nothing() -> None:
    """A job without steps, to have a run of."""
