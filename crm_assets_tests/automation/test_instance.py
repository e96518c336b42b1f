"""The workspace's own Dagster instance."""

import shutil
from pathlib import Path

import pytest
import yaml

from crm_assets.automation.instance import INSTANCE_FILE, open_instance


@pytest.fixture(autouse=True)
def own_instance(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def days_of(home: Path) -> list[str]:
    with open_instance(home) as instance:
        return list(instance.get_dynamic_partitions("days"))


def test_a_copied_workspace_has_a_history_of_its_own(tmp_path: Path):
    with open_instance(tmp_path / "one") as instance:
        instance.add_dynamic_partitions("days", ["monday"])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with open_instance(tmp_path / "two") as instance:
        instance.add_dynamic_partitions("days", ["tuesday"])
    assert (days_of(tmp_path / "one"), days_of(tmp_path / "two")) == (["monday"], ["monday", "tuesday"])


def test_a_file_that_someone_changed_stays(tmp_path: Path):
    path = tmp_path / "one" / "dagster" / INSTANCE_FILE
    days_of(tmp_path / "one")
    changed = yaml.safe_load(path.read_text("utf-8")) | {"concurrency": {"runs": {"max_concurrent_runs": 5}}}
    path.write_text(yaml.safe_dump(changed), "utf-8")
    shutil.move(tmp_path / "one", tmp_path / "two")
    days_of(tmp_path / "two")
    assert yaml.safe_load((tmp_path / "two" / "dagster" / INSTANCE_FILE).read_text("utf-8")) == changed
