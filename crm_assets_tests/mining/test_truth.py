"""Whatever came in whatever order: clean tables are those of a model that goes through the exports one by one."""

from datetime import date, timedelta
from random import Random

import ibis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crm_assets.contracts.canonical import CUSTOMERS, TRANSACTIONS
from crm_assets.mining import deliveries as touching
from crm_assets.mining.cleaning import clean_dimension, clean_events
from crm_assets_tests.mining import worlds
from crm_assets_tests.mining.worlds import DAYS, EXPORTS, Row

FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def connection():
    return ibis.duckdb.connect()


world = st.dictionaries(worlds.places, worlds.files, max_size=6)
BESIDE = 30
"""Workspaces that go through the same steps."""

seeds = st.integers(0, 10**9)
full_sources = st.sets(st.sampled_from(worlds.SOURCES))
many_worlds = st.lists(st.tuples(world, full_sources), min_size=20, max_size=40)


def apart(found):
    """Worlds side by side in one table: each has sources and keys of its own, so that one query judges all."""
    delivered, full = {}, {}
    for number, (one, sources) in enumerate(found):
        for (source, day), rows in one.items():
            delivered[f"{source}{number}", day] = tuple(Row(f"{row.key}-{number}", row.day, row.value) for row in rows)
        full |= {f"{source}{number}": days for source, days in worlds.full_dates(one, sources).items()}
    return delivered, full


def day_beside(day, number):
    return day + timedelta(10 * number)


def cleaned(connection, delivered, full, first=DAYS[0], last=DAYS[-1]):
    clean = clean_events(ibis.memtable(worlds.sales(delivered)), TRANSACTIONS, first, last, full)
    found = {}
    for row in connection.to_pyarrow(clean.select("day", "order_id", "amount")).to_pylist():
        found.setdefault(row["day"], []).append((row["order_id"], int(row["amount"])))
    assert all(len(rows) == len(set(rows)) for rows in found.values())
    return {day: set(rows) for day, rows in found.items()}


def versions(connection, delivered, full):
    clean = clean_dimension(ibis.memtable(worlds.customers(delivered)), CUSTOMERS, full)
    rows = connection.to_pyarrow(clean).to_pylist()
    return sorted((row["customer_id"], int(row["household_size"]), row["valid_from"], row["valid_to"]) for row in rows)


@given(found=many_worlds)
@FEW
def test_events_are_those_of_the_model(connection, found):
    delivered, full = apart(found)
    expected = worlds.truth(delivered, full)
    assert cleaned(connection, delivered, full) == expected


@given(found=many_worlds)
@FEW
def test_versions_are_those_of_the_model(connection, found):
    delivered, full = apart(found)
    assert versions(connection, delivered, full) == worlds.versions(delivered, full)


@given(found=many_worlds)
@settings(FEW, max_examples=3)
def test_a_range_of_days_is_cleaned_as_each_day_by_itself(connection, found):
    delivered, full = apart(found)
    together = cleaned(connection, delivered, full, DAYS[1], DAYS[3])
    one_by_one = [cleaned(connection, delivered, full, day, day) for day in DAYS[1:]]
    assert {day: rows for part in one_by_one for day, rows in part.items()} == together


def test_a_line_that_a_later_export_moved_stays_on_its_new_day_only(connection):
    delivered = {("crm", EXPORTS[0]): (Row("k", DAYS[0], 1),), ("crm", EXPORTS[1]): (Row("k", DAYS[2], 1),)}
    assert cleaned(connection, delivered, {}) == {DAYS[2]: {("k", 1)}}
    assert cleaned(connection, delivered, {}, DAYS[0], DAYS[0]) == {}


def test_a_line_that_a_full_export_lacks_is_gone_and_may_come_again(connection):
    delivered = {
        ("crm", EXPORTS[0]): (Row("k", DAYS[0], 1), Row("m", DAYS[0], 1)),
        ("crm", EXPORTS[1]): (Row("m", DAYS[0], 1),),
    }
    assert cleaned(connection, delivered, {"crm": EXPORTS[:2]}) == {DAYS[0]: {("m", 1)}}
    delivered["crm", EXPORTS[2]] = (Row("k", DAYS[1], 2),)
    assert cleaned(connection, delivered, {"crm": EXPORTS[:2]}) == {DAYS[0]: {("m", 1)}, DAYS[1]: {("k", 2)}}


def test_a_version_ends_at_the_full_export_that_lacks_the_key_and_a_new_one_begins_when_it_comes_again(connection):
    here, other = Row("k", DAYS[0], 1), Row("m", DAYS[0], 1)
    delivered = {("crm", day): (here, other) for day in (EXPORTS[0], EXPORTS[3])}
    delivered |= {("crm", day): (other,) for day in EXPORTS[1:3]}
    found = versions(connection, delivered, {"crm": EXPORTS})
    assert found == [
        ("k", 1, date(1990, 1, 1), EXPORTS[1]),
        ("k", 1, EXPORTS[3], None),
        ("m", 1, date(1990, 1, 1), None),
    ]


