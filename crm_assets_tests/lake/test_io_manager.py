"""Assets through Dagster: what they get of the lake, what they leave in it, and what the UI shows."""

from datetime import date, datetime
from decimal import Decimal

import dagster as dg
import duckdb
import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
import pytest

from crm_assets.assets.clean import every_delivery
from crm_assets.contracts.canonical import TRANSACTIONS
from crm_assets.contracts.registry import contract_of
from crm_assets.lake.io_manager import LakeIOManager, read_partitions, table_schema
from crm_assets.lake.layout import LakeError

CURRENT = contract_of("profile", "customers_current")
SALES = contract_of("clean", "transactions")
REJECTED = contract_of("quality", "quarantine_transactions")
DAYS = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-04-01")
UP_TO_THE_DAY = dg.TimeWindowPartitionMapping(start_offset=-500, allow_nonexistent_upstream_partitions=True)
DELIVERIES = dg.StaticPartitionsDefinition(["crm--2024-01-01", "crm--2024-01-02", "web-shop--2024-01-01"])
SINGLE_RUN = dg.BackfillPolicy.single_run()


def sale(order, day, amount="1"):
    given = {
        "order_id": order,
        "line_id": "1",
        "product_id": "p",
        "ordered_at": datetime.combine(day, datetime.min.time()),
        "quantity": Decimal(1),
        "amount": Decimal(amount),
        "is_outlier": False,
        "day": day,
    }
    return {name: given.get(name) for name in SALES.by_name}


def sales_of(keys):
    rows = [sale(f"o{key}", date.fromisoformat(key), "1.5") for key in keys]
    return ibis.memtable(pa.Table.from_pylist(rows, SALES.schema.to_pyarrow()))


def customers(*names):
    return pa.Table.from_pylist(
        [{"customer_id": name, "full_name": name.upper()} for name in names], CURRENT.schema.to_pyarrow()
    )


@dg.asset(key=["clean", "transactions"], partitions_def=DAYS, backfill_policy=SINGLE_RUN)
def transactions(context: dg.AssetExecutionContext) -> ir.Table:
    return sales_of(context.partition_keys)


def asset_that_gives(rows, annotation=pa.Table):
    def give():
        return rows

    give.__annotations__ = {"return": annotation}
    return dg.asset(key=["profile", "customers_current"])(give)


@pytest.fixture
def run(lake, warehouse):
    """Run assets, for one partition or a range; `note` is an IO manager that keeps what it is given."""

    def materialise(*assets, first=None, last=None, selection=None):
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        return dg.materialize(
            list(assets),
            selection=selection,
            tags=tags if first else {},
            resources={"io_manager": LakeIOManager(lake, warehouse), "note": dg.InMemoryIOManager()},
            instance=dg.DagsterInstance.ephemeral(),
        )

    return materialise


def metadata_of(result, node):
    return result.asset_materializations_for_node(node)[0].metadata


@pytest.mark.parametrize(
    ("rows", "annotation"),
    [
        (ibis.memtable(customers("b", "a")), ir.Table),
        (customers("b", "a").to_pandas(), pd.DataFrame),
        (customers("b", "a"), pa.Table),
    ],
    ids=["lazy", "pandas", "arrow"],
)
def test_an_asset_may_give_any_kind_of_table(run, lake, rows, annotation):
    result = run(asset_that_gives(rows, annotation))
    stored = lake.read("profile", CURRENT).to_pyarrow()
    assert stored["customer_id"].to_pylist() == ["a", "b"]
    assert stored["email"].to_pylist() == [None, None]
    metadata = metadata_of(result, "profile__customers_current")
    assert metadata["dagster/row_count"].value == 2
    assert metadata["bytes"].value == sum(path.stat().st_size for path in lake.root.rglob("*.parquet"))
    assert "| a " in metadata["preview"].value


def test_an_empty_pandas_frame_empties_the_table(run, lake):
    run(asset_that_gives(customers("a")))
    run(asset_that_gives(pd.DataFrame(columns=list(CURRENT.by_name)), pd.DataFrame))
    assert lake.read("profile", CURRENT).count().execute() == 0


def test_an_asset_that_gives_other_columns_fails_with_their_names(run, lake):
    with pytest.raises(LakeError, match=r"customers_current: the rows lack columns \['full_name'\]"):
        run(asset_that_gives(customers("a").drop_columns(["full_name"])))
    assert not lake.has_rows("profile", "customers_current")


