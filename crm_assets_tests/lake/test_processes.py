"""Folders that belong to one process: never shared, and gone once it has ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from crm_assets.lake.processes import folder_of_this_process, is_alive, this_process

SPILL = """
import sys
from pathlib import Path
from crm_assets.lake.duckdb_engine import DuckDBEngine
backend = DuckDBEngine("100MB", 1, sys.argv[1]).backend
backend.raw_sql(f"CREATE TEMP TABLE t AS SELECT i AS a, hash(i + {sys.argv[2]}) AS h FROM range(10_000_000) AS r(i)")
assert any(Path(sys.argv[1]).rglob("*.tmp")), "nothing was spilled"
for _ in range(2):
    (kept,) = backend.raw_sql("SELECT bit_xor(h) FROM t").fetchone()
    (made,) = backend.raw_sql(f"SELECT bit_xor(hash(i + {sys.argv[2]})) FROM range(10_000_000) AS r(i)").fetchone()
    assert kept == made
"""


def test_two_processes_spill_at_once_and_keep_their_rows(tmp_path):
    commands = [[sys.executable, "-c", SPILL, str(tmp_path), seed] for seed in ("1", "7")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [process.communicate()[1] for process in running] == ["", ""]


def test_the_folder_of_a_process_that_was_killed_is_removed_and_others_stay(tmp_path):
    code = "import os; from crm_assets.lake.processes import *; print(folder_of_this_process(Path('.')).absolute())"
    ended, killed = (
        Path(
            subprocess.run(
                [sys.executable, "-c", code + end], cwd=tmp_path, capture_output=True, text=True
            ).stdout.strip()
        )
        for end in ("", "; import sys; sys.stdout.flush(); os.kill(os.getpid(), 9)")
    )
    assert not ended.exists()
    assert killed.exists()
    elsewhere = tmp_path / "another-host-7-123"
    elsewhere.mkdir()
    (tmp_path / "notes").mkdir()
    own = folder_of_this_process(tmp_path)
    assert folder_of_this_process(tmp_path) == own
    assert {folder.name for folder in tmp_path.iterdir()} == {own.name, elsewhere.name, "notes"}


@pytest.mark.parametrize(
    ("process", "alive"),
    [(None, True), ("", True), ("another:7:1", True), (this_process(), True), (f"{this_process()}0", False)],
    ids=["none", "empty", "another machine", "this one", "its number again"],
)
def test_processes_of_other_machines_count_as_alive(process, alive):
    assert is_alive(process) is alive


def test_a_number_that_another_process_has_now_is_not_the_one_that_ended():
    host, pid, started = this_process().rsplit(":", 2)
    assert not is_alive(f"{host}:{2**22 + 1}:{started}")
    assert not is_alive(f"{host}:{pid}:1")
