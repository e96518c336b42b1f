"""Partitions on disk: what is written is read back, and a write is all or nothing."""

import random
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from pyarrow import parquet

from crm_assets.contracts.model import MONEY, Column, Table
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.layout import PART, Lake, LakeError

VISITS = Table(
    name="visits",
    description="Visits.",
    columns=(
        Column("visit_id", "string", "Identifier.", required=True),
        Column("amount", MONEY, "Amount."),
        Column("born", "date", "A date that is no partition."),
        Column("at", "timestamp", "When."),
        Column("tags", "array<string>", "Tags."),
        Column("score", "float64", "Score."),
        Column("count", "int64", "Count."),
        Column("ok", "boolean", "Flag."),
        Column("day", "date", "Day.", required=True),
    ),
    key=("visit_id",),
    partition_by=("day",),
)
CITIES = Table(
    name="cities",
    description="Cities.",
    columns=(Column("city", "string", "Name.", required=True), Column("people", "int64", "People.")),
    key=("city",),
)
SENT = Table(
    name="sent",
    description="Rows by delivery.",
    columns=(
        Column("row", "int64", "Row."),
        Column("_source", "string", "Source.", required=True),
        Column("_export_date", "date", "Export.", required=True),
    ),
    key=("row",),
    partition_by=("_source", "_export_date"),
)
FIRST, SECOND, THIRD = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)


def visit(name, day, amount="1.0000", **others):
    empty = {"born": None, "at": None, "tags": None, "score": None, "count": None, "ok": None}
    return {"visit_id": name, "amount": Decimal(amount), **empty, **others, "day": day}


def visits(*rows):
    return ibis.memtable(pa.Table.from_pylist(list(rows), VISITS.schema.to_pyarrow()))


def rows_of(lake, contract=VISITS):
    return lake.read("clean", contract).order_by(*contract.partition_by, *contract.key).to_pyarrow().to_pylist()


def names(lake):
    return {(row["day"], row["visit_id"]) for row in rows_of(lake)}


def deliveries_of(*sources):
    return [(f"s{source:02}", FIRST.isoformat()) for source in sources]


def keys(*days):
    return [(day.isoformat(),) for day in days]


FULL = visit(
    "a",
    FIRST,
    "-12345678901234.5678",
    born=date(1899, 12, 31),
    at=datetime(2024, 1, 1, 23, 59, 59, 123456),
    tags=["x", "y,z", ""],
    score=0.1,
    count=2**53 + 1,
    ok=False,
)


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_every_type_and_null_comes_back_as_written(lake, days):
    given = [FULL, visit("b", FIRST, tags=[]), *([visit("c", SECOND)] if SECOND in days else [])]
    lake.write("clean", VISITS, visits(*given), keys(*days))
    assert rows_of(lake) == given
    # The engine says timestamp(6) where the contract says timestamp.
    assert str(lake.read("clean", VISITS).schema()).replace("timestamp(6)", "timestamp") == str(VISITS.schema)


@pytest.mark.parametrize("contract", [CITIES, replace(CITIES, partition_by=("city",))], ids=["whole", "partitioned"])
def test_sums_of_whole_numbers_are_stored_as_whole_numbers(lake, contract):
    people = lake.engine.backend.create_table("people", ibis.memtable({"city": ["Leeds", "Leeds"], "people": [1, 2]}))
    summed = people.group_by("city").agg(people=people["people"].sum())
    written = lake.write("clean", contract, summed, [("Leeds",)] if contract.partition_by else [()])
    assert parquet.read_schema(written.files[0]).field("people").type == pa.int64()
    assert lake.read("clean", contract).to_pyarrow().to_pylist() == [{"city": "Leeds", "people": 3}]
    lake.engine.backend.drop_table("people")


def test_a_table_never_written_is_empty_and_has_the_schema_of_the_contract(lake):
    table = lake.read("clean", VISITS)
    assert table.schema() == VISITS.schema
    assert rows_of(lake) == []
    assert lake.partitions("clean", VISITS) == []


def test_written_counts_rows_files_and_bytes(lake):
    written = lake.write("clean", VISITS, visits(visit("a", FIRST), visit("b", SECOND)), keys(FIRST, SECOND))
    assert (written.rows, len(written.files)) == (2, 2)
    assert written.bytes == sum(path.stat().st_size for path in written.files)
    assert written.created
    assert not lake.write("clean", VISITS, visits(visit("a", FIRST)), keys(FIRST)).created


