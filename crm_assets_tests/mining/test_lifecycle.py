"""Lifecycle stages: the rules, a few customers a person can follow, and what holds for any history."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from itertools import pairwise

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.lifecycle import LIFECYCLE, LIFECYCLE_TRANSITIONS, STAGES
from crm_assets.mining.lifecycle import (
    MINIMUM_GAPS,
    LifecycleRules,
    fit_lifecycle_rules,
    gap_quantile,
    known_spans,
    lifecycle,
    transitions,
)
from crm_assets_tests.mining.feature_tables import contacts_table, customers_table

FIRST = date(2024, 1, 1)
RULES = LifecycleRules(at_risk_after=3, lapsed_after=6)
CONNECTION = ibis.duckdb.connect()


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def orders_table(rows: Iterable[tuple[str, int, int]]) -> ir.Table:
    """Customer, day by its number, orders."""
    schema = pa.schema({"customer_id": pa.string(), "day": pa.date32(), "orders": pa.int64()})
    values = [{"customer_id": who, "day": day(number), "orders": orders} for who, number, orders in rows]
    return ibis.memtable(pa.Table.from_pylist(values, schema=schema))


def spans_table(rows: Iterable[tuple[str, int, int | None]]) -> ir.Table:
    """Customer, first day known and first day no longer, by their numbers."""
    schema = pa.schema({"customer_id": pa.string(), "since": pa.date32(), "until": pa.date32()})
    values = [
        {"customer_id": who, "since": day(since), "until": None if until is None else day(until)}
        for who, since, until in rows
    ]
    return ibis.memtable(pa.Table.from_pylist(values, schema=schema))


def stages(orders, known, numbers, rules=RULES):
    """Rows of the mart as tuples: day number, customer, stage, previous stage, recency, limit."""
    table = lifecycle(orders_table(orders), spans_table(known), [day(number) for number in numbers], rules)
    assert table.schema() == LIFECYCLE.schema
    return [
        ((row["as_of"] - FIRST).days, *list(row.values())[1:])
        for row in CONNECTION.to_pyarrow(table).to_pylist()
    ]  # fmt: skip


def history(orders, known, numbers, rules=RULES):
    """Stage of each day of one customer."""
    return [row[2] for row in stages(orders, known, numbers, rules)]


def test_a_customer_goes_through_every_stage():
    orders = [("ann", number, 1) for number in (2, 4, 6, 14, 16, 18)]
    assert history(orders, [("ann", 0, None)], range(22)) == [
        "prospect", "prospect", "new", "new", "new", "new", "active", "active", "active", "active",
        "at_risk", "at_risk", "at_risk", "lapsed", "won_back", "won_back", "won_back", "won_back", "active", "active",
        "active", "active",
    ]  # fmt: skip


def test_a_row_says_where_the_customer_came_from_and_what_is_due():
    orders = [("ann", 2, 1), ("bob", 1, 1), ("cid", 1, 1), ("cid", 8, 1), ("dan", 8, 1)]
    known = [("ann", 0, None), ("eve", 0, None), ("fay", 8, None)]
    assert stages(orders, known, [8]) == [
        (8, "ann", "at_risk", "at_risk", 6, 6),
        (8, "bob", "lapsed", "at_risk", 7, None),
        (8, "cid", "won_back", "at_risk", 0, 3),
        (8, "dan", "new", None, 0, 3),
        (8, "eve", "prospect", "prospect", None, None),
        (8, "fay", "prospect", None, None, None),
    ]


def test_a_gap_of_exactly_the_limit_is_no_lapse():
    orders = [("on time", 0, 1), ("on time", 6, 1), ("late", 0, 1), ("late", 7, 1)]
    assert [row[1:4] for row in stages(orders, [], [7])] == [
        ("late", "won_back", "at_risk"),
        ("on time", "active", "active"),
    ]


def test_who_lapsed_and_came_back_long_ago_is_active_however_old_days_are_kept():
    orders = [("ann", 0, 1), ("ann", 20, 1), *(("ann", number, 1) for number in range(22, 60, 2))]
    assert history(orders, [], [21, 23, 24, 58]) == ["won_back", "won_back", "active", "active"]


def test_the_first_order_of_a_known_contact_comes_from_prospect():
    assert stages([("ann", 5, 1)], [("ann", 0, None)], [5]) == [(5, "ann", "new", "prospect", 0, 3)]


def test_a_return_without_an_order_is_a_contact_and_no_order():
    customers = customers_table(CONNECTION, [])
    contacts = contacts_table(CONNECTION, [])
    orders = orders_table([("ann", 2, 0)])
    known = known_spans(customers, contacts, orders)
    rows = CONNECTION.to_pyarrow(lifecycle(orders, known, [day(1), day(2), day(3)], RULES)).to_pylist()
    assert [(row["as_of"], row["stage"], row["previous_stage"]) for row in rows] == [
        (day(2), "prospect", None),
        (day(3), "prospect", "prospect"),
    ]


def test_contacts_are_known_from_their_first_sign_until_they_are_deleted():
    customers = customers_table(
        CONNECTION,
        [
            {"customer_id": "filed", "valid_from": FIRST},
            {"customer_id": "signed up later", "valid_from": FIRST, "signup_at": datetime.combine(day(3), time(9))},
            {"customer_id": "deleted", "valid_from": FIRST, "valid_to": day(3)},
        ],
    )
    contacts = contacts_table(CONNECTION, [{"campaign_id": "a", "customer_id": "contacted", "day": day(2)}])
    orders = orders_table([])
    known = known_spans(customers, contacts, orders)
    found = {}
    for row in CONNECTION.to_pyarrow(lifecycle(orders, known, [day(n) for n in range(5)], RULES)).to_pylist():
        assert row["stage"] == "prospect"
        found.setdefault(row["customer_id"], []).append((row["as_of"] - FIRST).days)
    assert found == {
        "filed": [0, 1, 2, 3, 4], "signed up later": [3, 4], "deleted": [0, 1, 2], "contacted": [2, 3, 4]
    }  # fmt: skip


def test_nobody_known_gives_no_rows():
    assert stages([], [], [3]) == []


def test_transitions_count_moves_and_stays():
    orders = [("ann", 2, 1), ("bob", 1, 1), ("cid", 1, 1), ("dan", 8, 1)]
    table = lifecycle(orders_table(orders), spans_table([("eve", 0, None)]), [day(8)], RULES)
    found = transitions(table)
    assert found.schema() == LIFECYCLE_TRANSITIONS.schema
    assert [list(row.values())[1:] for row in CONNECTION.to_pyarrow(found).to_pylist()] == [
        ["at_risk", "at_risk", 1],
        ["at_risk", "lapsed", 2],
        ["prospect", "prospect", 1],
        ["unknown", "new", 1],
    ]


def test_rules_are_quantiles_of_the_gaps_that_had_ended():
    """One customer orders daily 95 times, four leave ten days between, one twenty; the open absence is no gap."""
    rows = [("daily", number, 1) for number in range(96)]
    rows += [(f"tens {n}", number, 1) for n in range(4) for number in (0, 10)]
    rows += [("twenty", 0, 1), ("twenty", 20, 1), ("once", 0, 1), ("twenty", 120, 1), ("daily", 110, 0)]
    fitted = fit_lifecycle_rules(bound(orders_table(rows)), day(100))
    assert fitted.rules == LifecycleRules(at_risk_after=1, lapsed_after=10)
    assert fitted.card["gaps"] == 100
    assert fitted.card["customers"] == 7
    assert fitted.card["customers_with_a_gap"] == 6
    assert (fitted.card["first_day"], fitted.card["last_day"]) == ("2024-01-01", "2024-04-10")
    assert fitted.card["gap_days_by_percent"] == {
        "10": 1, "25": 1, "50": 1, "75": 1, "90": 1, "95": 1, "99": 10
    }  # fmt: skip
    assert fitted.card["rules"]["lapsed"] == "last order more than 10 days ago"
    assert LifecycleRules.from_document(fitted.rules.to_document()) == fitted.rules


def test_too_few_gaps_give_no_rules_and_say_so():
    rows = [("ann", number, 1) for number in range(MINIMUM_GAPS)]
    fitted = fit_lifecycle_rules(bound(orders_table(rows)), day(500))
    assert fitted.rules is None
    assert fitted.card["needs"] == "needs 100 gaps between days with an order by 2025-05-15: 99"
    enough = fit_lifecycle_rules(bound(orders_table([*rows, ("ann", MINIMUM_GAPS, 1)])), day(500))
    assert enough.rules == LifecycleRules(1, 1)
    assert fit_lifecycle_rules(bound(orders_table([])), day(0)).rules is None


def bound(table: ir.Table) -> ir.Table:
    """The table in the test's own connection, where a function fetches rows itself."""
    return CONNECTION.create_table(ibis.util.gen_name("days"), CONNECTION.to_pyarrow(table))


