"""The code location as Dagster sees it: a renamed asset or partition loses its history, so they are written down."""

import json
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crm_assets.automation.instance import instance_config, open_instance
from crm_assets.automation.schedules import all_schedules
from crm_assets.definitions import build_defs
from crm_assets.settings import Settings

SNAPSHOT = Path(__file__).with_name("definitions.json")
PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), start_date=date(2017, 1, 1), end_date=date(2018, 1, 1))


@pytest.fixture(scope="module")
def definitions(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


def snapshot(definitions: dg.Definitions) -> dict[str, dict]:
    graph = definitions.resolve_asset_graph()
    return {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "partitions": str(graph.get(key).partitions_def) if graph.get(key).partitions_def else None,
            "jobs": sorted(
                job.name
                for job in definitions.resolve_all_job_defs()
                if not job.name.startswith("__") and key in job.asset_layer.executable_asset_keys
            ),
        }
        for key in sorted(graph.get_all_asset_keys(), key=lambda key: key.path)
    }


def test_assets_are_those_written_down(definitions: dg.Definitions) -> None:
    """To accept a change: `python -m crm_assets_tests.test_definitions`, and read the diff."""
    assert snapshot(definitions) == json.loads(SNAPSHOT.read_text("utf-8"))


def test_every_asset_says_what_it_is_and_whose(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners == ["team:crm"], spec.key
        assert spec.kinds, spec.key
        assert spec.key.path[0] == "models" or spec.key.path[0] == "raw" or "dagster/column_schema" in spec.metadata


def test_marts_have_a_freshness_policy(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert (spec.freshness_policy is not None) == (spec.key.path[0] == "marts"), spec.key


def test_the_daily_schedule_asks_for_yesterday(tmp_path: Path) -> None:
    live = Settings(home=tmp_path, start_date=date(2024, 1, 1))
    daily, monthly = all_schedules(live)
    with open_instance(tmp_path) as instance:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2024, 3, 1, 5))
        assert daily(context).partition_key == "2024-02-29"
        assert monthly(context).partition_key == "2024-03-01"
    assert daily.cron_schedule == "0 5 * * *"


def test_schedules_of_historical_data_skip_and_say_why(settings: Settings) -> None:
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2024, 3, 1, 5))
    for schedule in all_schedules(settings):
        assert "the workspace ends on 2018-01-01" in schedule(context).skip_message


def test_the_instance_file_at_the_top_is_the_one_the_commands_use() -> None:
    assert yaml.safe_load((PROJECT / "dagster.yaml").read_text("utf-8")) == instance_config("data/dagster")


if __name__ == "__main__":
    workspace = Settings(home=Path("data"), start_date=date(2017, 1, 1), end_date=date(2018, 1, 1))
    SNAPSHOT.write_text(json.dumps(snapshot(build_defs(workspace)), indent=1) + "\n", "utf-8")