def test_a_partition_is_one_file_in_a_folder_named_after_its_value(lake):
    lake.write("clean", VISITS, visits(visit("a", FIRST), visit("b", SECOND)), keys(FIRST, SECOND))
    files = sorted(path.relative_to(lake.root).as_posix() for path in lake.root.rglob("*.parquet"))
    assert files == [f"clean/visits/day={day}/{PART}" for day in ("2024-01-01", "2024-01-02")]
    assert lake.partitions("clean", VISITS) == keys(FIRST, SECOND)


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_rewriting_replaces_the_partitions_asked_for_and_no_other(lake, days):
    lake.write(
        "clean", VISITS, visits(*[visit("old", day) for day in (FIRST, SECOND, THIRD)]), keys(FIRST, SECOND, THIRD)
    )
    lake.write("clean", VISITS, visits(*[visit("new", day) for day in days]), keys(*days))
    kept = {(day, "old") for day in (FIRST, SECOND, THIRD) if day not in days}
    assert names(lake) == kept | {(day, "new") for day in days}


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_a_partition_without_rows_becomes_empty_and_counts_as_written(lake, days):
    lake.write("clean", VISITS, visits(visit("old", FIRST)), keys(FIRST))
    written = lake.write("clean", VISITS, visits(*[visit("new", day) for day in days[1:]]), keys(*days))
    assert names(lake) == {(day, "new") for day in days[1:]}
    assert written.rows == len(days) - 1
    assert lake.partitions("clean", VISITS) == keys(*days)


def test_no_table_at_all_empties_the_partitions(lake):
    lake.write("clean", VISITS, visits(visit("a", FIRST), visit("b", SECOND)), keys(FIRST, SECOND))
    lake.write("clean", VISITS, None, keys(FIRST))
    assert names(lake) == {(SECOND, "b")}


def test_a_partition_that_never_had_rows_is_still_known_as_written(lake):
    written = lake.write("clean", VISITS, visits(), keys(FIRST))
    assert (written.rows, written.files, written.created) == (0, (), False)
    assert set(lake.written_ns("clean", VISITS)) == {("2024-01-01",)}


def test_writing_an_empty_partition_again_counts_as_written_again(lake):
    lake.write("clean", VISITS, visits(), keys(FIRST))
    before = lake.written_ns("clean", VISITS)
    time.sleep(0.01)
    lake.write("clean", VISITS, visits(), keys(FIRST))
    assert lake.written_ns("clean", VISITS)["2024-01-01",] > before["2024-01-01",]


def test_written_ns_grows_with_each_write(lake):
    lake.write("clean", VISITS, visits(visit("a", FIRST), visit("b", SECOND)), keys(FIRST, SECOND))
    before = lake.written_ns("clean", VISITS)
    time.sleep(0.01)
    lake.write("clean", VISITS, visits(visit("a", FIRST)), keys(FIRST))
    after = lake.written_ns("clean", VISITS)
    assert after["2024-01-01",] > before["2024-01-01",]
    assert after["2024-01-02",] == before["2024-01-02",]


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_rows_outside_the_partitions_are_refused_and_nothing_changes(lake, days):
    lake.write("clean", VISITS, visits(*[visit("old", day) for day in days]), keys(*days))
    before = names(lake)
    strays = [visit("stray", THIRD), *[visit("new", day) for day in days]]
    with pytest.raises(LakeError, match=r"clean\.visits: rows outside the partitions asked for: .*2024-01-03"):
        lake.write("clean", VISITS, visits(*strays), keys(*days))
    assert names(lake) == before
    assert lake.partitions("clean", VISITS) == keys(*days)


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_rows_without_a_partition_value_are_refused(lake, days):
    with pytest.raises(LakeError, match="rows outside the partitions"):
        lake.write("clean", VISITS, visits(visit("lost", None), visit("a", FIRST)), keys(*days))
    assert names(lake) == set()


def test_missing_and_unknown_columns_are_refused_by_name(lake):
    table = visits(visit("a", FIRST)).drop("amount", "ok").mutate(colour=ibis.literal("red"))
    with pytest.raises(
        LakeError, match=r"visits: the rows lack columns \['amount', 'ok'\].*unknown columns \['colour'\]"
    ):
        lake.write("clean", VISITS, table, keys(FIRST))
    assert not lake.folder("clean", "visits").exists()


