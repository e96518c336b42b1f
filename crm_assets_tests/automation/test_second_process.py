"""Two processes make what one makes, and neither outlives or hangs upon the other."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.automation.jobs import SCORE, TRAIN, Parts
from crm_assets.automation.second_process import SecondProcessError, second_process
from crm_assets.definitions import build_defs
from crm_assets.runs import RunFailedError, Runs
from crm_assets.settings import load_settings, write_settings
from crm_assets_tests import shop

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


@pytest.fixture
def cleaned(finished: Path, tmp_path: Path) -> Path:
    """The shop with its clean tables and profiles, and nothing trained or scored, for two processes."""
    home = shop.copy_of(finished, tmp_path / "home")
    for folder in ("models", "lake/features", "lake/marts", "lake/models"):
        shutil.rmtree(home / folder)
    for table in (home / "lake" / "quality").iterdir():
        if table.name.startswith(("leaderboard", "segment", "lifecycle", "churn", "subscription", "drift")):
            shutil.rmtree(table)
    assert digests(home) != digests(finished)
    write_settings(home, processes=2)
    return home


@pytest.fixture(autouse=True)
def as_the_workspace_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRM_PROCESSES")


@pytest.mark.slow
@LINUX
def test_two_processes_make_the_tables_of_one_also_after_a_kill_of_both(finished: Path, cleaned: Path) -> None:
    first = subprocess.Popen(score(cleaned), stderr=subprocess.DEVNULL)
    second = wait_for(lambda: second_process_of(first.pid))
    wait_for(lambda: (cleaned / "models" / "lifecycle_rules").exists())
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(lambda: not is_running(second))
    assert digests(cleaned) != digests(finished)
    subprocess.run(score(cleaned), check=True)
    with open_instance(cleaned) as instance:
        makers = {record.dagster_run.tags["crm/process"] for record in instance.get_run_records()}
    assert len(makers) == 4
    assert digests(cleaned) == digests(finished)


@LINUX
def test_a_killed_second_process_ends_the_command_with_a_reason(cleaned: Path) -> None:
    first = subprocess.Popen(score(cleaned), stderr=subprocess.PIPE, text=True)
    os.kill(wait_for(lambda: second_process_of(first.pid)), signal.SIGKILL)
    assert "the second process ended before its work was done" in first.communicate()[1]
    assert first.returncode == 1


def test_a_second_process_killed_as_it_starts_is_told_when_work_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = multiprocessing.active_children
    others = set(alive())

    def none_but_others() -> list[multiprocessing.process.BaseProcess]:
        for process in set(alive()) - others:
            process.kill()
            process.join()
        return alive()

    monkeypatch.setattr(multiprocessing, "active_children", none_but_others)
    with pytest.raises(SecondProcessError, match="ended before its work was done"), second_process(str) as begin:
        begin(["work"])()


def test_what_fails_in_the_second_process_fails_the_command(cleaned: Path) -> None:
    (cleaned / "lake" / "profile" / "customer_days" / "day=2024-05-01" / "part.parquet").write_bytes(b"torn")
    with (
        open_instance(cleaned) as instance,
        pytest.raises(RunFailedError, match=r"run .* of job (train|score) failed at"),
    ):
        Runs(load_settings(cleaned), instance, lambda doing: None).score([shop.LAST_DAY])


def test_parts_are_everything_once_and_need_none_that_comes_later() -> None:
    graph = build_defs().resolve_asset_graph()
    parts = Parts.of(graph)
    models, marts = (parts.models_without_features, parts.models), (parts.marts_without_features, parts.marts)
    assert sorted([*models[0], *models[1]]) == sorted(TRAIN.resolve(graph))
    assert sorted([*marts[0], *marts[1], *parts.last_marts, *parts.performance]) == sorted(SCORE.resolve(graph))
    assert {"/".join(key.path) for key in models[0]} >= {"models/forecaster", "models/recommender"}
    needed = {key: graph.get(key).parent_keys for part in (*models, *marts) for key in part}
    last = parts.last_marts | parts.performance
    assert not any(needed[key] & (models[1] | marts[1] | last) for key in models[0] | marts[0])
    assert not any(needed[key] & (models[0] | marts[0] | last) for key in models[1] | marts[1])
    assert not any(graph.get(key).parent_keys & parts.performance for key in parts.last_marts)
    assert not any(graph.get(key).parent_keys & parts.last_marts for key in parts.performance)


def score(home: Path) -> list[str]:
    """Scores both days of the shop in a process of its own."""
    script = (
        "import sys; from datetime import date; from pathlib import Path; "
        "from crm_assets.automation.instance import open_instance; from crm_assets.runs import Runs; "
        "from crm_assets.settings import load_settings\n"
        "if __name__ == '__main__':\n"
        "    home = Path(sys.argv[1])\n"
        "    with open_instance(home) as instance:\n"
        "        runs = Runs(load_settings(home), instance, lambda doing: None)\n"
        "        runs.score([date.fromisoformat(day) for day in sys.argv[2:]])\n"
    )
    return [sys.executable, "-c", script, str(home), str(shop.HISTORY_ENDS), str(shop.LAST_DAY)]


def second_process_of(pid: int) -> int | None:
    """The process that `multiprocessing` started, if there is one yet."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text("utf-8")
    except FileNotFoundError:
        return False


def digests(home: Path) -> dict[str, str]:
    files = (home / "lake").rglob("part.parquet")
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def wait_for(happens, seconds: float = 120):
    """What `happens` gives once that is true."""
    end = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
