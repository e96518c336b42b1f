"""A Spark Connect server of its own, on 127.0.0.1, with a workspace that cleans its tables on it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pyarrow import parquet

from crm_assets.lake.layout import PART
from crm_assets.settings import Settings, write_settings
from crm_assets_tests.parity_compare import comparable, difference

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("java") is None or find_spec("pyspark") is None,
        reason="needs Java 17 or later and pyspark: pip install -e '.[spark]'",
    ),
]

STARTS_WITHIN = 120
CLEANED = ("clean", "profile")

CLEAN = """
import sys
from crm_assets.automation.instance import open_instance
from crm_assets.runs import Runs
from crm_assets.settings import load_settings

settings = load_settings(sys.argv[1])
with open_instance(settings.home) as instance:
    runs = Runs(settings, instance, lambda doing: None)
    runs.ingest()
    runs.clean()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that this test started."""
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    properties = {
        "spark.driver.host": "127.0.0.1",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    command = [str(Path(spec.origin).parent / "bin" / "spark-submit"), "--master", "local[2]", "--driver-memory", "1g"]
    for name, value in properties.items():
        command += ["--conf", f"{name}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    folder = tmp_path_factory.mktemp("server")
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(port, process, folder / "log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text("utf-8")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"no server after {STARTS_WITHIN} s: {log.read_text('utf-8')}")


def cleaned(delivered: Path, home: Path, **engine: str) -> Path:
    shutil.copytree(delivered, home)
    write_settings(home, **engine)
    # A process of its own, since one cannot have sessions behind a server and others beside.
    kept = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    done = subprocess.run([sys.executable, "-c", CLEAN, str(home)], env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home / "lake"


def test_tables_cleaned_behind_spark_connect_equal_those_of_duckdb(
    server: str, workspace: Settings, tmp_path: Path
) -> None:
    expected = cleaned(workspace.home, tmp_path / "duckdb")
    found = cleaned(workspace.home, tmp_path / "spark", engine="spark", spark_remote=server)
    places = {path.relative_to(expected) for layer in CLEANED for path in (expected / layer).rglob(PART)}
    assert places == {path.relative_to(found) for layer in CLEANED for path in (found / layer).rglob(PART)}
    assert {Path("clean/transactions/day=2024-03-01/part.parquet"), Path("profile/customers/part.parquet")} <= places
    rows = {
        place: [comparable(parquet.ParquetFile(lake / place).read()) for lake in (expected, found)] for place in places
    }
    assert {str(place): why for place, pair in rows.items() if (why := difference(*pair))} == {}