def test_values_that_are_not_of_the_contract_s_type_are_refused_and_the_old_rows_stay(lake):
    lake.write("clean", VISITS, visits(visit("old", FIRST)), keys(FIRST))
    table = visits(visit("new", FIRST)).mutate(amount=ibis.literal("ten"))
    with pytest.raises(Exception, match="ten"):
        lake.write("clean", VISITS, table, keys(FIRST))
    assert names(lake) == {(FIRST, "old")}


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_a_scan_made_before_a_replacement_reads_whole_partitions_old_or_new(lake, days):
    lake.write("clean", VISITS, visits(*[visit(f"old{n}", day) for day in days for n in range(3)]), keys(*days))
    table = lake.read("clean", VISITS)
    for round_ in ("new", "newer"):
        rows = [visit(f"{round_}{n}", day) for day in days for n in range(2)]
        lake.write("clean", VISITS, visits(*rows), keys(*days))
        assert set(table.visit_id.to_pyarrow().to_pylist()) == {f"{round_}{n}" for n in range(2)}
    lake.write("clean", VISITS, None, keys(*days))
    assert table.count().execute() == 0


def test_a_partition_may_be_replaced_by_a_query_on_itself(lake):
    lake.write("clean", VISITS, visits(visit("a", FIRST, "1"), visit("b", FIRST, "2")), keys(FIRST))
    table = lake.read("clean", VISITS)
    lake.write("clean", VISITS, table.mutate(amount=table.amount * 2), keys(FIRST))
    assert [row["amount"] for row in rows_of(lake)] == [2, 4]


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_a_write_that_fails_in_the_engine_leaves_the_old_rows_and_no_staging(lake, days, monkeypatch):
    lake.write("clean", VISITS, visits(*[visit("old", day) for day in days]), keys(*days))

    def killed(self, *args):
        path = args[1]
        (path if path.is_dir() else path.parent).joinpath("half.parquet").write_bytes(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(DuckDBEngine, "write_file", killed)
    monkeypatch.setattr(DuckDBEngine, "write_partitions", killed)
    with pytest.raises(KeyboardInterrupt):
        lake.write("clean", VISITS, visits(*[visit("new", day) for day in days]), keys(*days))
    assert names(lake) == {(day, "old") for day in days}
    assert list((lake.root / ".staging").glob("*/*")) == []


@pytest.mark.parametrize("shuffled", [False, True], ids=["as they come", "out of order"])
@pytest.mark.parametrize("sources", [1, 3, 12], ids=["one delivery", "few deliveries", "many deliveries"])
def test_rows_of_deliveries_are_kept_in_order_however_they_come(lake, engine, sources, shuffled):
    sent = [{"row": n, "_source": f"s{n % sources:02}", "_export_date": FIRST} for n in range(40_000)]
    sent = random.Random(1).sample(sent, len(sent)) if shuffled else sent
    rows = pa.Table.from_pylist(sent, SENT.schema.to_pyarrow())
    table = engine.backend.create_table("sent_rows", rows, temp=True, overwrite=True)
    lake.write("raw", SENT, table, deliveries_of(*range(sources)))
    for source in range(sources):
        (path,) = lake.folder("raw", "sent").glob(f"_source=s{source:02}/*/{PART}")
        found = parquet.ParquetFile(path).read(columns=["row"])["row"].to_pylist()
        assert found == list(range(source, 40_000, sources))


def test_rows_of_other_deliveries_are_refused_and_those_without_rows_become_empty(lake):
    rows = [{"row": n, "_source": f"s{n:02}", "_export_date": FIRST} for n in range(3)]
    table = ibis.memtable(pa.Table.from_pylist(rows, SENT.schema.to_pyarrow()))
    with pytest.raises(LakeError, match=r"raw\.sent: rows outside the partitions asked for: .*s02"):
        lake.write("raw", SENT, table, deliveries_of(0, 1))
    assert not lake.has_rows("raw", "sent")
    lake.write("raw", SENT, table, deliveries_of(0, 1, 2, 3))
    assert lake.partitions("raw", SENT) == deliveries_of(0, 1, 2, 3)
    assert lake.read("raw", SENT).count().execute() == 3


def test_what_a_killed_process_left_in_staging_is_never_read(lake):
    lake.write("clean", VISITS, visits(visit("old", FIRST)), keys(FIRST))
    leftover = lake.root / ".staging" / "dead" / "day=2024-01-02"
    leftover.mkdir(parents=True)
    (leftover / "data_0.parquet").write_bytes(b"PAR1half")
    assert names(lake) == {(FIRST, "old")}
    lake.write("clean", VISITS, visits(visit("new", SECOND)), keys(SECOND))
    assert names(lake) == {(FIRST, "old"), (SECOND, "new")}


@pytest.mark.parametrize("days", [(FIRST,), (FIRST, SECOND)], ids=["one partition", "a range"])
def test_the_same_rows_give_equal_bytes_whatever_their_order_and_the_threads(tmp_path, days):
    rows = [visit(f"v{n:06}", day, f"{n}.5", score=n / 7, tags=[str(n)]) for day in days for n in range(40_000)]
    found = []
    for threads, seed in ((1, 1), (2, 2), (2, 3)):
        random.Random(seed).shuffle(rows)
        lake = Lake(tmp_path / f"{threads}-{seed}", DuckDBEngine("500MB", threads, str(tmp_path / "spill")))
        table = lake.engine.backend.create_table(
            f"shuffled{seed}", visits(*rows).to_pyarrow(), temp=True, overwrite=True
        )
        lake.write("clean", VISITS, table, keys(*days))
        found.append([path.read_bytes() for path in sorted(lake.root.rglob(PART))])
    assert len(found[0]) == len(days)
    assert found[0] == found[1] == found[2]


def test_many_days_of_odd_sizes_are_written_in_order_as_each_is_alone(tmp_path, engine):
    """The engine takes rows in pieces of 2,048, which end amid days, and sets small parts of them aside."""
    days = [FIRST + timedelta(days=n) for n in range(6)]
    rows = [visit(f"v{n:05}", day) for day in days for n in range(2 * 2_048 - 10)]
    random.Random(1).shuffle(rows)
    table = engine.backend.create_table("odd_days", visits(*rows).to_pyarrow(), temp=True)
    lake, alone = Lake(tmp_path / "range", engine), Lake(tmp_path / "alone", engine)
    lake.write("clean", VISITS, table, keys(*days))
    for day in days:
        path = f"clean/visits/day={day}/{PART}"
        found = parquet.ParquetFile(lake.root / path).read(columns=["visit_id"])["visit_id"].to_pylist()
        assert found == sorted(found)
        alone.write("clean", VISITS, table.filter(table.day == day), keys(day))
        assert (lake.root / path).read_bytes() == (alone.root / path).read_bytes()


@pytest.mark.parametrize("given", [[FIRST], [FIRST, SECOND]], ids=["one partition", "a range"])
def test_one_day_written_alone_or_in_a_range_gives_equal_bytes(tmp_path, engine, given):
    alone, ranged = Lake(tmp_path / "alone", engine), Lake(tmp_path / "range", engine)
    rows = {day: [visit(f"{day}{n}", day, score=n / 3) for n in range(50)] for day in (FIRST, SECOND)}
    for day in given:
        alone.write("clean", VISITS, visits(*rows[day]), keys(day))
    ranged.write("clean", VISITS, visits(*rows[FIRST], *rows[SECOND]), keys(FIRST, SECOND))
    for day in given:
        path = f"clean/visits/day={day}/{PART}"
        assert (alone.root / path).read_bytes() == (ranged.root / path).read_bytes()


def test_a_table_without_partitions_is_replaced_whole(lake):
    for people in (1, 2):
        rows = [{"city": "York", "people": people}, {"city": "Leeds", "people": None}]
        lake.write("profile", CITIES, ibis.memtable(rows, schema=CITIES.schema), [()])
    table = lake.read("profile", CITIES)
    assert table.to_pyarrow().to_pylist() == [{"city": "Leeds", "people": None}, {"city": "York", "people": 2}]
    assert set(lake.written_ns("profile", CITIES)) == {()}


def test_a_note_is_kept_with_the_rows_until_the_table_is_written_again(lake):
    table = Table("plain", "x", (Column("a", "int64", "x"),), key=("a",))
    rows, text = ibis.memtable({"a": [1]}), '{"a": "it\'s ü"}'
    assert lake.note("profile", table) is None
    lake.write("profile", table, rows, [()], text)
    assert lake.note("profile", table) == text
    assert lake.read("profile", table).to_pyarrow()["a"].to_pylist() == [1]
    lake.write("profile", table, rows, [()])
    assert lake.note("profile", table) is None


def test_a_table_without_partitions_may_be_empty(lake):
    written = lake.write("profile", CITIES, ibis.memtable([], schema=CITIES.schema), [()])
    assert written.rows == 0
    assert lake.read("profile", CITIES).count().execute() == 0
    assert set(lake.written_ns("profile", CITIES)) == {()}


def test_two_partition_columns_make_nested_folders(lake):
    rows = [
        {"row": 1, "_source": "crm", "_export_date": FIRST},
        {"row": 2, "_source": "crm", "_export_date": SECOND},
        {"row": 3, "_source": "web-shop", "_export_date": FIRST},
    ]
    parts = [("crm", "2024-01-01"), ("crm", "2024-01-02"), ("web-shop", "2024-01-01")]
    lake.write("raw", SENT, ibis.memtable(rows, schema=SENT.schema), parts)
    assert lake.partitions("raw", SENT) == parts
    assert lake.read("raw", SENT).order_by("row").to_pyarrow().to_pylist() == rows
    lake.write("raw", SENT, None, [("crm", "2024-01-02")])
    assert lake.read("raw", SENT).order_by("row").row.to_pyarrow().to_pylist() == [1, 3]


def test_a_source_named_like_a_number_stays_text(lake):
    rows = [{"row": 1, "_source": "007", "_export_date": FIRST}]
    lake.write("raw", SENT, ibis.memtable(rows, schema=SENT.schema), [("007", "2024-01-01")])
    assert lake.read("raw", SENT).to_pyarrow().to_pylist() == rows


def test_files_of_another_contract_are_refused_with_what_to_do(lake):
    lake.write("clean", VISITS, visits(visit("a", FIRST)), keys(FIRST))
    newer = VISITS.with_columns(Column("colour", "string", "Colour."))
    with pytest.raises(LakeError, match=r"clean\.visits in the lake cannot be read .* materialise it again"):
        lake.read("clean", newer)


def test_a_day_written_by_another_version_can_be_read_where_only_types_differ(lake):
    lake.write("clean", VISITS, visits(visit("a", FIRST, count=3)), keys(FIRST))
    columns = tuple(replace(column, dtype="float64") if column.name == "count" else column for column in VISITS.columns)
    assert rows_of(lake, replace(VISITS, columns=columns))[0]["count"] == 3


COUNTED = Table("counted", "Counts.", (Column("id", "string", "Key."), Column("rows", "int64", "Count.")), key=("id",))


def test_files_have_the_types_of_the_contract_whatever_the_engine_sums_to(lake):
    rows = lake.engine.backend.create_table(ibis.util.gen_name("t"), pa.table({"id": ["a", "a"], "rows": [1, 2]}))
    lake.write("clean", COUNTED, rows.group_by("id").agg(rows=rows["rows"].sum()), [()])
    assert str(parquet.read_schema(lake.file_of("clean", COUNTED, ())).field("rows").type) == "int64"


def test_whole_numbers_that_an_earlier_version_wrote_as_floats_are_read_as_whole_numbers(lake):
    path = lake.file_of("clean", COUNTED, ())
    path.parent.mkdir(parents=True)
    parquet.write_table(pa.table({"id": ["a"], "rows": [3.0]}), path)
    assert lake.read("clean", COUNTED).to_pyarrow().to_pylist() == [{"id": "a", "rows": 3}]
    assert lake.read("clean", COUNTED).schema() == COUNTED.schema


def test_rows_made_part_by_part_are_one_table(lake):
    parts = (pa.table({"rows": [number], "id": [f"k{number}"]}) for number in range(3))
    with lake.collected(COUNTED.schema, parts) as rows:
        assert rows.order_by("id").to_pyarrow().to_pylist() == [{"id": f"k{n}", "rows": n} for n in range(3)]
        lake.write("clean", COUNTED, rows, [()])
    assert list((lake.root / ".staging").glob("*/*")) == []
    with lake.collected(COUNTED.schema, iter(())) as rows:
        assert rows.count().to_pyarrow().as_py() == 0
