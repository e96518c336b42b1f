"""Runs that lost their code server."""

import json
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent

from crm_assets.automation.instance import open_instance
from crm_assets.automation.orphans import end_orphans

HERE = {".dagster/grpc_info": json.dumps({"host": "code", "port": 4000})}


@dg.job
def idle() -> None: ...


@pytest.mark.parametrize(
    ("tags", "status", "ended"),
    [
        (HERE, dg.DagsterRunStatus.STARTED, True),
        ({".dagster/grpc_info": json.dumps({"host": "other", "port": 4000})}, dg.DagsterRunStatus.STARTED, False),
        ({".dagster/grpc_info": json.dumps({"socket": "/tmp/x"})}, dg.DagsterRunStatus.STARTED, False),
        ({"crm/process": "code:1:1"}, dg.DagsterRunStatus.STARTED, False),
        (HERE, dg.DagsterRunStatus.STARTING, False),
        (HERE, dg.DagsterRunStatus.SUCCESS, False),
    ],
)
def test_only_runs_of_the_server_that_went_down_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], status: dg.DagsterRunStatus, ended: bool
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path) as instance:
        run = instance.create_run_for_job(idle, tags=tags, status=status)
        if status is dg.DagsterRunStatus.STARTED:
            # Of this event the instance takes the time.
            instance.report_dagster_event(DagsterEvent("PIPELINE_START", run.job_name), run_id=run.run_id)
        assert end_orphans(instance, "code", 4000, before=time.time() - 60) == [], "the present server's own"
        assert end_orphans(instance, "code", 4000, before=time.time() + 60) == ([run.run_id] if ended else [])
        now = instance.get_run_by_id(run.run_id)
        assert now is not None
        assert now.status == (dg.DagsterRunStatus.FAILURE if ended else status)
