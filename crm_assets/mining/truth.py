"""Which of the delivered rows is true: the newest export's, unless a full export after it lacks the key.

Belongs here: one row per key, deletions by absence, and the states a key went through. Not here: how values are written
(`cleaning.py`), which days a delivery touches (`deliveries.py`).

Everything here is a function of the set of validated rows, so the order of deliveries and backfills changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import reduce
from operator import and_

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import DAY, EXPORT_DATE, FILE, LINE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.mining.as_of_days import Hold

FullExports = Mapping[str, Sequence[date]]
"""By source, the dates of the exports from which a missing key counts as deleted."""

NO_FULL_EXPORTS: FullExports = {}

AHEAD = timedelta(days=2)
"""An event's local day is at most this far after its export: validation gives a day of grace, time zones another."""

STATE_DATE = "_date"
IS_PRESENT = "_present"

_RECENCY = (EXPORT_DATE.name, SOURCE.name, FILE.name, LINE.name)


def newest_rows(rows: ir.Table, key: Sequence[str]) -> ir.Table:
    """One row per key: of the newest export, and there the last one; of two sources the first by name."""
    recency = [rows[EXPORT_DATE.name].desc(), rows[SOURCE.name], rows[FILE.name].desc(), rows[LINE.name].desc()]
    place = ibis.row_number().over(group_by=[rows[name] for name in key], order_by=recency)
    return rows.mutate(_place=place).filter(ibis._["_place"] == 0).drop("_place")


