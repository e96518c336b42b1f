"""Which records are one person, export by export.

Belongs here: joining records into persons by the scores of pairs, decisions of people and time. Not here: scoring
(`identity_model.py`), tables (`identity.py`).

Persons grow by average linkage: of all pairs of groups the one whose records are most alike on average is joined first,
as long as some pair of records reaches the threshold and the average is not below `COHESION`. So a chain of records each
like the next does not become one person, and a record that says little joins a person many of whose records it fits.
Source: Sokal and Michener, A Statistical Method for Evaluating Systematic Relationships (1958).

What is one person on a day stays one person: later records join persons or join them with each other, and only a
changed record or a decision takes a record away.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from heapq import heappop, heappush

COHESION = -4.0
"""Least average weight, in bits, between the records of two groups that become one person."""

NOT_COMPARED = -6.0
"""Weight of two records that agree on no blocking key, and least weight of two that do."""

MOST = 15.0
"""Weights beyond this, either way, count as this, so that one pair does not outweigh all others."""

_UNIT = 1_000_000
"""Weights are added up as whole millionths of bits, so that the order does not matter."""


@dataclass(frozen=True)
class Change:
    """Who a record stood for before and after a day's export.

    Attributes:
        day: The export's day.
        customer: The record.
        before: Person before; None for a new record.
        after: Person after.
        event: new, joined, merged or split.
    """

    day: date
    customer: str
    before: str | None
    after: str
    event: str


@dataclass
class Decisions:
    """What people decided: `always` and `never` pairs of customers, by the day from which they hold."""

    always: list[tuple[date, str, str]] = field(default_factory=list)
    never: list[tuple[date, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Pairs:
    """Scored pairs of nodes that hold from a day on, until the next `Pairs`.

    Attributes:
        since: First day.
        pairs: Left node, right node, weight in bits.
        sure: Pairs of nodes that a rule says are one person.
    """

    since: date
    pairs: Iterable[tuple[int, int, float]]
    sure: Iterable[tuple[int, int]]


def follow_persons(
    nodes: Sequence[tuple[str, date]],
    first_days: Mapping[str, date],
    phases: Sequence[Pairs],
    decisions: Decisions,
    threshold: float,
) -> Iterator[Change]:
    """Who each record stands for, from the first export to the last.

    Args:
        nodes: Customer and day of each version of a record; a later version replaces the earlier one.
        first_days: Day of each customer's first export. The record of a person with the earliest one, and of these the
            smallest identifier, gives the person its identifier.
        phases: Scored pairs, in the order of time.
        decisions: What people decided.
        threshold: Least weight, in bits, of some pair of records of two groups that become one.

    Yields:
        Changes in the order of time and of customers.
    """
    arriving: dict[date, list[int]] = defaultdict(list)
    for node, (_, day) in enumerate(nodes):
        arriving[day].append(node)
    decided = {day for day, _, _ in (*decisions.always, *decisions.never)}
    begin = {phase.since: phase for phase in phases}
    groups = _Groups([customer for customer, _ in nodes], threshold)
    person_of: dict[str, str] = {}
    last = max(arriving, default=None)
    for day in sorted({*arriving, *decided, *begin}):
        if last is None or (day > last and day not in decided):
            break
        if day in begin:
            groups.use(begin[day])
        always = [(a, b) for since, a, b in decisions.always if since == day]
        never = [(a, b) for since, a, b in decisions.never if since == day]
        groups.advance(arriving.get(day, ()), always, never)
        yield from _changes(day, groups, first_days, person_of)


def _changes(
    day: date, groups: "_Groups", first_days: Mapping[str, date], person_of: dict[str, str]
) -> Iterator[Change]:
    moved = []
    founders = groups.founders
    for group in groups.take_touched():
        customers = groups.customers(group)
        founder = min(customers, key=lambda customer: (first_days[customer], customer))
        founders[group] = founder
        moved += [(customer, founder) for customer in customers if person_of.get(customer) != founder]
    living = {founders[group] for group in groups.groups()} if moved else set()
    for customer, after in sorted(moved):
        before = person_of.get(customer)
        person_of[customer] = after
        if before is None:
            event = "new" if after == customer else "joined"
        else:
            event = "split" if before in living else "merged"
        yield Change(day, customer, before, after, event)


class _Groups:
    """Groups of nodes with what is known between each two of them."""

    def __init__(self, customer_of: Sequence[str], threshold: float) -> None:
        self.founders: dict[int, str] = {}
        self._customer_of = customer_of
        self._threshold = round(threshold * _UNIT)
        self._near: dict[int, dict[int, int]] = {}
        self._sure: dict[int, list[int]] = {}
        self._always: dict[str, set[str]] = defaultdict(set)
        self._never: dict[str, set[str]] = defaultdict(set)
        self._current: dict[str, int] = {}
        self._group_of: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}
        self._between: dict[int, dict[int, tuple[int, int, int]]] = {}
        self._heap: list[tuple[float, int, int]] = []
        self._touched: set[int] = set()
        self._next = 0

    def use(self, phase: Pairs) -> None:
        """Compare by other scores from now on; groups stay."""
        self._near, self._sure = defaultdict(dict), defaultdict(list)
        most = round(MOST * _UNIT)
        for left, right, weight in phase.pairs:
            bits = max(-most, min(most, round(weight * _UNIT)))
            self._near[left][right] = bits
            self._near[right][left] = bits
        for left, right in phase.sure:
            self._sure[left].append(right)
            self._sure[right].append(left)
        self._between = {group: {} for group in self._members}
        for group in list(self._members):
            self._measure(group)
        self._join_sure(list(self._group_of))

    def advance(
        self, arriving: Iterable[int], always: Iterable[tuple[str, str]], never: Iterable[tuple[str, str]]
    ) -> None:
        """Take in a day's versions of records and decisions, and join what belongs together."""
        arrived = sorted(arriving)
        for node in arrived:
            before = self._current.get(self._customer_of[node])
            if before is not None:
                self._remove(before)
            self._add(node)
        for a, b in never:
            self._never[a].add(b)
            self._never[b].add(a)
        decided = []
        for a, b in always:
            self._always[a].add(b)
            self._always[b].add(a)
            decided += [self._current[customer] for customer in (a, b) if customer in self._current]
        for a, b in never:
            decided += self._part(a, b)
        self._join_sure([*arrived, *decided])
        self._settle()

    def take_touched(self) -> list[int]:
        """Groups that are new or changed since this was last asked."""
        touched = sorted(group for group in self._touched if group in self._members)
        self._touched.clear()
        return touched

    def customers(self, group: int) -> list[str]:
        """The customers of a group."""
        return [self._customer_of[node] for node in self._members[group]]

    def groups(self) -> Iterable[int]:
        """All groups."""
        return self._members

    def _add(self, node: int) -> None:
        group = self._new([node])
        self._current[self._customer_of[node]] = node
        self._measure(group)

    def _remove(self, node: int) -> None:
        group = self._group_of.pop(node)
        self._members[group].remove(node)
        for other in self._between.pop(group):
            self._between[other].pop(group)
        self._touched.add(group)
        if self._members[group]:
            self._between[group] = {}
            self._measure(group)
        else:
            del self._members[group]

    def _new(self, members: list[int]) -> int:
        group, self._next = self._next, self._next + 1
        self._members[group], self._between[group] = members, {}
        for node in members:
            self._group_of[node] = group
        self._touched.add(group)
        return group

    def _measure(self, group: int) -> None:
        """Sum up what is known between a group and all others."""
        found: dict[int, tuple[int, int, int]] = {}
        for node in self._members[group]:
            for near, bits in self._near.get(node, {}).items():
                other = self._group_of.get(near)
                if other is not None and other != group:
                    total, count, best = found.get(other, (0, 0, bits))
                    found[other] = total + bits, count + 1, max(best, bits)
        self._between[group] = found
        for other, known in found.items():
            self._between[other][group] = known
            self._propose(group, other)

    def _propose(self, a: int, b: int) -> None:
        total, count, best = self._between[a][b]
        if best < self._threshold:
            return
        pairs = len(self._members[a]) * len(self._members[b])
        mean = (total + (pairs - count) * NOT_COMPARED * _UNIT) / pairs
        if mean >= COHESION * _UNIT:
            heappush(self._heap, (-mean, min(a, b), max(a, b)))

    def _settle(self) -> None:
        while self._heap:
            mean, a, b = heappop(self._heap)
            if a in self._members and b in self._members and self._mean_is(a, b, -mean) and not self._apart(a, b):
                self._join(a, b)

    def _mean_is(self, a: int, b: int, mean: float) -> bool:
        """Whether a proposal still stands; a group that lost a record has made new ones."""
        total, count, _ = self._between[a].get(b, (0, 0, 0))
        pairs = len(self._members[a]) * len(self._members[b])
        return count > 0 and (total + (pairs - count) * NOT_COMPARED * _UNIT) / pairs == mean

    def _join(self, a: int, b: int) -> None:
        first, second = self._between.pop(a), self._between.pop(b)
        group = self._new([*self._members.pop(a), *self._members.pop(b)])
        if len(first) < len(second):
            first, second = second, first
        for other, (total, count, best) in second.items():
            known = first.get(other)
            first[other] = (total, count, best) if known is None else (
                known[0] + total, known[1] + count, max(known[2], best)
            )  # fmt: skip
        first.pop(a, None)
        first.pop(b, None)
        self._between[group] = first
        for other, known in first.items():
            row = self._between[other]
            row.pop(a, None)
            row.pop(b, None)
            row[group] = known
            self._propose(group, other)

    def _join_sure(self, nodes: Iterable[int]) -> None:
        """Join what rules and decisions say is one person, unless a decision says it never is."""
        for node in nodes:
            customers = sorted(self._always.get(self._customer_of[node], ()))
            known = [self._current[customer] for customer in customers if customer in self._current]
            for other in [*known, *self._sure.get(node, ())]:
                if node in self._group_of and other in self._group_of:
                    a, b = self._group_of[node], self._group_of[other]
                    if a != b and not self._apart(a, b):
                        self._join(a, b)

    def _apart(self, a: int, b: int) -> bool:
        """Whether a decision keeps two groups apart."""
        if not self._never:
            return False
        customers = set(self.customers(b))
        return any(self._never[customer] & customers for customer in self.customers(a) if customer in self._never)

    def _part(self, a: str, b: str) -> list[int]:
        """Take a person apart that holds both customers, to be put together anew; returns its nodes."""
        one, other = self._current.get(a), self._current.get(b)
        if one is None or other is None or self._group_of[one] != self._group_of[other]:
            return []
        nodes = sorted(self._members[self._group_of[one]])
        for node in nodes[1:]:
            self._remove(node)
            self._add(node)
        return nodes
