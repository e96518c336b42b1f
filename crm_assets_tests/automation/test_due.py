"""What is due is made in as few runs as pay, and every stale day is in one of them."""

import time
from datetime import date, timedelta

import ibis
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.assets.identity import IDENTITY_ASSETS, persons_made_with
from crm_assets.automation.due import JOINED_DAYS, JOINED_ROWS, due_cleaning, joined
from crm_assets.contracts.layers import DELIVERED_DAYS
from crm_assets.contracts.registry import contract_of

PERSONS = [("profile", "customers_current"), *(tuple(key) for key in IDENTITY_ASSETS if key[0] != "models")]

START, END = date(2024, 1, 1), date(2024, 6, 30)


def day(number):
    return START + timedelta(days=number)


def deliver(lake, rows, exported=END):
    """Note that a delivery touched days of tables, with a number of rows each."""
    listed = [
        {
            "table_name": table,
            "day": on,
            "rows": count,
            "late_rows": 0,
            "shared_days": [],
            "_source": "crm",
            "_export_date": exported,
        }
        for table, on, count in rows
    ]
    table = ibis.memtable(pa.Table.from_pylist(listed, DELIVERED_DAYS.schema.to_pyarrow()))
    lake.write("quality", DELIVERED_DAYS, table, [("crm", exported.isoformat())])
    time.sleep(0.01)


def make(lake, layer, name, *days):
    lake.write(layer, contract_of(layer, name), None, [(on.isoformat(),) for on in days])


def without_dimensions(settings, lake):
    for layer, name in (
        *(("clean", name) for name in ("products", "campaigns", "customers")),
        *PERSONS,
    ):
        made = contract_of(layer, name)
        lake.write(layer, made, lake.engine.empty(made.schema), [()], persons_made_with(settings))


def runs(settings, lake):
    """Days and assets of each run, as text."""
    return [
        (work.days, sorted(key.to_user_string() for key in work.assets))
        for work in due_cleaning(settings.model_copy(update={"start_date": START, "end_date": END}), lake)
    ]


def test_days_near_each_other_are_one_run_of_both_tables(workspace, lake):
    without_dimensions(workspace, lake)
    deliver(lake, [("feedback", day(0), 5), ("transactions", day(3), 5)])
    assets = ["clean/feedback", "clean/transactions", "profile/customer_days"]
    assert runs(workspace, lake) == [((day(0), day(3)), assets)]


def test_days_of_one_table_are_joined_across_a_day_of_another_that_lies_between(workspace, lake):
    without_dimensions(workspace, lake)
    few, many = JOINED_DAYS // 2, JOINED_ROWS * 2
    made = [day(number) for number in range(few) if number not in (0, few - 1)]
    deliver(lake, [("feedback", on, many) for on in made], exported=day(few))
    make(lake, "clean", "feedback", *made)
    time.sleep(0.01)
    touched = [("transactions", day(0), 5), ("feedback", day(few // 2), many), ("transactions", day(few - 1), 5)]
    deliver(lake, touched)
    assert runs(workspace, lake) == [
        ((day(0), day(few - 1)), ["clean/transactions", "profile/customer_days"]),
        ((day(few // 2), day(few // 2)), ["clean/feedback"]),
    ]


def test_a_range_that_holds_many_rows_is_not_made_again_to_save_a_run(workspace, lake):
    without_dimensions(workspace, lake)
    deliver(lake, [("transactions", day(1), JOINED_ROWS + 1)], exported=day(1))
    make(lake, "clean", "transactions", day(1))
    make(lake, "profile", "customer_days", day(1))
    time.sleep(0.01)
    deliver(lake, [("transactions", day(0), 5), ("transactions", day(2), 5)])
    assets = ["clean/transactions", "profile/customer_days"]
    assert runs(workspace, lake) == [((day(0), day(0)), assets), ((day(2), day(2)), assets)]


def test_days_far_apart_are_two_runs(workspace, lake):
    without_dimensions(workspace, lake)
    deliver(lake, [("feedback", day(0), 5), ("feedback", day(JOINED_DAYS + 5), 5)])
    assert [days for days, _ in runs(workspace, lake)] == [
        (day(0), day(0)),
        (day(JOINED_DAYS + 5), day(JOINED_DAYS + 5)),
    ]


def test_dimensions_go_with_the_first_range_or_alone(workspace, lake):
    ((days, assets),) = runs(workspace, lake)
    assert days is None
    assert {"clean/products", "clean/campaigns", "clean/customers", "profile/identity_members"} <= set(assets)
    deliver(lake, [("feedback", day(0), 5)])
    ((days, assets),) = runs(workspace, lake)
    assert days == (day(0), day(0))
    assert {"clean/feedback", "clean/products"} <= set(assets)


def test_days_outside_the_workspace_wait(workspace, lake):
    without_dimensions(workspace, lake)
    deliver(lake, [("feedback", START - timedelta(1), 5), ("feedback", END + timedelta(1), 5)])
    assert runs(workspace, lake) == []


SPANS = st.dictionaries(
    st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda it: (day(it[0]), day(it[0] + it[1]))),
    st.sets(st.sampled_from(["feedback", "transactions"]), min_size=1),
    max_size=8,
)
ROWS = st.dictionaries(st.integers(0, 340).map(day), st.integers(0, 2 * JOINED_ROWS), max_size=30)


@given(SPANS, ROWS, ROWS)
def test_joining_keeps_every_day_of_every_table_and_makes_no_more_runs(spans, feedback, transactions):
    made = joined(spans, {"feedback": feedback, "transactions": transactions})
    assert len(made) <= len(spans)
    for (first, last), tables in spans.items():
        assert any(begin <= first and last <= end and tables <= names for (begin, end), names in made)