def true_events(
    rows: ir.Table,
    contract: Table,
    first: date,
    last: date,
    full_exports: FullExports,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """The rows of an event table that are true, of a range of days.

    A key has one row, whatever day it is on: a line that a newer export moved is on its new day only.

    Args:
        rows: Validated rows with `day`, the event day, of any deliveries and all days.
        contract: The canonical table.
        first: First day wanted.
        last: Last day wanted.
        full_exports: Exports from which a missing key counts as deleted.
        hold: Keeps tables that are used several times.

    Returns:
        `rows` of these days, at most one per key.
    """
    # No export older than this has rows of these days, or can correct one that has: the engine skips its files.
    alive = not_deleted(rows, full_exports).filter(rows[EXPORT_DATE.name] >= first - AHEAD)
    moment, day = alive[str(contract.event_time)], alive[DAY.name]
    inside = alive.filter(
        # A day more on both sides, whatever the time zone: the engine skips row groups by it.
        moment >= ibis.literal(first - timedelta(days=1)).cast("timestamp"),
        moment < ibis.literal(last + timedelta(days=2)).cast("timestamp"),
        day.between(first, last),
    )
    outside = alive.filter(
        (moment < ibis.literal(first + timedelta(days=1)).cast("timestamp"))
        | (moment >= ibis.literal(last - timedelta(days=1)).cast("timestamp")),
        ~day.between(first, last),
    )
    winners = _one_per_key(inside, contract.key, hold)
    return _not_beaten(winners, outside, inside, contract.key)


def _one_per_key(rows: ir.Table, key: Sequence[str], hold: Hold) -> ir.Table:
    """`newest_rows` where few keys come more than once: ranking all rows would take most of the time."""
    several = rows.group_by(list(key)).agg(_rows=ibis._.count())
    several = hold(several.filter(several["_rows"] > 1).select(*key))
    if not several.count().to_pyarrow().as_py():
        return rows
    return rows.anti_join(several, list(key)).union(newest_rows(rows.semi_join(several, list(key)), key))


def _not_beaten(winners: ir.Table, outside: ir.Table, inside: ir.Table, key: Sequence[str]) -> ir.Table:
    """The winners of their days whose keys no row outside these days is newer of."""
    names = [*key, *_RECENCY]
    rivals = outside.select(*names).semi_join(inside.select(*key), list(key))
    rivals = newest_rows(rivals, key).rename({f"_rival_{name}": name for name in names})
    same = [winners[name] == rivals[f"_rival_{name}"] for name in key]
    met = winners.left_join(rivals, same)
    export_date, source, file, line = ((met[name], met[f"_rival_{name}"]) for name in _RECENCY)
    is_newer = (export_date[0] > export_date[1]) | (
        (export_date[0] == export_date[1])
        & (
            (source[0] < source[1])
            | ((source[0] == source[1]) & ((file[0] > file[1]) | ((file[0] == file[1]) & (line[0] > line[1]))))
        )
    )
    return met.filter(export_date[1].isnull() | is_newer).select(*winners.columns)


def not_deleted(rows: ir.Table, full_exports: FullExports) -> ir.Table:
    """The rows but those of a source that its newest full export has superseded.

    The newest full export of a source holds every key that is left, so no older row of that source is needed.
    """
    kept = [
        (rows[SOURCE.name] != source) | (rows[EXPORT_DATE.name] >= max(dates))
        for source, dates in sorted(full_exports.items())
        if dates
    ]
    return rows.filter(reduce(and_, kept)) if kept else rows


def states(rows: ir.Table, contract: Table, full_exports: FullExports) -> ir.Table:
    """What each key of a dimension was on each date that an export told of it.

    Args:
        rows: Validated rows of every delivery.
        contract: The canonical table.
        full_exports: Exports from which a missing key counts as deleted.

    Returns:
        One row per key and date: the contract's columns, `_date`, the export's date, and `_present`, false where the
        key was deleted. A key that another source still holds is not deleted: it takes that source's values.
    """
    columns = [*contract.by_name, EXPORT_DATE.name]
    told = newest_rows(rows, (EXPORT_DATE.name, *contract.key)).select(*columns)
    told = told.mutate(**{IS_PRESENT: True})
    if not any(full_exports.values()):
        return told.rename({STATE_DATE: EXPORT_DATE.name})
    held = spans(rows, contract.key, full_exports)
    ended = held.filter(held["_gone"].notnull()).select(*contract.key, EXPORT_DATE.name, SOURCE.name, "_gone")
    # On the date of a deletion a row of another source still speaks for the key, and so does a new one.
    ended = ended.group_by(*contract.key, "_gone").agg(_ended=ibis._.count()).drop("_ended")
    ended = ended.anti_join(
        told, [*(ended[name] == told[name] for name in contract.key), ended["_gone"] == told[EXPORT_DATE.name]]
    )
    others = held.rename({f"_other_{name}": name for name in contract.key} | {"_other_gone": "_gone"})
    left = ended.left_join(
        others,
        [
            *(ended[name] == others[f"_other_{name}"] for name in contract.key),
            others[EXPORT_DATE.name] < ended["_gone"],
            others["_again"].isnull() | (others["_again"] > ended["_gone"]),
            others["_other_gone"].isnull() | (others["_other_gone"] > ended["_gone"]),
        ],
    )
    left = newest_rows(left, (*contract.key, "_gone"))
    left = left.mutate(**{IS_PRESENT: left[SOURCE.name].notnull(), EXPORT_DATE.name: left["_gone"]})
    return told.union(left.select(*told.columns)).rename({STATE_DATE: EXPORT_DATE.name})


def spans(rows: ir.Table, key: Sequence[str], full_exports: FullExports) -> ir.Table:
    """How long each source held to a key.

    Args:
        rows: Validated rows of every delivery.
        key: The key's columns.
        full_exports: Exports from which a missing key counts as deleted.

    Returns:
        The last row of each key, source and export, with the export dates of the source `_again`, when it told of the
        key again, `_following`, its next full export, and `_gone`, that one if it does not hold the key.
    """
    newest = newest_rows(rows, (SOURCE.name, EXPORT_DATE.name, *key))
    history = ibis.window(group_by=[SOURCE.name, *key], order_by=EXPORT_DATE.name)
    newest = newest.mutate(_again=newest[EXPORT_DATE.name].lead().over(history))
    full = ibis.memtable(
        [{"_full_source": source, "_full": day} for source, days in sorted(full_exports.items()) for day in days],
        schema={"_full_source": "string", "_full": "date"},
    )
    exports = rows.select(SOURCE.name, EXPORT_DATE.name).distinct()
    exports = exports.join(
        full, [exports[SOURCE.name] == full["_full_source"], exports[EXPORT_DATE.name] < full["_full"]]
    )
    following = exports.group_by(SOURCE.name, EXPORT_DATE.name).agg(_following=exports["_full"].min())
    following = following.rename(_of_source=SOURCE.name, _of_export=EXPORT_DATE.name)
    told = newest.left_join(
        following,
        [newest[SOURCE.name] == following["_of_source"], newest[EXPORT_DATE.name] == following["_of_export"]],
    ).drop("_of_source", "_of_export")
    is_gone = told["_again"].isnull() | (told["_again"] > told["_following"])
    return told.mutate(_gone=is_gone.ifelse(told["_following"], ibis.null("date")))
