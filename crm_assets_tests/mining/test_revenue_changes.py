"""What moved revenue: values a person can work out, and effects that always add up."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import ibis
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.diagnosis import BEHAVIOUR_REVENUE_CHANGES, EFFECTS
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.revenue_changes import customer_effects, price_volume_mix, product_effects
from crm_assets_tests.mining.feature_tables import line, products_table, transactions_table

CONNECTION = ibis.duckdb.connect()
JANUARY, FEBRUARY, MARCH_31 = date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 31)
CATEGORIES = {"tea": "drinks", "coffee": "drinks", "soap": "home", "pens": "home"}


def mix(lines, first_day=JANUARY, as_of=date(2024, 2, 29), compared_with="previous_month"):
    """Amounts by month, category and effect."""
    table = price_volume_mix(
        transactions_table(CONNECTION, lines),
        products_table(CONNECTION, CATEGORIES),
        first_day,
        as_of,
        ibis.Table.cache,
    )
    assert table.schema() == BEHAVIOUR_REVENUE_CHANGES.schema
    rows = [row for row in table.to_pyarrow().to_pylist() if row["compared_with"] == compared_with]
    for category, month in {(row["category"], row["starts_on"]) for row in rows}:
        of = [row for row in rows if (row["category"], row["starts_on"]) == (category, month)]
        assert [row["effect"] for row in of] == list(EFFECTS["price_volume_mix"])
        assert sum(row["amount"] for row in of) == of[0]["revenue"] - of[0]["base_revenue"]
    return {(row["starts_on"], row["category"], row["effect"]): row["amount"] for row in rows}


def effects(amounts, month, category):
    return [amounts[month, category, effect] for effect in EFFECTS["price_volume_mix"]]


TWO_MONTHS = [
    # 10 teas at 2 and 10 coffees at 4; then 12 teas at 3 and 18 coffees at 4.
    line("ann", JANUARY, "o1", "tea", "20", "10"),
    line("ann", JANUARY, "o1", "coffee", "40", "10"),
    line("ann", FEBRUARY, "o2", "tea", "36", "12"),
    line("ann", FEBRUARY, "o2", "coffee", "72", "18"),
    line("bob", JANUARY, "o3", "soap", "5"),
    line("bob", FEBRUARY, "o4", "pens", "7"),
]


def test_price_volume_and_mix_are_those_of_a_textbook():
    amounts = mix(TWO_MONTHS)
    # 12 teas are 1 dearer. 10 units more at the mean price of 3. Of 30 units 15 would have been teas, at 2 less.
    assert effects(amounts, FEBRUARY, "drinks") == [12, 30, 6, 0, 0, 0]
    assert effects(amounts, FEBRUARY, "home") == [0, 0, 0, 7, -5, 0]
    assert effects(amounts, FEBRUARY, "all") == [12, 30, 6, 7, -5, 0]


def test_what_was_only_given_back_is_other():
    amounts = mix([*TWO_MONTHS, line("bob", FEBRUARY, "o5", "soap", "-5", "-1", is_return=True)])
    assert effects(amounts, FEBRUARY, "home") == [0, 0, 0, 7, 0, -10]


def test_a_product_without_a_category_is_of_the_unknown_one():
    amounts = mix([line(None, JANUARY, "o1", "?", "3"), line(None, FEBRUARY, "o2", "?", "4")])
    assert effects(amounts, FEBRUARY, "unknown") == [1, 0, 0, 0, 0, 0]


def test_only_complete_months_are_compared():
    assert mix(TWO_MONTHS, as_of=date(2024, 2, 28)) == {}
    assert mix(TWO_MONTHS, first_day=date(2024, 1, 2)) == {}
    assert mix([]) == {}


def test_a_month_is_compared_with_that_of_the_year_before():
    lines = [line("ann", date(2023, 2, 5), "o1", "tea", "4"), line("ann", date(2024, 2, 5), "o2", "tea", "6", "2")]
    amounts = mix(lines, first_day=date(2023, 2, 1), compared_with="same_month_last_year")
    assert effects(amounts, FEBRUARY, "all") == [-2, 4, 0, 0, 0, 0]
    assert mix(lines, first_day=date(2023, 2, 1)) == {}


def test_revenue_is_customers_times_orders_times_value():
    lines = [
        line("ann", JANUARY, "o1", "tea", "10"),
        line("bob", JANUARY, "o2", "tea", "10"),
        line("ann", FEBRUARY, "o3", "tea", "20"),
        line("ann", FEBRUARY, "o4", "tea", "20"),
        line(None, FEBRUARY, "o5", "tea", "3"),
    ]
    table = transactions_table(CONNECTION, lines)
    frame = customer_effects(table, customer_days(table), JANUARY, date(2024, 2, 29))
    assert list(frame.columns) == list(BEHAVIOUR_REVENUE_CHANGES.by_name)
    # Two customers, one order, 10 each; then one customer, two orders, 20 each. Of customers, over the six orders in
    # which the three may change: -(10 + 40) / 3 - (20 + 20) / 6.
    assert dict(zip(frame["effect"], frame["amount"], strict=True)) == {
        "customers": Decimal("-23.3333"), "orders_per_customer": Decimal("21.6667"), "order_value": Decimal("21.6666"),
        "anonymous": 3,
    }  # fmt: skip
    assert frame[["base_revenue", "revenue"]].drop_duplicates().to_numpy().tolist() == [[20, 43]]


def test_where_nobody_ordered_all_is_the_effect_of_customers():
    nothing = 0, Fraction(0), Fraction(0), Decimal("-2.5")
    assert product_effects(nothing, (2, Fraction(1), Fraction(5), Decimal(10))) == [Decimal("12.5"), 0, 0]


factors = st.tuples(st.integers(1, 1000), st.integers(1, 5000), st.integers(-9999, 99999))


@given(factors, factors)
def test_effects_add_up_and_a_factor_that_stays_has_none(before, now):
    def as_factors(values):
        customers, orders, cents = values
        revenue = Decimal(cents) / 100
        return customers, Fraction(orders, customers), Fraction(revenue) / orders, revenue

    one, other = as_factors(before), as_factors(now)
    amounts = product_effects(one, other)
    assert sum(amounts) == other[3] - one[3]
    for number in range(3):
        assert one[number] != other[number] or abs(amounts[number]) <= Decimal("0.0002")
    assert all(abs(a + b) <= Decimal("0.0002") for a, b in zip(amounts, product_effects(other, one), strict=True))


sold = st.tuples(
    st.sampled_from([JANUARY, FEBRUARY, date(2024, 3, 5)]),
    st.sampled_from([*CATEGORIES, "?"]),
    st.integers(-300, 900),
    st.integers(-2, 7),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(sold, max_size=15))
def test_effects_of_any_lines_add_up_to_the_last_digit(rows):
    lines = [
        line(None, day, f"o{n}", what, f"{cents / 100}", f"{units}") for n, (day, what, cents, units) in enumerate(rows)
    ]
    amounts = mix(lines, as_of=MARCH_31)
    for (month, category, effect), amount in amounts.items():
        if category == "all":
            parts = [value for (m, c, e), value in amounts.items() if (m, e) == (month, effect) and c != "all"]
            assert amount == sum(parts)
