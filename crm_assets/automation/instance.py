"""The Dagster instance of a workspace: SQLite under `<home>/dagster`.

Belongs here: what `dagster.yaml` says. Not here: a team's instance on Postgres, which is `deploy/dagster.yaml`.
"""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

INSTANCE_FILE = "dagster.yaml"

_MADE_FOR = "# made by crm-assets for "
"""First line of the file, before the folder: what follows is written anew elsewhere while nobody changes it."""


def instance_config(folder: str) -> dict[str, Any]:
    """What `dagster.yaml` says for an instance whose files are in `folder`."""
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_storage": {
            "module": "dagster._core.storage.runs",
            "class": "SqliteRunStorage",
            "config": {"base_dir": f"{folder}/history"},
        },
        "event_log_storage": {
            "module": "crm_assets.automation.event_storage",
            "class": "BatchedSqliteEventLogStorage",
            "config": {"base_dir": f"{folder}/history/runs"},
        },
        "schedule_storage": {
            "module": "dagster._core.storage.schedules",
            "class": "SqliteScheduleStorage",
            "config": {"base_dir": f"{folder}/schedules"},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": folder},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": f"{folder}/logs"},
        },
        # A worker that was killed is started again; a run that failed on its data is not.
        "run_monitoring": {"enabled": True, "max_resume_run_attempts": 0, "poll_interval_seconds": 30},
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        "concurrency": {"runs": {"max_concurrent_runs": 2}},
        "retention": {
            "schedule": {"purge_after_days": {"skipped": 7, "success": 90, "failure": 90}},
            "sensor": {"purge_after_days": {"skipped": 1, "success": 30, "failure": 30}},
        },
    }


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance at `$DAGSTER_HOME`, or the workspace's own, made on first use."""
    folder = Path(os.environ.get("DAGSTER_HOME") or home / "dagster").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / INSTANCE_FILE
    if not path.exists() or _is_of_another_place(path, folder):
        # Whole when it appears: half of it would be another instance, and would stay.
        made = folder / f".{INSTANCE_FILE}.{os.getpid()}"
        made.write_text(_instance_text(str(folder)), "utf-8")
        os.replace(made, path)
    return dg.DagsterInstance.from_config(str(folder))


def _instance_text(folder: str) -> str:
    return f"{_MADE_FOR}{folder}\n{yaml.safe_dump(instance_config(folder), sort_keys=False)}"


def _is_of_another_place(path: Path, folder: Path) -> bool:
    """Whether the file is as it was made before its workspace was moved or copied; one that someone wrote is not."""
    text = path.read_text("utf-8")
    place = text.partition("\n")[0].removeprefix(_MADE_FOR)
    return place != str(folder) and text == _instance_text(place)