def test_a_quantile_is_the_shortest_gap_that_covers_its_share():
    assert [gap_quantile({1: 3, 5: 1}, percent) for percent in (1, 75, 76, 100)] == [1, 1, 5, 5]
    with pytest.raises(ValueError, match="at least one gap"):
        gap_quantile({}, 50)


@pytest.mark.parametrize("limits", [(0, 3), (4, 3)])
def test_rules_out_of_order_are_refused(limits):
    with pytest.raises(ValueError, match="1 <= at_risk_after <= lapsed_after"):
        LifecycleRules(*limits)


def test_without_a_day_there_is_nothing_to_say():
    with pytest.raises(ValueError, match="at least one as_of day"):
        lifecycle(orders_table([]), spans_table([]), [], RULES)


customers_of_three = st.sampled_from(["a", "b", "c"])
order_rows = st.lists(st.tuples(customers_of_three, st.integers(0, 30), st.integers(0, 2)), max_size=25)
known_rows = st.lists(
    st.tuples(customers_of_three, st.integers(0, 30), st.none() | st.integers(0, 35)), max_size=4
)  # fmt: skip
limits = st.tuples(st.integers(1, 5), st.integers(0, 6)).map(lambda two: LifecycleRules(two[0], sum(two)))


def told(orders, known, number, rules):
    """Stage by customer at the end of a day, the way a person would find it."""
    found = {}
    for who in "abc":
        days = sorted({n for name, n, count in orders if name == who and count and n <= number})
        is_known = any(
            name == who and since <= number and (until is None or number < until) for name, since, until in known
        )
        if not days:
            if is_known:
                found[who] = "prospect"
            continue
        returns = [n for before, n in pairwise(days) if n - before > rules.lapsed_after]
        recency = number - days[-1]
        if recency > rules.lapsed_after:
            found[who] = "lapsed"
        elif recency > rules.at_risk_after:
            found[who] = "at_risk"
        elif number - days[0] <= rules.at_risk_after:
            found[who] = "new"
        elif returns and number - returns[-1] <= rules.at_risk_after:
            found[who] = "won_back"
        else:
            found[who] = "active"
    return found


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(order_rows, known_rows, st.sets(st.integers(0, 34), min_size=1, max_size=5), limits)
def test_stages_are_those_a_person_finds_with_one_for_each_known_customer(orders, known, numbers, rules):
    rows = stages(orders, known, numbers, rules)
    assert len({row[:2] for row in rows}) == len(rows)
    assert {row[2] for row in rows} <= set(STAGES)
    for number in numbers:
        today = {who: (stage, before) for n, who, stage, before, *_ in rows if n == number}
        before = told(orders, known, number - 1, rules)
        assert today == {
            who: (stage, before.get(who)) for who, stage in told(orders, known, number, rules).items()
        }  # fmt: skip


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(order_rows, known_rows, st.sets(st.integers(0, 34), min_size=2, max_size=5), limits)
def test_several_days_at_once_give_the_rows_of_each_alone_and_nothing_later_matters(orders, known, numbers, rules):
    together = stages(orders, known, numbers, rules)
    alone = []
    for number in sorted(numbers):
        seen = [row for row in orders if row[1] <= number]
        filed = [
            (who, since, None if until is None or until > number else until)
            for who, since, until in known
            if since <= number
        ]
        alone += stages(seen, filed, [number], rules)
    assert together == alone
