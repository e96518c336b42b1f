"""Choosing Spark: what happens without it, and what is started."""

import subprocess
import sys
from pathlib import Path

import ibis
import pytest

from crm_assets.definitions import engine_of, lake_of
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.engine import EngineError
from crm_assets.lake.spark_engine import SparkEngine
from crm_assets.settings import SettingsError, load_settings, write_settings


@pytest.fixture
def settings(tmp_path):
    return write_settings(tmp_path, engine="spark", spark_remote="local[1]", spark_conf={"spark.driver.memory": "1g"})


def test_spark_is_chosen_in_the_settings(settings, monkeypatch):
    engine = engine_of(settings)
    assert isinstance(engine, SparkEngine)
    assert (engine.remote, engine.conf) == ("local[1]", (("spark.driver.memory", "1g"),))
    monkeypatch.setenv("CRM_SPARK_REMOTE", "sc://spark.example.com")
    monkeypatch.setenv("CRM_SPARK_CONF", '{"spark.driver.memory": "2g"}')
    engine = engine_of(load_settings(settings.home))
    assert engine.remote == "sc://spark.example.com"
    assert engine.conf == (("spark.driver.memory", "2g"),)
    monkeypatch.setenv("CRM_ENGINE", "duckdb")
    assert isinstance(engine_of(load_settings(settings.home)), DuckDBEngine)


def test_an_unknown_engine_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CRM_ENGINE", "flink")
    with pytest.raises(SettingsError, match="engine"):
        load_settings(tmp_path)


def test_spark_without_pyspark_names_what_to_install(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(EngineError, match=r"pip install 'crm_assets\[spark\]'.*or set engine = \"duckdb\""):
        _ = engine_of(settings).backend


def test_exports_and_tables_in_memory_stay_in_this_process(settings, tmp_path):
    lake = lake_of(settings)
    assert isinstance(lake.local.engine, DuckDBEngine)
    in_memory = ibis.memtable({"a": [1]})
    assert lake.engine.owner(in_memory) is lake.engine.local
    lake.engine.local.write_file(in_memory, tmp_path / "a.parquet", [])
    assert lake.engine.local.owner(lake.engine.local.scan(str(tmp_path / "a.parquet"), {})) is lake.engine.local


def test_nothing_of_spark_is_imported_before_it_is_asked_for_rows(settings):
    code = (
        "import sys; from pathlib import Path; from crm_assets.definitions import build_defs; "
        "from crm_assets.settings import load_settings; build_defs(load_settings(Path(sys.argv[1]))); "
        "print('pyspark' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(settings.home)]
    package = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=package)
    assert done.stdout.strip() == "False"
