"""Schedules: the daily refresh and the monthly training.

Belongs here: when jobs run by the clock. Not here: what they run (`jobs.py`).
"""

from datetime import timedelta

import dagster as dg

from crm_assets.automation.history import HISTORY, MADE_BESIDE, history_as_of
from crm_assets.automation.jobs import REFRESH, refresh, train
from crm_assets.settings import Settings


def all_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Every schedule, in the workspace's time zone."""
    closed = f"the workspace ends on {settings.end_date} (end_date in crm.toml)" if settings.end_date else None

    @dg.schedule(job=refresh, cron_schedule="0 5 * * *", execution_timezone=settings.timezone)
    def daily_refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Scores of yesterday, the newest complete day, at 05:00."""
        if closed:
            return dg.SkipReason(closed)
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        if settings.start_date is None or yesterday < settings.start_date:
            return dg.SkipReason("nothing has been ingested yet, or the code location was loaded before it was")
        made = None
        if history_as_of(settings, context.instance, yesterday) is not None:
            made = sorted(REFRESH.resolve(context.repository_def.asset_graph) - {*HISTORY, *MADE_BESIDE})
        return dg.RunRequest(run_key=f"refresh:{yesterday}", partition_key=yesterday.isoformat(), asset_selection=made)

    @dg.schedule(job=train, cron_schedule="0 6 1 * *", execution_timezone=settings.timezone)
    def monthly_training(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Models of the month that begins, on the 1st at 06:00, after the last day of the old month was refreshed."""
        if closed:
            return dg.SkipReason(closed)
        month = context.scheduled_execution_time.date().replace(day=1)
        if settings.start_date is None:
            return dg.SkipReason("nothing has been ingested yet, or the code location was loaded before it was")
        return dg.RunRequest(run_key=f"train:{month}", partition_key=month.isoformat())

    return [daily_refresh, monthly_training]