@pytest.mark.parametrize(
    ("annotation", "kind"), [(ir.Table, ir.Table), (pd.DataFrame, pd.DataFrame), (pa.Table, pa.Table)]
)
def test_an_asset_gets_the_kind_of_table_it_asks_for(run, annotation, kind):
    got = []

    def look(customers):
        got.append(customers)

    look.__annotations__ = {"customers": annotation, "return": None}
    reader = dg.asset(ins={"customers": dg.AssetIn(["profile", "customers_current"])}, io_manager_key="note")(look)
    run(asset_that_gives(customers("a")), reader)
    assert isinstance(got[0], kind)
    assert list(
        got[0].schema()
        if annotation is ir.Table
        else got[0].to_dict("list")
        if kind is pd.DataFrame
        else got[0].to_pydict()
    ) == list(CURRENT.by_name)


def reading_asset(seen, mapping=None, annotation=ir.Table):
    def look(sales):
        seen.append(sorted(str(day) for day in sales.day.to_pyarrow().to_pylist()))

    look.__annotations__ = {"sales": annotation, "return": None}
    ins = {"sales": dg.AssetIn(["clean", "transactions"], partition_mapping=mapping)}
    return dg.asset(ins=ins, partitions_def=DAYS, backfill_policy=SINGLE_RUN, io_manager_key="note")(look)


def test_a_range_of_days_is_written_in_one_run_and_read_as_the_same_range(run, lake):
    seen = []
    result = run(transactions, reading_asset(seen), first="2024-01-30", last="2024-02-02")
    days = ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02"]
    assert lake.partitions("clean", SALES) == [(day,) for day in days]
    assert seen == [days]
    assert len(result.asset_materializations_for_node("clean__transactions")) == 4
    assert metadata_of(result, "clean__transactions")["partitions written"].value == 4


def test_one_day_is_read_alone_or_with_all_days_before_it(run):
    run(transactions, first="2024-01-01", last="2024-01-04")
    same, history = [], []
    run(transactions, reading_asset(same), first="2024-01-03", selection=["look"])
    run(transactions, reading_asset(history, UP_TO_THE_DAY), first="2024-01-03", selection=["look"])
    assert same == [["2024-01-03"]]
    assert history == [["2024-01-01", "2024-01-02", "2024-01-03"]]


def test_an_asset_without_partitions_reads_every_partition(run):
    run(transactions, first="2024-01-01", last="2024-01-02")
    seen = []

    @dg.asset(ins={"sales": dg.AssetIn(["clean", "transactions"])}, io_manager_key="note")
    def look(sales: ir.Table) -> None:
        seen.append(sales.count().execute())

    run(transactions, look, selection=["look"])
    assert seen == [2]


def test_the_order_of_deliveries_in_a_key_list_does_not_matter(lake):
    contract = contract_of("validated", "customers")
    rows = [
        {
            **dict.fromkeys(contract.by_name),
            "customer_id": str(n),
            "_file": "f",
            "_line": n,
            "_source": source,
            "_export_date": day,
        }
        for n, (source, day) in enumerate(
            [("crm", date(2024, 1, 1)), ("crm", date(2024, 1, 2)), ("web-shop", date(2024, 1, 1))], 1
        )
    ]
    parts = [(row["_source"], row["_export_date"].isoformat()) for row in rows]
    lake.write("validated", contract, ibis.memtable(pa.Table.from_pylist(rows, contract.schema.to_pyarrow())), parts)

    def found(keys):
        return sorted(read_partitions(lake, "validated", contract, keys).customer_id.to_pyarrow().to_pylist())

    assert found(["crm--2024-01-02"]) == ["2"]
    assert found(["web-shop--2024-01-01", "crm--2024-01-01"]) == ["1", "3"]
    assert found(None) == ["1", "2", "3"]
    assert found([]) == []


def test_lineage_of_columns_names_the_asset_and_column_they_come_from(run):
    run(asset_that_gives(customers("a")))

    @dg.asset(key=["clean", "customers"], ins={"now": dg.AssetIn(["profile", "customers_current"])})
    def derived(now: ir.Table) -> ir.Table:
        return now.mutate(
            full_name=now.full_name + now.customer_id,
            valid_from=ibis.date(2024, 1, 1),
            valid_to=ibis.null("date"),
        )

    result = run(asset_that_gives(customers("a")), derived)
    lineage = metadata_of(result, "clean__customers")["dagster/column_lineage"].value.deps_by_column
    origins = {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage["full_name"]}
    assert origins == {("profile/customers_current", "full_name"), ("profile/customers_current", "customer_id")}
    assert "valid_from" not in lineage


def test_a_wide_range_of_partitions_goes_without_preview_and_lineage(run):
    result = run(transactions, first="2024-01-01", last="2024-02-15")
    metadata = metadata_of(result, "clean__transactions")
    assert metadata["partitions written"].value == 46
    assert "preview" not in metadata


