"""The engine keeps nothing it was not asked to keep, and names are only names."""

import ibis
import pyarrow as pa
import pytest

from crm_assets.lake.duckdb_engine import DuckDBEngine, quote_name, quote_text
from crm_assets.lake.engine import BATCH_ROWS

ROWS = ibis.memtable({"id": [2, 1], "name": ["b", "a"]})


def held_tables(engine):
    return [name for name in engine.backend.list_tables() if "held" in name]


def test_held_rows_are_computed_once_and_dropped_after(engine):
    with engine.held(ROWS.mutate(chance=ibis.random())) as rows:
        assert rows.order_by("id").to_pyarrow() == rows.order_by("id").to_pyarrow()
        assert len(held_tables(engine)) == 1
    assert held_tables(engine) == []


def test_held_rows_are_dropped_when_what_uses_them_fails(engine):
    with pytest.raises(ZeroDivisionError), engine.held(ROWS):
        raise ZeroDivisionError
    assert held_tables(engine) == []


def test_a_query_that_cannot_be_held_leaves_nothing(engine):
    with (
        pytest.raises(Exception, match="no number"),
        engine.held(ROWS.mutate(bad=ibis.literal("no number").cast("int64"))),
    ):
        pass
    assert held_tables(engine) == []


def test_engines_with_equal_settings_share_one_connection(engine):
    assert DuckDBEngine(engine.memory_limit, engine.threads, engine.spill).backend is engine.backend


def test_times_are_utc_whatever_the_machine_says(engine):
    assert engine.backend.raw_sql("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)


def test_an_empty_table_has_its_schema(engine):
    schema = ibis.schema({"a": "decimal(18, 4)", "b": "array<string>", "c": "timestamp", "d": "date"})
    table = engine.empty(schema)
    assert table.schema() == schema
    assert table.to_pyarrow().num_rows == 0


def test_files_with_quotes_and_blanks_in_their_path_are_read(engine, tmp_path):
    path = tmp_path / "it's a file.parquet"
    engine.write_file(ROWS, path, ["id"])
    assert engine.scan(str(path), {}).to_pyarrow().to_pydict() == {"id": [1, 2], "name": ["a", "b"]}


def test_names_and_texts_are_quoted():
    assert quote_name('a "b"') == '"a ""b"""'
    assert quote_text("it's") == "'it''s'"


def test_batches_are_of_one_size_and_in_order(engine):
    numbers = engine.backend.create_table("numbers_in_batches", pa.table({"n": list(range(10_000, 0, -1))}))
    batches = list(engine.batches(numbers.order_by("n"), rows=3_000))
    assert [len(batch) for batch in batches] == [3_000, 3_000, 3_000, 1_000]
    assert pa.concat_tables(batches)["n"].to_pylist() == list(range(1, 10_001))
    assert list(engine.batches(numbers.limit(0))) == []


def test_queries_in_between_do_not_end_batches(engine):
    numbers = engine.backend.create_table("many_numbers", pa.table({"n": list(range(BATCH_ROWS * 2 + 10))}))
    seen = 0
    for batch in engine.batches(numbers.order_by("n"), rows=20_000):
        assert numbers.filter(numbers.n < 5).count().to_pyarrow().as_py() == 5
        assert batch["n"][0].as_py() == seen
        seen += len(batch)
    assert seen == BATCH_ROWS * 2 + 10
