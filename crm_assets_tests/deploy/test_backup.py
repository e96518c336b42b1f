"""Backup and restore of a workspace and its history, by the scripts of `deploy/`."""

import os
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.automation.due import due_cleaning
from crm_assets.automation.landing import landed_deliveries
from crm_assets.definitions import lake_of
from crm_assets.partitions import DELIVERIES
from crm_assets.runs import Runs
from crm_assets.settings import load_settings
from crm_assets_tests import shop
from crm_assets_tests.deploy.team import DEPLOY, Postgres, instance_of, team

pytestmark = pytest.mark.slow


@dg.op
def nothing() -> None: ...


@dg.job
def idle() -> None:
    nothing()


def script(
    name: str, postgres: Postgres, database: str, home: Path, backups: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | postgres.variables(database) | {"CRM_HOME": str(home), "CRM_BACKUPS": str(backups)}
    # Clients of PostgreSQL are on the path of its image.
    environment["PATH"] = f"{postgres.binaries}{os.pathsep}{environment['PATH']}"
    return subprocess.run([DEPLOY / name, *arguments], env=environment, capture_output=True, text=True)


def files_of(home: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of each file that a backup holds."""
    kept = (path for path in home.rglob("*") if path.is_file() and path.name != "warehouse.duckdb")
    return {str(path.relative_to(home)): (path.stat().st_mtime_ns, path.read_bytes()) for path in kept}


def test_a_restored_workspace_is_as_it_was_and_nothing_is_made_again(
    finished: Path, postgres: Postgres, tmp_path: Path
) -> None:
    home, backups, database = tmp_path / "home", tmp_path / "backups", postgres.new_database()
    shop.copy_of(finished, home)
    with team(postgres, database, home, tmp_path / "one") as found, instance_of(found) as instance:
        instance.add_dynamic_partitions(DELIVERIES, ["shop--2024-06-25"])
        assert idle.execute_in_process(instance=instance).success
        going = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED)
        refused = script("backup.sh", postgres, database, home, backups, "monday")
        assert refused.returncode == 1
        assert "error: 1 runs are going" in refused.stderr
        assert not (backups / "monday").exists()
        instance.report_run_canceled(going)
        history = [(run.run_id, run.status) for run in instance.get_runs()]
        assert len(history) == 2

        made = script("backup.sh", postgres, database, home, backups, "monday")
        assert made.returncode == 0, made.stderr
        assert made.stdout.strip() == str(backups / "monday")
        assert script("backup.sh", postgres, database, home, backups, "monday").returncode == 1

    restored, new_database = tmp_path / "elsewhere", postgres.new_database()
    done = script("restore.sh", postgres, new_database, restored, backups, "monday")
    assert done.returncode == 0, done.stderr
    assert files_of(restored) == files_of(home)

    settings = load_settings(restored)
    assert all(landed.is_ingested for landed in landed_deliveries(settings, lake_of(settings)))
    assert due_cleaning(settings, lake_of(settings)) == []
    with team(postgres, new_database, restored, tmp_path / "two") as found, instance_of(found) as instance:
        assert [(run.run_id, run.status) for run in instance.get_runs()] == history
        assert instance.get_dynamic_partitions(DELIVERIES) == ["shop--2024-06-25"]
        assert Runs(settings, instance, lambda doing: None).ingest() == []
    query = "SELECT count(*) AS n FROM marts.customer_segments"
    before, after = (shop.crm_assets(place, "sql", query, "--format", "csv").stdout for place in (home, restored))
    assert before == after
    assert int(after.split()[1]) > 0


def test_a_restore_overwrites_nothing(finished: Path, postgres: Postgres, tmp_path: Path) -> None:
    home, backups, database = tmp_path / "home", tmp_path / "backups", postgres.new_database()
    (home / "exports").mkdir(parents=True)
    with team(postgres, database, home, tmp_path) as found, instance_of(found):
        pass
    assert script("backup.sh", postgres, database, home, backups, "monday").returncode == 0

    full = script("restore.sh", postgres, postgres.new_database(), home, backups, "monday")
    assert full.returncode == 1
    assert "is not empty" in full.stderr
    used = script("restore.sh", postgres, database, tmp_path / "new", backups, "monday")
    assert used.returncode == 1
    assert f"database {database} has tables" in used.stderr

    archive = backups / "monday" / "workspace.tar"
    archive.write_bytes(archive.read_bytes() + b"x")
    broken = script("restore.sh", postgres, postgres.new_database(), tmp_path / "other", backups, "monday")
    assert broken.returncode == 1
    assert "workspace.tar" in broken.stderr + broken.stdout
    assert not (tmp_path / "other").exists()
