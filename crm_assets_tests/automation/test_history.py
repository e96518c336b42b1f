"""Marts of all history are left for as long as the workspace says, and made when one is missing or a turn was missed."""

from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from crm_assets.automation.history import HISTORY, MADE_BESIDE, history_as_of
from crm_assets.automation.instance import open_instance
from crm_assets.automation.schedules import all_schedules
from crm_assets.definitions import MARTS_ARE_FRESH_BY, build_defs
from crm_assets.partitions import range_tags
from crm_assets.runs import Runs
from crm_assets.settings import Settings, load_settings, write_settings
from crm_assets_tests import shop

SUNDAY = date(2024, 3, 3)
DAY = timedelta(days=1)


def weekly(home: Path, days: int = 7) -> Settings:
    return Settings(home=home, start_date=date(2024, 1, 1), history_refresh_days=days)


def made(instance: dg.DagsterInstance, day: date, keys: tuple[dg.AssetKey, ...] = HISTORY) -> None:
    """Let a run of a day make some assets, of which only the names matter."""
    assets = [dg.asset(key=key)(lambda: None) for key in keys]
    assert dg.materialize(assets, instance=instance, tags=range_tags(day, day)).success


def test_they_are_due_on_sundays_and_left_on_the_six_days_after(tmp_path: Path) -> None:
    settings = weekly(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        assert history_as_of(settings, instance, SUNDAY) is None
        made(instance, SUNDAY)
        assert {history_as_of(settings, instance, SUNDAY + n * DAY) for n in range(7)} == {SUNDAY}
        assert history_as_of(settings, instance, SUNDAY + 7 * DAY) is None
        # The Sunday was missed.
        assert history_as_of(settings, instance, SUNDAY + 9 * DAY) is None
        made(instance, SUNDAY + 9 * DAY)
        assert history_as_of(settings, instance, SUNDAY + 10 * DAY) == SUNDAY + 9 * DAY
        assert history_as_of(settings, instance, SUNDAY + 14 * DAY) is None


def test_they_are_due_where_one_was_never_made_and_every_day_by_default(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        made(instance, SUNDAY, HISTORY[1:])
        assert history_as_of(weekly(tmp_path), instance, SUNDAY + DAY) is None
        made(instance, SUNDAY, HISTORY[:1])
        assert history_as_of(weekly(tmp_path), instance, SUNDAY + DAY) == SUNDAY
        assert history_as_of(weekly(tmp_path, days=1), instance, SUNDAY) is None
    assert Settings(home=tmp_path).history_refresh_days == 1


def test_the_daily_schedule_leaves_them_too(tmp_path: Path) -> None:
    settings = weekly(tmp_path)
    definitions = build_defs(settings)
    daily, _ = all_schedules(settings)
    job = definitions.resolve_job_def("refresh").asset_layer.executable_asset_keys

    def request(instance: dg.DagsterInstance, at: datetime) -> dg.RunRequest:
        repository = definitions.get_repository_def()
        return daily(
            dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
        )

    with open_instance(tmp_path) as instance:
        assert request(instance, datetime(2024, 3, 4, 5)).asset_selection is None
        made(instance, SUNDAY)
        asked = request(instance, datetime(2024, 3, 5, 5))
        assert asked.partition_key == "2024-03-04"
        assert set(asked.asset_selection) == job - {*HISTORY, *MADE_BESIDE}
        assert request(instance, datetime(2024, 3, 11, 5)).asset_selection is None


def test_they_are_late_only_after_their_days(tmp_path: Path) -> None:
    def policies(settings: Settings) -> dict[dg.AssetKey, dg.FreshnessPolicy]:
        specs = build_defs(settings).resolve_all_asset_specs()
        return {spec.key: spec.freshness_policy for spec in specs if spec.freshness_policy}

    of_week = policies(weekly(tmp_path))
    assert {key for key, policy in of_week.items() if policy != MARTS_ARE_FRESH_BY} == set(HISTORY)
    assert of_week[HISTORY[0]] == dg.FreshnessPolicy.time_window(fail_window=timedelta(days=7, hours=3))
    assert set(policies(weekly(tmp_path, days=1)).values()) == {MARTS_ARE_FRESH_BY}


@pytest.mark.slow
def test_a_run_leaves_them_and_says_so_and_makes_them_when_asked(history: Path, tmp_path: Path) -> None:
    """The shop was run as of a Tuesday; the next days' actions rest on its lists, and on Sunday there are new ones."""
    home = shop.copy_with_history(history, tmp_path / "home")
    write_settings(home, history_refresh_days=7)
    files = {key: home.joinpath("lake", *key.path) for key in HISTORY}

    def times() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for path in files.values() for file in path.rglob("*.parquet")}

    def run(day: date, *, anew: bool = False) -> list[str]:
        said: list[str] = []
        with open_instance(home) as instance:
            Runs(load_settings(home), instance, said.append).score([day], history=anew)
        return said

    def rows(query: str) -> list[tuple]:
        with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.execute(query).fetchall()

    before, wednesday = times(), shop.HISTORY_ENDS + DAY
    assert f"leave marts of all history as of {shop.HISTORY_ENDS} (history_refresh_days)" in run(wednesday)
    assert times() == before
    assert rows("SELECT DISTINCT as_of FROM marts.next_best_action") == [(wednesday,)]
    lists = "SELECT DISTINCT as_of FROM marts.recommendations ORDER BY 1"
    assert rows(lists) == [(shop.HISTORY_ENDS,)]
    listed = rows("SELECT count(*) FROM marts.next_best_action WHERE action = 'recommendation'")
    assert listed > [(0,)]
    assert not any("leave" in line for line in run(wednesday, anew=True))
    assert rows(lists) == [(shop.HISTORY_ENDS,), (wednesday,)]
    assert not any("leave" in line for line in run(shop.LAST_DAY))
    assert rows(lists) == [(shop.HISTORY_ENDS,), (wednesday,), (shop.LAST_DAY,)]