def test_a_key_that_another_source_still_holds_is_not_deleted(connection):
    delivered = {
        ("crm", EXPORTS[0]): (Row("k", DAYS[0], 1),),
        ("web", EXPORTS[0]): (Row("k", DAYS[1], 2),),
        ("crm", EXPORTS[1]): (Row("m", DAYS[0], 1),),
    }
    assert versions(connection, delivered, {"crm": EXPORTS[:2]})[:2] == [
        ("k", 1, date(1990, 1, 1), EXPORTS[1]),
        ("k", 2, EXPORTS[1], None),
    ]
    assert cleaned(connection, delivered, {"crm": EXPORTS[:2]})[DAYS[1]] == {("k", 2)}


def test_deletions_are_counted_among_the_keys_since_the_full_export_before(connection):
    delivered = {
        ("crm", EXPORTS[0]): tuple(Row(key, DAYS[0], 1) for key in "abc"),
        ("crm", EXPORTS[1]): (Row("d", DAYS[0], 1),),
        ("crm", EXPORTS[2]): (Row("d", DAYS[0], 1),),
        ("crm", EXPORTS[3]): (Row("d", DAYS[0], 1),),
    }
    full = {"crm": [EXPORTS[0], EXPORTS[2], EXPORTS[3]]}
    counted = touching.deletions(ibis.memtable(worlds.sales(delivered)), TRANSACTIONS, full)
    rows = connection.to_pyarrow(counted.order_by("_export_date")).to_pylist()
    assert [(row["_export_date"], row["keys"], row["deleted"]) for row in rows] == [
        (EXPORTS[2], 4, 3),
        (EXPORTS[3], 1, 0),
    ]


class Workspaces(RuleBasedStateMachine):
    """Deliveries come, are corrected and come again; days are cleaned when touched, and some besides.

    Each step is made in many workspaces side by side, whose sources, keys and days are apart, so that one query serves
    all of them.
    """

    connection = ibis.duckdb.connect()

    @initialize(seed=seeds)
    def begin(self, seed):
        chance = Random(seed)
        self.sources = {f"{name}{n}" for n in range(BESIDE) for name in worlds.SOURCES if chance.random() < 0.6}
        self.delivered, self.recorded = {}, {}
        self.clean, self.stale = {}, set()

    @rule(seed=seeds)
    def ingest(self, seed):
        chance = Random(seed)
        came = {}
        for n in range(BESIDE):
            for _ in range(chance.randint(0, 2)):
                place = f"{chance.choice(worlds.SOURCES)}{n}", chance.choice(EXPORTS)
                came[place] = tuple(
                    Row(f"k{chance.randrange(3)}-{n}", day_beside(chance.choice(DAYS), n), chance.randrange(2))
                    for _ in range(chance.choice([0, 1, 1, 2, 3]))
                )
        self.delivered |= came
        full = self.full()
        everything = ibis.memtable(worlds.sales(self.delivered))
        rows = ibis.memtable(worlds.sales(came))
        before = [row for place in came for row in self.recorded.get(place, ())]
        held = {(row["_source"], row["_export_date"]) for row in before if row["rows"]}
        changed = {
            source: {day for name, day in came if name == source and (day in days or (name, day) in held)}
            for source, days in full.items()
        }
        found = list(
            touching.touched_days(
                self.listed(touching.delivered_days(rows, TRANSACTIONS, 7)),
                self.listed(touching.shared_days(rows, everything, TRANSACTIONS)),
                self.listed(touching.deleted_days(everything, TRANSACTIONS, full, changed)),
                before,
                [row for rows in self.recorded.values() for row in rows if row["shared_days"]],
            )
        )
        for place in came:
            self.recorded[place] = [row for row in found if (row["_source"], row["_export_date"]) == place]
        assert sum(len(self.recorded[place]) for place in came) == len(found)
        self.stale |= {row["day"] for row in found}

    @rule(seed=seeds)
    def backfill(self, seed):
        chance = Random(seed)
        ends = DAYS[0], day_beside(DAYS[-1], BESIDE)
        now = cleaned(self.connection, self.delivered, self.full(), *ends)
        for day in [day_beside(day, n) for n in range(BESIDE) for day in DAYS]:
            if chance.random() < (0.9 if day in self.stale else 0.2):
                self.clean[day] = now.get(day, set())
                self.stale.discard(day)

    @invariant()
    def days_that_are_not_stale_are_true(self):
        expected = worlds.truth(self.delivered, self.full())
        for day in {*self.clean, *expected} - self.stale:
            assert self.clean.get(day, set()) == expected.get(day, set()), day

    def full(self):
        return worlds.full_dates(self.delivered, self.sources)

    def listed(self, rows):
        found = self.connection.to_pyarrow(rows).to_pylist() if rows is not None else []
        return [row | {"table_name": TRANSACTIONS.name} for row in found]


TestWorkspaces = Workspaces.TestCase
TestWorkspaces.settings = settings(max_examples=8, stateful_step_count=10, deadline=None)
