"""Persons instead of records: whom each record of a customer stands for on a day, and tables that count persons.

Belongs here: from rows by record to rows by person as of a day. Not here: finding persons (`identity*.py`), which values
survive (`identity_survivors.py`), anything that is computed from the rows.

A day counts the persons known at its end: memberships of the day hold for everything that happened up to it. So a day
stays as it was when records become one person later.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import DAY, VALID_FROM, VALID_TO
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.identity_survivors import surviving_versions

_CUSTOMER = "customer_id"
_NOT_ADDITIVE = ("products",)
"""Columns of `customer_days` that do not add up: two records may buy the same product on one day."""


@dataclass(frozen=True)
class Persons:
    """Who stands for whom, day by day.

    Where no record stands for another, every method gives its table back as it is, so nothing is paid.

    Attributes:
        others: Memberships of the records that stand for another one; None where there are none.
        spans: First day of each of these memberships and the first day it no longer holds; None for still.
    """

    others: ir.Table | None = None
    spans: tuple[tuple[date, date | None], ...] = ()

    @classmethod
    def of(cls, members: ir.Table) -> "Persons":
        """Persons by `profile.identity_members`; records it does not know stand for themselves."""
        others = members.filter(members[_CUSTOMER] != members.person_id)
        names = [VALID_FROM.name, VALID_TO.name]
        rows = others.select(names).distinct().order_by(names).to_pyarrow().to_pylist()
        return cls(others, tuple(tuple(row.values()) for row in rows)) if rows else cls()

    @cached_property
    def changes(self) -> list[date]:
        """Days on which some record begins or ends to stand for another one, in order."""
        return sorted({day for span in self.spans for day in span if day is not None})

    def groups(self, days: Sequence[date]) -> list[list[date]]:
        """Days in order, those together between which no membership changes."""
        groups: list[list[date]] = []
        for day in sorted(set(days)):
            if groups and not any(groups[-1][0] < change <= day for change in self.changes):
                groups[-1].append(day)
            else:
                groups.append([day])
        return groups

    def stand_on(self, day: date) -> ir.Table | None:
        """Memberships of a day of the records that stand for another one; None where there are none."""
        if self.others is None or not any(
            since <= day and (until is None or day < until) for since, until in self.spans
        ):
            return None
        return valid_on(self.others, day).select(_CUSTOMER, "person_id")

    def rows(self, rows: ir.Table, day: date) -> ir.Table:
        """Rows of records as rows of the persons of a day; rows without a customer stay."""
        others = self.stand_on(day)
        if others is None:
            return rows
        known = others.select(_record=_CUSTOMER, _person="person_id")
        joined = rows.left_join(known, rows[_CUSTOMER] == known["_record"])
        return joined.mutate(customer_id=ibis.coalesce(joined["_person"], joined[_CUSTOMER])).select(*rows.columns)

    def customer_days(self, customer_days: ir.Table, day: date) -> ir.Table:
        """What each person of a day did on each day, from what each record did; without the number of products."""
        rows = self.rows(customer_days, day)
        if rows is customer_days:
            return rows
        key = [DAY.name, _CUSTOMER]
        summed = [name for name in rows.columns if name not in (*key, *_NOT_ADDITIVE)]
        return rows.group_by(key).agg(**{name: rows[name].sum().cast(rows[name].type()) for name in summed})

    def customer_days_of(self, customer_days: ir.Table, days: Sequence[date]) -> Iterator[tuple[list[date], ir.Table]]:
        """For each group of days between which no membership changes, the days and what each person did."""
        for group in self.groups(days):
            yield group, self.customer_days(customer_days, group[0])

    def contacts(self, contacts: ir.Table, day: date) -> ir.Table:
        """Contacts of the persons of a day: one for each campaign, the first, with the first response.

        Whom a campaign held out as one record and contacted as another keeps both rows.
        """
        rows = self.rows(contacts, day)
        if rows is contacts:
            return rows
        # A response to a later contact is not seen before that contact.
        responded = ibis.greatest(rows.responded_at, rows[DAY.name].cast("timestamp"))
        answered = rows.mutate(
            is_control=rows.is_control.fill_null(False),
            responded_at=rows.responded_at.isnull().ifelse(ibis.null("timestamp"), responded),
        )
        first = answered.group_by("campaign_id", _CUSTOMER, "is_control").agg(
            **{DAY.name: answered[DAY.name].min(), "responded_at": answered.responded_at.min()}
        )
        return first.cast({"responded_at": contacts.responded_at.type()})

    def founders(self, customers: ir.Table, day: date) -> ir.Table:
        """Versions of the records that the persons of a day are named after; the versions hold on their own days."""
        others = self.stand_on(day)
        return customers if others is None else customers.anti_join(others, _CUSTOMER)

    def customers(
        self, customers: ir.Table, deliveries: ir.Table, days: Sequence[date], source_priority: Sequence[str] = ()
    ) -> ir.Table:
        """Customer versions as versions of persons, with the values that survived on each of some days.

        Args:
            customers: The clean table of customers.
            deliveries: Validated customers, of which record, source and export date are used.
            days: Days between which no membership changes; the versions hold on these only.
            source_priority: Sources, the most trusted first.

        Returns:
            The columns of `customers`; records that stand alone keep their versions.
        """
        others = self.stand_on(days[0])
        if others is None:
            return customers
        founders = others.select(customer_id="person_id", person_id="person_id").distinct()
        joined = others.union(founders)
        alone = customers.anti_join(joined, _CUSTOMER)
        return alone.union(surviving_versions(customers, joined, deliveries, days, source_priority))


ALONE = Persons()
"""Nobody stands for anybody else."""
