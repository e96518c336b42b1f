"""The workspace's own Dagster instance."""

import shutil
from pathlib import Path

import pytest
import yaml

from crm_assets.automation.instance import INSTANCE_FILE, instance_config, open_instance


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


@pytest.mark.parametrize("place", ["data/dagster", "/srv/dagster"])
def test_a_file_that_someone_wrote_stays_whatever_place_it_names(tmp_path: Path, monkeypatch, place: str):
    path = tmp_path / INSTANCE_FILE
    written = yaml.safe_dump(instance_config(place.replace("/srv", str(tmp_path))))
    path.write_text(written, "utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    days_of(tmp_path)
    assert path.read_text("utf-8") == written


def test_a_file_that_someone_changed_stays(tmp_path: Path):
    path = tmp_path / "one" / "dagster" / INSTANCE_FILE
    days_of(tmp_path / "one")
    changed = path.read_text("utf-8").replace(f": {tmp_path / 'one'}", f": {tmp_path / 'history'}")
    path.write_text(changed, "utf-8")
    shutil.move(tmp_path / "one", tmp_path / "two")
    days_of(tmp_path / "two")
    assert (tmp_path / "two" / "dagster" / INSTANCE_FILE).read_text("utf-8") == changed