def test_what_was_written_can_be_queried_in_the_warehouse(run, warehouse):
    run(transactions, first="2024-01-01")
    run(transactions, first="2024-01-02")
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        rows = connection.execute("SELECT order_id, amount FROM clean.transactions ORDER BY 1").fetchall()
    assert rows == [("o2024-01-01", Decimal("1.5")), ("o2024-01-02", Decimal("1.5"))]


def raw_asset(tables):
    @dg.asset(key=["raw", "transactions"], partitions_def=DELIVERIES, backfill_policy=SINGLE_RUN)
    def raw(context: dg.AssetExecutionContext) -> dict[str, ir.Table]:
        return {key: tables[key] for key in context.partition_keys if key in tables}

    return raw


def raw_rows(**columns):
    count = len(next(iter(columns.values())))
    lines = {"_file": ["f.csv"] * count, "_file_sha256": ["00"] * count, "_line": list(range(1, count + 1))}
    return ibis.memtable({**columns, **lines})


def raw_reader(seen):
    @dg.asset(
        ins={"raw": dg.AssetIn(["raw", "transactions"])},
        partitions_def=DELIVERIES,
        backfill_policy=SINGLE_RUN,
        io_manager_key="note",
    )
    def look(raw: dict[str, list[ir.Table]]) -> None:
        for source, tables in raw.items():
            seen[source] = [
                row for table in tables for row in table.order_by("_export_date", "_line").to_pyarrow().to_pylist()
            ]

    return look


def test_raw_rows_are_given_by_delivery_and_got_by_source_each_with_its_own_columns(run):
    tables = {
        "crm--2024-01-01": raw_rows(order=["1", "2"], old=["x", "y"]),
        "crm--2024-01-02": raw_rows(order=["3"], new=["z"]),
        "web-shop--2024-01-01": raw_rows(bestellung=["4"]),
    }
    seen = {}
    run(raw_asset(tables), raw_reader(seen), first="crm--2024-01-01", last="web-shop--2024-01-01")
    assert [(row["order"], row.get("old"), row.get("new")) for row in seen["crm"]] == [
        ("1", "x", None),
        ("2", "y", None),
        ("3", None, "z"),
    ]
    assert "new" not in seen["crm"][0]
    assert [(row["_source"], row["_export_date"]) for row in seen["crm"]] == [
        ("crm", date(2024, 1, 1)),
        ("crm", date(2024, 1, 1)),
        ("crm", date(2024, 1, 2)),
    ]
    assert [row["bestellung"] for row in seen["web-shop"]] == ["4"]


def test_a_delivery_without_a_file_for_the_table_leaves_no_raw_rows(run, lake):
    seen = {}
    result = run(raw_asset({}), raw_reader(seen), first="crm--2024-01-01")
    assert seen == {}
    assert metadata_of(result, "raw__transactions")["dagster/row_count"].value == 0
    assert not lake.has_rows("raw", "transactions")


def test_a_delivery_whose_file_was_taken_away_loses_its_raw_rows(run):
    seen = {}
    run(raw_asset({"crm--2024-01-01": raw_rows(order=["1"])}), first="crm--2024-01-01")
    run(raw_asset({}), raw_reader(seen), first="crm--2024-01-01")
    assert seen.get("crm", []) == []


def test_the_schema_shown_in_the_ui_is_the_contract_s():
    columns = {column.name: column for column in table_schema(CURRENT).columns}
    assert columns["customer_id"].constraints.unique
    assert not columns["customer_id"].constraints.nullable
    assert columns["email"].constraints.nullable
    assert columns["email"].tags == {"personal": ""}
    assert [column.name for column in table_schema(REJECTED).columns] == list(REJECTED.by_name)


@pytest.mark.parametrize("orders", [["o1"], []], ids=["rows", "no rows"])
def test_what_is_delivered_while_days_are_cleaned_finds_them_older(run, lake, orders):
    validated = contract_of("validated", "transactions")
    day = "2024-01-02"

    def deliver(name):
        rows = ibis.memtable(pa.Table.from_pylist([], schema=validated.schema.to_pyarrow()))
        lake.write("validated", validated, rows, [("crm", name)])
        return lake.written_ns("validated", validated)["crm", name]

    before = deliver("2024-01-01")

    @dg.asset(key=["clean", "transactions"], ins={"rows": every_delivery(TRANSACTIONS)}, partitions_def=DAYS)
    def cleaned(rows: ir.Table) -> ir.Table:
        deliver("2024-01-02")
        return ibis.memtable(
            pa.Table.from_pylist([sale(name, date(2024, 1, 2)) for name in orders], SALES.schema.to_pyarrow())
        )

    delivered = dg.AssetSpec(["validated", "transactions"], partitions_def=DELIVERIES)
    run(cleaned, delivered, first=day, selection=[cleaned])
    made = lake.written_ns("clean", SALES)[day,]
    assert before < made < lake.written_ns("validated", validated)["crm", "2024-01-02"]
