"""Samples of rows."""

import ibis

from crm_assets.checks.rows import sample
from crm_assets.contracts.model import Column, Table

COLUMNS = (
    Column("id", "string", "Id."),
    Column("price", "decimal(18, 4)", "Price."),
    Column("tags", "array<string>", "."),
)
TABLE = Table("things", "Things.", COLUMNS, key=("id",))


def things(engine, count):
    numbers = ibis.range(count).unnest().name("n").as_table()
    rows = numbers.mutate(id=(numbers.n // 2).cast("string"), price=ibis.literal(1.5), tags=ibis.array(["a", "b"]))
    return engine.backend.create_table(f"things_{count}", rows.select("id", "price", "tags"), temp=True, overwrite=True)


def test_a_sample_is_the_same_each_time_and_keeps_keys_together(engine):
    table = things(engine, 20_000)
    first, again = sample(table, TABLE, 1_000), sample(table, TABLE, 1_000)
    assert first.frame.equals(again.frame)
    assert 800 < len(first.frame) <= 1_000
    assert (first.frame.groupby("id").size() == 2).all()
    assert first.coverage == f"sampled {len(first.frame)} of 20000 rows"


def test_a_small_table_is_taken_whole_in_plain_types(engine):
    found = sample(things(engine, 4), TABLE, 4)
    assert found.coverage == "all 4 rows"
    assert found.frame["price"].dtype == "float64"
    assert found.frame["tags"].tolist() == ["a, b"] * 4
