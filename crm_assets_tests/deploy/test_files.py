"""The files of `deploy/` agree with each other, with the code and with what their tools accept."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from crm_assets import __version__
from crm_assets.automation.instance import instance_config
from crm_assets.automation.jobs import all_jobs
from crm_assets.definitions import build_defs
from crm_assets.settings import Settings
from crm_assets_tests.deploy.team import COMPOSE, DEPLOY

PROJECT = DEPLOY.parent
INSTANCE = yaml.safe_load((DEPLOY / "dagster.yaml").read_text("utf-8"))
CHART = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRET = re.compile("password|secret|webhook|token", re.IGNORECASE)


def snake(value: Any) -> Any:
    """Keys of the chart as `dagster.yaml` writes them."""
    if isinstance(value, dict):
        return {re.sub("(?<!^)([A-Z])", r"_\1", key).lower(): snake(found) for key, found in value.items()}
    return [snake(found) for found in value] if isinstance(value, list) else value


def pin(name: str) -> str:
    pins = dict(
        line.split("==") for line in (PROJECT / "constraints.txt").read_text("utf-8").split("\n") if "==" in line
    )
    return pins[name]


def settings_in(text: str) -> set[str]:
    """Variables that Compose puts into a file."""
    return set(re.findall(r"\$\{(\w+)", text))


def test_the_queue_limits_each_group_of_assets_that_a_job_makes() -> None:
    limits = {limit["key"]: limit["limit"] for limit in INSTANCE["concurrency"]["runs"]["tag_concurrency_limits"]}
    tags = {job.name: {key for key in job.tags if key.startswith("crm/")} for job in all_jobs()}
    assert tags["refresh"] == {"crm/clean", "crm/score"}
    assert all(tags.values())
    assert set(limits) - {"dagster/backfill"} == set().union(*tags.values())
    assert all(0 < limit <= INSTANCE["concurrency"]["runs"]["max_concurrent_runs"] for limit in limits.values())


def test_the_page_on_deployment_says_these_limits() -> None:
    rows = re.findall(r"\| `((?:crm|dagster)/\w+)` \| .* \| (\d) \|", page("docs/deployment.md"))
    limits = INSTANCE["concurrency"]["runs"]["tag_concurrency_limits"]
    assert rows == [(limit["key"], str(limit["limit"])) for limit in limits]


def test_a_team_retries_and_forgets_as_one_person_does() -> None:
    one = instance_config("x")
    for key in ("run_retries", "retention", "telemetry", "nux"):
        assert INSTANCE[key] == one[key]
    assert INSTANCE["run_monitoring"].items() > one["run_monitoring"].items()


def test_the_chart_says_what_the_instance_says() -> None:
    assert snake(CHART["concurrency"]["runs"]) == INSTANCE["concurrency"]["runs"]
    assert snake(CHART["dagsterDaemon"]["runRetries"]) == INSTANCE["run_retries"]
    assert CHART["telemetry"] == INSTANCE["telemetry"]
    for kind, kept in INSTANCE["retention"].items():
        assert kept["purge_after_days"].items() < CHART["retention"][kind]["purgeAfterDays"].items()
    monitoring = snake(CHART["dagsterDaemon"]["runMonitoring"])
    assert monitoring.items() < INSTANCE["run_monitoring"].items()
    queue = snake(CHART["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"])
    assert queue == INSTANCE["run_coordinator"]["config"]
    assert CHART["postgresql"]["postgresqlScheme"] == INSTANCE["storage"]["postgres"]["postgres_db"]["scheme"]


def test_the_chart_serves_the_code_as_compose_does() -> None:
    (code,) = CHART["dagster-user-deployments"]["deployments"]
    assert " ".join(code["codeServerArgs"]) in SERVICES["code"]["command"][-1]
    assert code["image"]["tag"] == __version__
    given = {variable["name"]: variable["value"] for variable in code["env"]}
    for name in ("CRM_HOME", "DAGSTER_EVENT_BATCH_SIZE", "OMP_WAIT_POLICY"):
        assert given[name] == SERVICES["code"]["environment"][name]
    claims = {volume["name"] for volume in code["volumes"]}
    assert claims == {mount["name"] for mount in code["volumeMounts"]}


def test_no_secret_stands_in_a_file() -> None:
    values = [(name, value) for service in SERVICES.values() for name, value in service.get("environment", {}).items()]
    given = [(name, value) for name, value in values if SECRET.search(name)]
    assert given
    assert all(re.fullmatch(r"\$\{\w+:[?-][^}]*\}", value) for _, value in given), given
    assert INSTANCE["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    example = dict(line.split("=", 1) for line in page("deploy/env.example").split("\n") if re.match(r"\w+=", line))
    assert [value for name, value in example.items() if SECRET.search(name)] == ["", ""]
    assert "postgresqlPassword" not in CHART["postgresql"]
    assert CHART["generatePostgresqlPasswordSecret"] is False


def test_only_the_proxy_is_published_and_only_on_this_machine_unless_told() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert SERVICES["proxy"]["ports"] == ["${CRM_PROXY_ADDRESS:-127.0.0.1}:${CRM_PROXY_PORT:-8443}:8443"]
    assert not {name for name, service in SERVICES.items() if "network_mode" in service}
    assert "CRM_PROXY_ADDRESS=127.0.0.1\n" in page("deploy/env.example")
    assert {name for name, service in SERVICES.items() if "webserver" in name and "ports" not in service} == {
        "webserver",
        "webserver-read-only",
    }


def test_webservers_and_daemon_are_dagsters_image_of_the_pinned_version() -> None:
    for name in ("webserver", "webserver-read-only", "daemon"):
        assert SERVICES[name]["image"] == f"docker.io/dagster/dagster-k8s:{pin('dagster')}"
    assert SERVICES["code"]["image"] == f"crm-assets:{__version__}"
    for text in (page("docs/deployment.md"), page("deploy/helm-values.yaml")):
        assert set(re.findall(r"--version (\S+)", text)) == {pin("dagster")}
    assert "--read-only" in SERVICES["webserver-read-only"]["command"]
    assert "--read-only" not in SERVICES["webserver"]["command"]


def test_every_variable_of_compose_is_in_the_example_and_in_the_page() -> None:
    wanted = settings_in(page("deploy/docker-compose.yml"))
    example = set(re.findall(r"^(\w+)=", page("deploy/env.example"), re.MULTILINE))
    assert wanted == example
    assert {name for name in wanted if f"`{name}`" not in page("docs/deployment.md")} == set()
    of_instance = set(re.findall(r"env: (\w+)", page("deploy/dagster.yaml")))
    assert of_instance <= set(SERVICES["daemon"]["environment"])
    assert of_instance <= set(SERVICES["code"]["environment"])


def test_compose_accepts_its_file() -> None:
    tool = shutil.which("docker-compose")
    if not tool:
        pytest.skip("docker-compose is not installed")
    command = [tool, "--file", DEPLOY / "docker-compose.yml", "config", "--quiet"]
    given = dict.fromkeys(settings_in(page("deploy/docker-compose.yml")), "/x")
    given |= {"CRM_PROXY_ADDRESS": "127.0.0.1", "CRM_PROXY_PORT": "8443", "CRM_CONTAINER_MEMORY": "10g"}
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    without = subprocess.run(command, env=given | {"DAGSTER_PG_PASSWORD": ""}, capture_output=True, text=True)
    assert without.returncode != 0
    assert "set it in deploy/.env" in without.stderr


@pytest.mark.parametrize("name", ["backup.sh", "restore.sh"])
def test_scripts_are_programs_that_bash_can_read(name: str) -> None:
    assert (DEPLOY / name).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", DEPLOY / name], check=True)


def test_every_check_says_what_to_do(tmp_path: Path) -> None:
    section = page("docs/operations.md").split("## Failing checks")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| .+ \| .+ \|$", section, re.MULTILINE)
    names = {key.name for key in build_defs(Settings(home=tmp_path)).resolve_asset_graph().asset_check_keys}
    patterns = {row: re.compile(re.sub("<.+?>", ".+", row)) for row in rows}
    assert {name for name in names if not any(found.fullmatch(name) for found in patterns.values())} == set()
    assert {row for row, found in patterns.items() if not any(map(found.fullmatch, names))} == set()


def page(name: str) -> str:
    return (PROJECT / name).read_text("utf-8")
