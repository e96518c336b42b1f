"""Settings: where they come from, which wins, and what a wrong one says."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from crm_assets.settings import SettingsError, extend_history, load_settings, write_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("CRM_")]:
        monkeypatch.delenv(name)


def test_a_workspace_without_a_file_has_the_defaults(tmp_path):
    settings = load_settings(tmp_path)
    assert (settings.timezone, settings.start_date, settings.late_window_days) == ("UTC", None, 7)
    assert settings.exports == tmp_path / "exports"
    assert settings.warehouse == tmp_path / "warehouse.duckdb"


def test_the_file_sets_and_a_variable_wins(tmp_path, monkeypatch):
    (tmp_path / "crm.toml").write_text('timezone = "Asia/Shanghai"\nlate_window_days = 3\nstart_date = 2024-01-01\n')
    monkeypatch.setenv("CRM_LATE_WINDOW_DAYS", "5")
    settings = load_settings(tmp_path)
    assert (settings.timezone, settings.late_window_days, settings.start_date) == ("Asia/Shanghai", 5, date(2024, 1, 1))


def test_the_workspace_is_the_one_named_by_the_variable(tmp_path, monkeypatch):
    (tmp_path / "crm.toml").write_text("seed = 1\n")
    monkeypatch.setenv("CRM_HOME", str(tmp_path))
    assert (load_settings().home, load_settings().seed) == (tmp_path, 1)


def test_a_relative_workspace_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings("shop").home == tmp_path / "shop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", "sed: Extra inputs are not permitted"),
        ("late_window_days = -1", "late_window_days: Input should be greater than or equal to 0"),
        ('start_date = "soon"', "start_date: Input should be a valid date"),
        ('engine = "spork"', "engine: Input should be"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path, text, message):
    (tmp_path / "crm.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        load_settings(tmp_path)
    assert message in str(error.value)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "crm.toml").write_text("timezone = UTC")
    with pytest.raises(SettingsError, match=r"crm\.toml"):
        load_settings(tmp_path)


def test_writing_keeps_comments_and_other_settings(tmp_path):
    path = tmp_path / "crm.toml"
    path.write_text("# ours\nseed = 3 # chosen\n")
    settings = write_settings(tmp_path, start_date=date(2024, 1, 1))
    assert path.read_text() == "# ours\nseed = 3 # chosen\nstart_date = 2024-01-01\n"
    assert (settings.seed, settings.start_date) == (3, date(2024, 1, 1))
    assert [found.name for found in tmp_path.iterdir()] == ["crm.toml"]


def test_of_many_that_change_settings_at_once_none_is_lost(tmp_path):
    days = [date(2024, 1, number) for number in range(1, 29)]
    with ThreadPoolExecutor(8) as pool:
        changes = [pool.submit(extend_history, tmp_path, day) for day in reversed(days)]
        changes += [pool.submit(write_settings, tmp_path, seed=5), pool.submit(write_settings, tmp_path, threads=3)]
        for change in changes:
            change.result()
    settings = load_settings(tmp_path)
    assert (settings.start_date, settings.seed, settings.threads) == (date(2024, 1, 1), 5, 3)


def test_writing_keeps_who_may_read_the_file(tmp_path):
    path = tmp_path / "crm.toml"
    usual = tmp_path / "beside"
    usual.touch()
    write_settings(tmp_path, seed=1)
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o600)
    write_settings(tmp_path, seed=2)
    assert path.stat().st_mode & 0o777 == 0o600
