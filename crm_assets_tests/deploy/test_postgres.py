"""A team's instance on a real PostgreSQL: the queue and its limits, kills, the webservers, sensors and commands."""

import json
import os
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from crm_assets.automation.orphans import ENDED
from crm_assets.automation.sensors import delivery_ingested, exports_landed
from crm_assets.definitions import resources
from crm_assets.partitions import DELIVERIES, range_tags
from crm_assets.runs import Runs
from crm_assets.settings import load_settings
from crm_assets_tests import shop
from crm_assets_tests.deploy.team import Postgres, Team, instance_of, kill, team, wait_for

Status = dg.DagsterRunStatus

pytestmark = pytest.mark.slow

SEGMENTS = (["features", "customer_features"], ["marts", "customer_segments"])

LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""


@pytest.fixture(scope="module")
def served(finished: Path, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A workspace with its code server and both webservers, without a daemon."""
    folder = tmp_path_factory.mktemp("team")
    home = shop.copy_of(finished, folder / "home")
    with team(postgres, postgres.new_database(), home, folder) as found:
        # As in the compose file, where the others wait for the code server.
        start_and_wait(found, "code")
        for service in ("webserver", "webserver-read-only"):
            start_and_wait(found, service)
        yield found


def start_and_wait(found: Team, service: str) -> Any:
    process = found.start(service)

    def listens() -> bool:
        assert process.poll() is None, found.log(service)
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", found.ports[service])) == 0

    wait_for(listens, f"{service} listens")
    return process


def ask(found: Team, service: str, query: str, **variables: object) -> dict[str, Any]:
    """What a webserver answers to a query of GraphQL."""
    prefix = "/view" if service == "webserver-read-only" else ""
    request = urllib.request.Request(
        f"http://127.0.0.1:{found.ports[service]}{prefix}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        said = json.load(answer)
    assert "errors" not in said, said
    return said["data"]


def launch(found: Team, first: str, last: str, service: str = "webserver") -> dict[str, Any]:
    """Ask for segments of some days, as the UI does."""
    selector = {
        "repositoryLocationName": "crm_assets",
        "repositoryName": "__repository__",
        "jobName": "score",
        "assetSelection": [{"path": path} for path in SEGMENTS],
        "assetCheckSelection": [],
    }
    tags = [{"key": key, "value": value} for key, value in range_tags(first, last).items()]
    params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
    return ask(found, service, LAUNCH, params=params)["launchRun"]


def launched(found: Team, first: str, last: str) -> str:
    answer = launch(found, first, last)
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


def statuses(instance: dg.DagsterInstance, ids: Sequence[str]) -> list[Status]:
    runs = [instance.get_run_by_id(run_id) for run_id in ids]
    return [run.status for run in runs if run is not None]


def test_a_daemon_killed_while_two_runs_go_and_one_waits_loses_none(served: Team) -> None:
    with instance_of(served) as instance:
        ids = [launched(served, f"2024-06-{day:02}", f"2024-06-{day + 2}") for day in (10, 13, 16)]
        assert statuses(instance, ids) == [Status.QUEUED] * 3
        first = served.start("daemon")
        # The queue's limit of the tag crm/score.
        two_go = [Status.STARTED, Status.STARTED, Status.QUEUED]
        wait_for(lambda: statuses(instance, ids) == two_go, "two runs go at once and the third waits")
        kill(first)
        ended = [Status.SUCCESS, Status.SUCCESS, Status.QUEUED]
        wait_for(lambda: statuses(instance, ids) == ended, "the two runs end without a daemon")
        second = served.start("daemon")
        wait_for(lambda: statuses(instance, ids) == [Status.SUCCESS] * 3, "the waiting run is carried out")
        kill(second)
        one, other, third = [instance.get_run_record_by_id(run_id) for run_id in ids]
        assert one.start_time < other.end_time
        assert other.start_time < one.end_time
        assert third.start_time > max(one.end_time, other.end_time)
        days = instance.get_materialized_partitions(dg.AssetKey(SEGMENTS[1]))
        assert days >= {f"2024-06-{day}" for day in range(10, 19)}


def test_a_run_that_went_down_with_the_code_server_is_started_again(served: Team) -> None:
    with instance_of(served) as instance:
        daemon = served.start("daemon")
        run_id = launched(served, "2024-05-01", "2024-05-20")
        wait_for(lambda: statuses(instance, [run_id]) == [Status.STARTED], "the run goes")
        kill(served.processes[0])
        served.processes[0] = start_and_wait(served, "code")
        assert statuses(instance, [run_id]) == [Status.STARTED], "nobody noticed"
        wait_for(lambda: statuses(instance, [run_id]) == [Status.FAILURE], "the run is ended")
        again = dg.RunsFilter(tags={"dagster/parent_run_id": run_id}, statuses=[Status.SUCCESS])
        wait_for(lambda: instance.get_runs(filters=again), "the daemon starts the run again")
        assert f"run {run_id} ended: {ENDED}" in served.log("code")
        kill(daemon)


def test_the_read_only_webserver_shows_everything_and_launches_nothing(served: Team) -> None:
    runs = "{ runsOrError { ... on Runs { results { runId } } } assetsOrError { ... on AssetConnection { nodes { id } } } }"
    full, read_only = (ask(served, service, runs) for service in ("webserver", "webserver-read-only"))
    assert full == read_only
    assert full["assetsOrError"]["nodes"]
    refused = launch(served, "2024-06-10", "2024-06-10", "webserver-read-only")
    assert refused["__typename"] == "UnauthorizedError"
    assert ask(served, "webserver", runs) == full


def test_sensors_and_commands_work_on_postgres(finished: Path, postgres: Postgres, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    with team(postgres, postgres.new_database(), home, tmp_path) as found, instance_of(found) as instance:
        orders = home / "exports" / "shop" / str(shop.LAST_DAY) / "orders.csv"
        orders.write_text(orders.read_text("utf-8").replace("2.50", "3.50"), "utf-8")
        os.utime(orders, (1_700_000_000, 1_700_000_000))
        settings = load_settings(home)
        given = {name: resources(settings)[name] for name in ("settings", "lake")}
        looked = exports_landed(dg.build_sensor_context(instance=instance), **given)
        looked = exports_landed(dg.build_sensor_context(instance=instance, cursor=looked.cursor), **given)
        (request,) = looked.run_requests
        assert request.partition_key == f"shop--{shop.LAST_DAY}"

        runs = Runs(settings, instance, lambda doing: None)
        assert runs.ingest() == [request.partition_key]
        assert len(instance.get_dynamic_partitions(DELIVERIES)) == 6
        looked = exports_landed(dg.build_sensor_context(instance=instance, cursor=looked.cursor), **given)
        assert looked.skip_reason.skip_message == "no new exports"
        (request,) = delivery_ingested(dg.build_sensor_context(instance=instance), **given).run_requests
        assert dg.AssetKey(["clean", "transactions"]) in request.asset_selection
        runs.clean()
        assert "every day is clean" in str(delivery_ingested(dg.build_sensor_context(instance=instance), **given))

        status = found.run("crm-assets", "status")
        assert status.returncode == 0, status.stderr
        assert "6 ingested" in status.stdout
        assert "validated.transactions" in status.stdout
        evaluated = int(status.stdout.split("checks: ")[1].split()[0])
        assert evaluated > 10
        assert not (home / "dagster").exists(), "nothing is kept in SQLite"
