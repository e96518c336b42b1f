"""Marts of all history: those that one more day hardly changes, and whether they are due.

Belongs here: which they are, and as of which day they stand. Not here: making them (`runs.py`), when jobs run
(`schedules.py`).
"""

from datetime import date, timedelta

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from crm_assets.partitions import RANGE_END
from crm_assets.settings import Settings

HISTORY = tuple(
    dg.AssetKey(["marts", name])
    for name in (
        "cross_sell_rules",
        "sequential_rules",
        "cross_sell_offers",
        "up_sell_offers",
        "recommendations",
        "behaviour_cohorts",
        "behaviour_repeats",
        "behaviour_gaps",
        "behaviour_revenue_changes",
        "behaviour_campaign_effects",
    )
)
"""What looks at months of orders, so that a day more or less changes little, and takes long."""

MADE_BESIDE = (dg.AssetKey(["quality", "leaderboard_up_sell"]),)
"""What the assets of some of them make besides."""


def history_as_of(settings: Settings, instance: dg.DagsterInstance, day: date) -> date | None:
    """The day that marts of all history stand as of, where they need not be made anew on a day; None where they are due.

    They are due on every `history_refresh_days`-th day, counted so that seven are the weeks that end on Sundays, on the
    first day after one that was missed, and where one of them was never made.

    Args:
        settings: Of the workspace.
        instance: That knows what was made.
        day: Of which everything else is made.
    """
    days = settings.history_refresh_days
    if days == 1:
        return None
    made = [_made_as_of(instance, key) for key in HISTORY]
    known = [found for found in made if found is not None]
    is_fresh = len(known) == len(made) and min(known) >= day - timedelta(days=day.toordinal() % days)
    return min(known) if is_fresh else None


def _made_as_of(instance: dg.DagsterInstance, key: dg.AssetKey) -> date | None:
    """The last day of the run that last made an asset; None where there is none."""
    event = instance.get_latest_materialization_event(key)
    run = instance.get_run_by_id(event.run_id) if event is not None else None
    day = (run.tags.get(RANGE_END) or run.tags.get(PARTITION_NAME_TAG)) if run is not None else None
    return date.fromisoformat(day) if day else None
