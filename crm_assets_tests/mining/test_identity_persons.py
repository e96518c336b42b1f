"""Joining records into persons: small cases worked out by hand, and what must hold for all."""

from datetime import date, timedelta
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.mining.identity_persons import Decisions, Pairs, follow_persons

DAY = date(2024, 1, 1)
LATER = date(2024, 2, 1)


def persons(nodes, pairs, sure=(), decisions=None, threshold=0.0):
    """All changes, and who each record stands for at the end."""
    first_days = {}
    for customer, day in nodes:
        first_days.setdefault(customer, day)
    changes = list(follow_persons(nodes, first_days, [Pairs(DAY, pairs, sure)], decisions or Decisions(), threshold))
    return changes, {change.customer: change.after for change in changes}


def test_alike_records_are_one_person_named_after_the_smallest_of_the_first_export():
    _, found = persons([("b", DAY), ("a", DAY), ("c", DAY)], [(0, 1, 5.0), (1, 2, -5.0)])
    assert found == {"a": "a", "b": "a", "c": "c"}


def test_a_chain_of_likenesses_is_not_one_person():
    # a-b-c-d: neighbours are alike, all others clearly differ.
    nodes = [(name, DAY) for name in "abcd"]
    near = [(0, 1, 6.0), (1, 2, 2.0), (2, 3, 6.0)]
    apart = [(0, 2, -12.0), (0, 3, -12.0), (1, 3, -12.0)]
    _, found = persons(nodes, near + apart)
    assert found == {"a": "a", "b": "a", "c": "c", "d": "c"}


def test_the_earliest_record_gives_the_identifier_even_when_a_smaller_one_comes_later():
    changes, found = persons([("z", DAY), ("a", LATER)], [(0, 1, 9.0)])
    assert found == {"z": "z", "a": "z"}
    assert [(change.customer, change.event) for change in changes] == [("z", "new"), ("a", "joined")]


def test_a_record_that_joins_two_persons_merges_the_younger_into_the_older():
    changes, found = persons([("a", DAY), ("b", DAY), ("c", LATER)], [(0, 2, 9.0), (1, 2, 9.0)])
    assert found == {"a": "a", "b": "a", "c": "a"}
    merged = [(c.day, c.customer, c.before, c.after) for c in changes if c.event == "merged"]
    assert merged == [(LATER, "b", "b", "a")]


def test_a_changed_record_that_no_longer_fits_splits_off():
    nodes = [("a", DAY), ("b", DAY), ("b", LATER)]
    changes, found = persons(nodes, [(0, 1, 9.0), (0, 2, -9.0)])
    assert found == {"a": "a", "b": "b"}
    assert [(c.day, c.customer, c.before, c.after) for c in changes if c.event == "split"] == [(LATER, "b", "a", "b")]


def test_a_rule_joins_whatever_the_score_and_a_decision_wins_over_a_rule():
    nodes = [("a", DAY), ("b", DAY)]
    assert persons(nodes, [(0, 1, -9.0)], sure=[(0, 1)])[1] == {"a": "a", "b": "a"}
    never = Decisions(never=[(DAY, "a", "b")])
    assert persons(nodes, [(0, 1, 9.0)], sure=[(0, 1)], decisions=never)[1] == {"a": "a", "b": "b"}


def test_always_joins_records_that_were_never_compared():
    assert persons([("a", DAY), ("b", DAY)], [], decisions=Decisions(always=[(DAY, "a", "b")]))[1]["b"] == "a"


def test_a_decision_holds_from_its_day():
    changes, found = persons([("a", DAY), ("b", DAY)], [(0, 1, 9.0)], decisions=Decisions(never=[(LATER, "a", "b")]))
    assert found == {"a": "a", "b": "b"}
    assert [(c.day, c.event) for c in changes] == [(DAY, "new"), (DAY, "joined"), (LATER, "split")]


@st.composite
def histories(draw):
    """Records that arrive on some days, a few of them changed, with any scores."""
    days = sorted(draw(st.lists(st.integers(0, 3), min_size=2, max_size=9)))
    nodes = []
    for place, day in enumerate(days):
        old = sorted({name for name, since in nodes if since < DAY + timedelta(day)})
        name = draw(st.sampled_from([f"r{place}", *old]))
        if (name, DAY + timedelta(day)) not in nodes:
            nodes.append((name, DAY + timedelta(day)))
    numbers = range(len(nodes))
    weights = {pair: draw(st.integers(-12, 12)) for pair in combinations(numbers, 2)}
    return nodes, [(a, b, float(w)) for (a, b), w in weights.items() if nodes[a][0] != nodes[b][0]]


@settings(max_examples=300, deadline=None)
@given(histories())
def test_the_past_does_not_change_when_records_are_added(history):
    nodes, pairs = history
    changes, _ = persons(nodes, pairs)
    for day in sorted({day for _, day in nodes}):
        known = [node for node in nodes if node[1] <= day]
        before, _ = persons(known, [(a, b, w) for a, b, w in pairs if max(a, b) < len(known)])
        assert before == [change for change in changes if change.day <= day]


@settings(max_examples=300, deadline=None)
@given(histories())
def test_growth_changes_persons_only_by_logged_merges(history):
    nodes, pairs = history
    changes, found = persons(nodes, pairs)
    changed = {(name, day) for place, (name, day) in enumerate(nodes) if name in [n for n, _ in nodes[:place]]}
    person_of: dict[str, str] = {}
    for change in changes:
        assert person_of.get(change.customer) == change.before
        if change.event == "split":
            assert any(day == change.day for _, day in changed)
        if change.event == "merged":
            # The older founder's identifier wins, unless a change of that day took a record away.
            assert change.after < change.before or any(day == change.day for _, day in changed)
        person_of[change.customer] = change.after
    assert person_of == found
    for person in set(found.values()):
        assert found[person] == person


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms())
def test_the_order_in_which_pairs_are_scored_does_not_matter(history, chance):
    nodes, pairs = history
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    assert persons(nodes, pairs) == persons(nodes, shuffled)
