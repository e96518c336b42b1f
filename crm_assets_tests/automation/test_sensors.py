"""Sensors on real exports and a real instance."""

import json
import os
import shutil
import time
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.automation.requests import PROCESS
from crm_assets.automation.sensors import delivery_ingested, exports_landed
from crm_assets.contracts.layers import DELIVERED_FILES
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import build_defs, lake_of, resources
from crm_assets.lake.processes import this_process
from crm_assets.partitions import DELIVERIES, PARTITION, RANGE_END, RANGE_START
from crm_assets.runs import QUIET
from crm_assets.settings import Settings, load_settings, write_settings
from crm_assets_tests import shop

HOUR = 3_600


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shop.lay_down(tmp_path / "shop", customers=40)
    return write_settings(tmp_path / "shop", end_date=shop.LAST_DAY)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path / "instance") as instance:
        yield instance


def look(settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """One tick, with the partitions it adds."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    chosen = {name: resources(settings)[name] for name in ("settings", "lake")}
    result = exports_landed(context, **chosen)
    for request in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(DELIVERIES, list(request.partition_keys))
    return result


def look_twice(settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    return look(settings, instance, look(settings, instance, cursor).cursor)


def look_at_days(settings: Settings, instance: dg.DagsterInstance) -> dg.SensorResult:
    chosen = {name: resources(settings)[name] for name in ("settings", "lake")}
    return delivery_ingested(dg.build_sensor_context(instance=instance), **chosen)


def ends(result: dg.SensorResult) -> list[tuple[str, str]]:
    """First and last partition of each run that a tick asks for."""
    return [
        (request.partition_key, request.partition_key)
        if request.partition_key
        else (request.tags[RANGE_START], request.tags[RANGE_END])
        for request in result.run_requests
    ]


def launch(settings: Settings, instance: dg.DagsterInstance, request: dg.RunRequest, job: str = "ingest") -> bool:
    """Run what a sensor asked for, as the daemon would."""
    partition = {PARTITION: request.partition_key} if request.partition_key else {}
    result = (
        build_defs(settings)
        .resolve_job_def(job)
        .execute_in_process(
            run_config=QUIET,
            instance=instance,
            tags={**request.tags, **partition, "dagster/run_key": request.run_key},
            asset_selection=request.asset_selection,
            raise_on_error=False,
        )
    )
    return result.success


def note_run(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str) -> None:
    """A run of what a sensor asked for, in a state."""
    partition = {PARTITION: request.partition_key} if request.partition_key else {}
    instance.create_run_for_job(
        dg.Definitions(jobs=[_ingest]).resolve_job_def("ingest"),
        tags={**request.tags, **partition, "dagster/run_key": request.run_key, **tags},
        status=status,
    )


def age(folder: Path, seconds: int) -> None:
    then = time.time() - seconds
    for path in folder.rglob("*.csv"):
        os.utime(path, (then, then))


def day_folder(settings: Settings, day: date = shop.LAST_DAY) -> Path:
    return settings.exports / "shop" / day.isoformat()


ALL = ("shop--2024-06-25", "shop--2024-06-30")


def test_deliveries_are_requested_once_their_files_have_stopped_changing(settings, instance) -> None:
    first = look(settings, instance)
    assert first.run_requests == []
    assert "still changing" in first.skip_reason.skip_message
    age(settings.exports, HOUR)
    changed = look(settings, instance, first.cursor)
    assert changed.run_requests == []
    settled = look(settings, instance, changed.cursor)
    assert ends(settled) == [ALL]
    assert len(settled.dynamic_partitions_requests[0].partition_keys) == 6


def test_a_file_still_being_written_waits(settings, instance) -> None:
    age(settings.exports, HOUR)
    first = look(settings, instance)
    with (day_folder(settings) / "orders.csv").open("a") as file:
        file.write("half a li")
    assert ends(look(settings, instance, first.cursor)) == [("shop--2024-06-25", "shop--2024-06-29")]


def test_a_file_of_the_future_is_ingested_once_it_stayed_the_same(settings, instance) -> None:
    age(settings.exports, -1_000 * HOUR)
    assert look_twice(settings, instance).run_requests == []
    soon = settings.model_copy(update={"export_settle_seconds": 0})
    assert ends(look_twice(soon, instance)) == [ALL]


def test_a_hundred_exports_are_one_run_and_a_hole_among_known_ones_makes_two(settings, instance) -> None:
    for number in range(1, 95):
        day = shop.HISTORY_ENDS - timedelta(days=number)
        shutil.copytree(day_folder(settings), day_folder(settings, day))
    age(settings.exports, HOUR)
    result = look_twice(settings, instance)
    assert ends(result) == [("shop--2024-03-23", "shop--2024-06-30")]
    assert len(instance.get_dynamic_partitions(DELIVERIES)) == 100
    other = dg.DagsterInstance.ephemeral()
    other.add_dynamic_partitions(DELIVERIES, ["shop--2024-06-26", "elsewhere--2024-01-01", "shop--2024-06-25"])
    assert ends(look_twice(settings, other)) == [
        ("shop--2024-06-26", "shop--2024-06-26"),
        ("shop--2024-06-25", "shop--2024-06-30"),
    ]


def test_a_range_a_sensor_asked_for_ingests_each_delivery_once(settings, instance) -> None:
    age(settings.exports, HOUR)
    (request,) = look_twice(settings, instance).run_requests
    assert launch(settings, instance, request)
    files = lake_of(settings).read("quality", DELIVERED_FILES)
    assert files.select("_export_date").distinct().count().to_pyarrow().as_py() == 6
    settled = look_twice(settings, instance)
    assert settled.skip_reason.skip_message == "no new exports"
    age(day_folder(settings), HOUR * 2)
    changed = look_twice(settings, instance)
    assert ends(changed) == [("shop--2024-06-30", "shop--2024-06-30")]
    shutil.rmtree(day_folder(settings))
    assert launch(settings, instance, changed.run_requests[0]), "its folder went before the run began"
    assert files.filter(files["_export_date"] == shop.LAST_DAY).count().to_pyarrow().as_py() == 1
    assert look_twice(settings, instance).run_requests == []


def test_a_delivery_that_changes_while_a_run_ingests_it_waits_for_its_end_and_is_not_missed(settings, instance) -> None:
    age(settings.exports, HOUR)
    first = look_twice(settings, instance)
    note_run(instance, first.run_requests[0], dg.DagsterRunStatus.STARTED)
    age(day_folder(settings), HOUR * 2)
    during = look_twice(settings, instance, first.cursor)
    assert during.run_requests == []
    assert "being ingested: shop--2024-06-25" in during.skip_reason.skip_message
    (run,) = instance.get_runs()
    instance.delete_run(run.run_id)
    note_run(instance, first.run_requests[0], dg.DagsterRunStatus.FAILURE)
    # The changed one is new; the others failed together, and are tried in halves.
    assert ends(look(settings, instance, during.cursor)) == [
        ("shop--2024-06-30", "shop--2024-06-30"),
        ("shop--2024-06-25", "shop--2024-06-26"),
        ("shop--2024-06-27", "shop--2024-06-29"),
    ]


def test_a_file_of_another_table_that_comes_after_the_run_was_asked_for_is_not_lost(settings, instance) -> None:
    folder = day_folder(settings, shop.HISTORY_ENDS)
    held_back = shutil.move(folder / "products.csv", settings.home / "products.csv")
    age(settings.exports, HOUR)
    first = look_twice(settings, instance)
    shutil.move(held_back, folder / "products.csv")
    assert launch(settings, instance, first.run_requests[0])
    files = lake_of(settings).read("quality", DELIVERED_FILES)
    assert files.filter(files["file"] == "products.csv").count().to_pyarrow().as_py() == 0
    age(folder, HOUR)
    again = look_twice(settings, instance)
    assert ends(again) == [("shop--2024-06-25", "shop--2024-06-25")]
    assert dg.AssetKey(["validated", "products"]) in again.run_requests[0].asset_selection
    assert launch(settings, instance, again.run_requests[0])
    products = lake_of(settings).read("validated", contract_of("validated", "products"))
    assert products.count().to_pyarrow().as_py() == len(shop.products())


def test_an_export_that_lands_while_a_run_goes_is_asked_for_besides(settings, instance) -> None:
    late = shutil.move(day_folder(settings), settings.home / "late")
    age(settings.exports, HOUR)
    first = look_twice(settings, instance)
    note_run(instance, first.run_requests[0], dg.DagsterRunStatus.STARTED)
    shutil.move(late, day_folder(settings))
    age(day_folder(settings), HOUR)
    assert ends(look_twice(settings, instance, first.cursor)) == [("shop--2024-06-30", "shop--2024-06-30")]


def test_a_command_that_was_killed_holds_up_nothing(settings, instance) -> None:
    age(settings.exports, HOUR)
    request = look_twice(settings, instance).run_requests[0]
    host, pid, started = this_process().split(":")
    note_run(instance, request, dg.DagsterRunStatus.STARTED, **{PROCESS: f"{host}:{pid}:{started}"})
    assert look_twice(settings, instance).run_requests == []
    (run,) = instance.get_runs()
    instance.delete_run(run.run_id)
    note_run(instance, request, dg.DagsterRunStatus.STARTED, **{PROCESS: f"{host}:{2**22 + 1}:{started}"})
    assert ends(look_twice(settings, instance)) == [ALL]


def test_a_delivery_that_failed_alone_is_named_and_asked_for_again_only_once_it_changed(settings, instance) -> None:
    for path in (settings.exports / "shop").glob("2024-06-2*"):
        shutil.rmtree(path)
    age(settings.exports, HOUR)
    first = look_twice(settings, instance)
    note_run(instance, first.run_requests[0], dg.DagsterRunStatus.FAILURE)
    (run,) = instance.get_runs()
    second = look(settings, instance, first.cursor)
    assert second.run_requests == []
    said = second.skip_reason.skip_message
    assert said.startswith(f"failed: shop--2024-06-30 (run {run.run_id})")
    assert "re-execute the run in the UI or `crm-assets run`" in said
    assert look(settings, instance, second.cursor).run_requests == []
    age(day_folder(settings), HOUR * 2)
    again = look_twice(settings, instance, second.cursor)
    assert ends(again) == [("shop--2024-06-30", "shop--2024-06-30")]
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_a_run_that_the_daemon_starts_again_is_waited_for(settings, instance) -> None:
    age(settings.exports, HOUR)
    first = look_twice(settings, instance)
    note_run(instance, first.run_requests[0], dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
    assert look(settings, instance, first.cursor).run_requests == []


def test_a_lake_that_was_deleted_is_filled_again_though_the_runs_had_succeeded(settings, instance) -> None:
    age(settings.exports, HOUR)
    first = look_twice(settings, instance)
    note_run(instance, first.run_requests[0], dg.DagsterRunStatus.SUCCESS)
    again = look(settings, instance, first.cursor)
    assert ends(again) == [ALL]
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


@pytest.mark.parametrize("cursor", ["{half", "[1]", '{"shop--2024-06-30": "text"}', '{"shop--2024-06-30": {"a": 1}}'])
def test_a_cursor_that_cannot_be_read_costs_one_more_look(settings, instance, cursor) -> None:
    age(settings.exports, HOUR)
    first = look(settings, instance, cursor)
    assert first.run_requests == []
    assert ends(look(settings, instance, first.cursor)) == [ALL]


def test_what_is_in_the_lake_is_not_asked_for_even_by_a_new_instance(finished: Path, instance) -> None:
    result = look(load_settings(finished), instance)
    assert result.run_requests == []
    assert result.skip_reason.skip_message == "no new exports"
    assert json.loads(result.cursor) == {}


@pytest.fixture
def cleaned(finished: Path, tmp_path: Path) -> Settings:
    """The finished shop somewhere else, for one test to spoil."""
    shutil.copytree(finished, tmp_path / "copy", ignore=shutil.ignore_patterns("dagster", "models", "reports"))
    return load_settings(tmp_path / "copy")


def write_again(settings: Settings, *path: str) -> None:
    """Make part of the lake look as if it had just been written."""
    for file in settings.lake.joinpath(*path).rglob("part.parquet"):
        os.utime(file)


def test_exactly_the_days_that_were_touched_are_asked_for_even_by_a_new_instance(cleaned, instance) -> None:
    assert look_at_days(cleaned, instance).skip_reason.skip_message == "every day is clean"
    write_again(cleaned, "quality", "delivered_days", "_source=shop", f"_export_date={shop.LAST_DAY}")
    assert ends(look_at_days(cleaned, instance)) == [("2024-06-30", "2024-06-30")]
    for layer, table in (("clean", "transactions"), ("profile", "customer_days")):
        write_again(cleaned, layer, table, f"day={shop.LAST_DAY}")
    assert look_at_days(cleaned, instance).skip_reason.skip_message == "every day is clean"


def test_days_are_cleaned_once_no_delivery_is_being_ingested(cleaned, instance) -> None:
    write_again(cleaned, "quality", "delivered_days", "_source=shop", f"_export_date={shop.LAST_DAY}")
    note_run(instance, dg.RunRequest(run_key="k"), dg.DagsterRunStatus.STARTED)
    said = look_at_days(cleaned, instance).skip_reason.skip_message
    assert said == "deliveries are being ingested or cleaned"


def test_days_before_the_loaded_history_wait_for_the_code_location_to_be_loaded_anew(cleaned, instance) -> None:
    write_again(cleaned, "quality", "delivered_days", "_source=shop", f"_export_date={shop.LAST_DAY}")
    before = cleaned.model_copy(update={"start_date": None})
    assert "reload the code location" in look_at_days(before, instance).skip_reason.skip_message


def test_a_delivery_of_customers_alone_asks_for_the_dimensions(cleaned, instance) -> None:
    write_again(cleaned, "validated", "customers")
    (request,) = look_at_days(cleaned, instance).run_requests
    assert dg.AssetKey(["clean", "customers"]) in request.asset_selection
    assert request.partition_key is None


def test_what_a_killed_run_left_is_asked_for_again_and_what_failed_as_it_is_is_not(cleaned, instance) -> None:
    write_again(cleaned, "validated", "customers")
    (request,) = look_at_days(cleaned, instance).run_requests
    (same,) = look_at_days(cleaned, instance).run_requests
    assert same.run_key == request.run_key
    write_again(cleaned, "clean", "customers")
    (rest,) = look_at_days(cleaned, instance).run_requests
    assert dg.AssetKey(["profile", "customers"]) in rest.asset_selection
    assert rest.run_key != request.run_key


def test_each_decision_on_a_pair_asks_for_persons_anew(cleaned, instance) -> None:
    keys = set()
    for number in range(2):
        cleaned.identity_pairs.write_text("customer_id_a,customer_id_b,decision,decided_on\n" * (number + 1), "utf-8")
        (request,) = look_at_days(cleaned, instance).run_requests
        keys.add(request.run_key)
    assert len(keys) == 2


@dg.job(name="ingest")
def _ingest() -> None:
    """A job without steps, to have a run of."""
