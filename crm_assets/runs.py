"""Runs that the command line starts: ordinary Dagster runs of the same jobs, in this process.

Belongs here: which partitions of which job a command runs. Not here: what a job does, or how a command looks (`cli.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date

import dagster as dg

from crm_assets.automation.due import due_cleaning, due_ingestion
from crm_assets.automation.landing import day_ranges, landed_deliveries, touched_days
from crm_assets.automation.requests import PROCESS, deliveries_in_progress, neighbours
from crm_assets.checks.suite import getting_ready
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.definitions import build_defs, lake_of
from crm_assets.lake.models import trained_months
from crm_assets.lake.processes import this_process
from crm_assets.partitions import DELIVERIES, last_day, month_of, range_tags
from crm_assets.settings import Settings, load_settings

MODELS: dict[str, tuple[tuple[str, str], ...]] = {
    "churn_model": (("models", "rfm_cuts"), ("quality", "leaderboard_churn")),
    "customer_clusters": (("quality", "segment_stability"), ("quality", "segment_migration")),
    "customer_value": (("quality", "leaderboard_customer_value"),),
    "lifecycle_rules": (),
    "subscription_churn": (("quality", "leaderboard_subscription_churn"),),
    "purchase_model": (("quality", "leaderboard_purchases"),),
    "segment_rules": (),
    "recommender": (("quality", "leaderboard_recommendations"),),
    "forecaster": (("quality", "leaderboard_forecast"),),
    "response_model": (("quality", "leaderboard_response"),),
}
"""Models of a month, each with what is made beside it."""

PAST_MODELS = tuple(name for name in MODELS if name not in ("recommender", "forecaster", "response_model"))
"""What looks ahead from the newest day only is left out; a backfill in the UI makes it for past months too."""

BACKTESTED_MODELS = ("churn_model",)

BACKTESTED = (("features", "customer_features"), ("marts", "churn_scores"))
"""What is made of a day whose churn alone is looked at."""

DAILY = (
    ("features", "customer_features"),
    ("marts", "customer_segments"),
    ("marts", "churn_scores"),
    ("marts", "subscription_churn_scores"),
    ("marts", "customer_value"),
    ("marts", "lifecycle"),
    ("marts", "retention_queue"),
    ("marts", "behaviour_predictions"),
    ("quality", "lifecycle_transitions"),
    ("quality", "drift"),
)
"""What is made of a past day; the newest day has besides what is not partitioned by day and what describes segments."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Progress = Callable[[str], None]
"""Told what is being done, in a few words."""


class RunFailedError(RuntimeError):
    """A run failed; the message says which step and why, and where to look."""


class NothingLandedError(RuntimeError):
    """There is no export to work on; the message says where exports go."""


class Runs:
    """The runs of one workspace on one Dagster instance."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, progress: Progress) -> None:
        self.settings = settings
        self.instance = instance
        self.progress = progress
        self.lake = lake_of(settings).local
        self._definitions = build_defs(settings)

    def ingest(self) -> list[str]:
        """Ingest every delivery that is new or has changed, and return their partition keys."""
        landed = landed_deliveries(self.settings, self.lake)
        known = set(self.instance.get_dynamic_partitions(DELIVERIES))
        # All of them, since an instance that was made anew knows none.
        if unknown := [key for found in landed if (key := found.delivery.key) not in known]:
            self.instance.add_dynamic_partitions(DELIVERIES, unknown)
        busy = deliveries_in_progress(self.instance)
        keys = [found.delivery.key for found in landed if not found.is_ingested]
        for key in [key for key in keys if key in busy]:
            self.progress(f"leave {key} to run {busy[key]}, which is ingesting it")
            keys.remove(key)
        if not keys:
            return []
        with getting_ready():
            for group in neighbours(keys, list(self.instance.get_dynamic_partitions(DELIVERIES))):
                self.progress(f"ingest {len(group)} deliveries" if len(group) > 1 else f"ingest {group[0]}")
                self._run("ingest", group[0], group[-1], due_ingestion(self.settings, self.lake, group))
        settings = load_settings(self.settings.home)
        if settings != self.settings:
            # An ingestion that brings an earlier day moves the workspace's first one.
            self.settings = settings
            self._definitions = build_defs(settings)
        return keys

    def clean(self) -> None:
        """Make the clean tables of the days that deliveries touched since they were last made."""
        for work in due_cleaning(self.settings, self.lake):
            if work.days is None:
                self.progress("clean dimensions")
                self._run("clean", selection=work.assets)
                continue
            first, last = work.days
            self.progress(f"clean {first}" if first == last else f"clean {first} to {last}")
            self._run("clean", first, last, work.assets)

    def train(self, months: Iterable[date], backtested: Iterable[date] = ()) -> None:
        """Train the models of months that have none yet, and keep the features they learn from.

        Months before the last one get those only that scores of past days need, backtested ones the churn model.
        """
        wanted = set(months)
        missing = {month: self._untrained(month, BACKTESTED_MODELS) for month in backtested}
        newest = max(wanted, default=None)
        missing |= {month: self._untrained(month, MODELS if month == newest else PAST_MODELS) for month in wanted}
        needed = sorted(month for month, names in missing.items() if names)
        start = self.settings.start_date
        if not needed or start is None:
            return
        kept = {date.fromisoformat(month) for (month,) in self.lake.partitions("features", TRAINING_FEATURES)}
        history = [month for month in _months(start, needed[-1]) if month not in kept]
        for first, last in _ranges_of_months(history):
            self.progress("features of the training days")
            self._run("train", first, last, [["features", TRAINING_FEATURES.name]])
        for names in sorted({missing[month] for month in needed}):
            made = [*(("models", name) for name in names), *(key for name in names for key in MODELS[name])]
            for first, last in _ranges_of_months(month for month in needed if missing[month] == names):
                whole = f"{first:%Y-%m}" if first == last else f"{first:%Y-%m} to {last:%Y-%m}"
                self.progress(f"train for {whole}")
                self._run("train", first, last, made)

    def score(self, days: Sequence[date], backtested: Sequence[date] = ()) -> None:
        """Make features and marts as of days, training the models they need first.

        Args:
            days: Days of which everything is made; of the newest one, besides, what is not partitioned by day.
            backtested: Past days of which only churn is scored, so that `quality.churn_performance` tells how the
                scores turned out.
        """
        for day in (*days, *backtested):
            self._require_partition(day)
        self.train(map(month_of, days), map(month_of, backtested))
        *past, newest = sorted(set(days))
        for group, made in ((set(backtested) - set(days), BACKTESTED), (past, DAILY)):
            for first, last in day_ranges(group):
                self.progress(f"score {first}" if first == last else f"score {first} to {last}")
                self._run("score", first, last, made)
        self.progress(f"score {newest}")
        self._run("score", newest, newest)

    def newest_day(self) -> date:
        """The day of the newest event that was ingested.

        Raises:
            NothingLandedError: Nothing has been ingested.
        """
        last = last_day(self.settings)
        days = [day for found in touched_days(self.lake).values() for day in found if last and day <= last]
        if not days:
            raise NothingLandedError(
                f"nothing has been ingested: put exports into {self.settings.exports}/<source>/<YYYY-MM-DD>/, "
                "or run `crm-assets demo`"
            )
        return max(days)

    def _require_partition(self, day: date) -> None:
        first, last = self.settings.start_date, last_day(self.settings)
        if first is None or last is None or not first <= day <= last:
            raise NothingLandedError(
                f"{day} has no partition: the workspace's days run from {first or '(nothing ingested)'} to "
                f"{last or '(none)'}; a day has ended before it is scored"
            )

    def _untrained(self, month: date, needed: Iterable[str]) -> tuple[str, ...]:
        """Models that a month lacks; a workspace of an earlier version has some of them."""
        return tuple(name for name in needed if month.isoformat() not in trained_months(self.settings.models, name))

    def _run(
        self,
        job: str,
        first: object = None,
        last: object = None,
        selection: Sequence[Sequence[str] | dg.AssetKey] | None = None,
    ) -> None:
        result = self._definitions.resolve_job_def(job).execute_in_process(
            run_config=QUIET,
            instance=self.instance,
            tags={PROCESS: this_process()} | (range_tags(str(first), str(last)) if first is not None else {}),
            asset_selection=list(map(dg.AssetKey.from_coercible, selection)) if selection else None,
            raise_on_error=False,
        )
        if not result.success:
            raise RunFailedError(_failure(result))


def _failure(result: dg.ExecuteInProcessResult) -> str:
    run = f"run {result.run_id} of job {result.dagster_run.job_name} failed"
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message.strip() if error is not None else "no message"
            return f"{run} at {event.step_key}:\n{message}"
    return f"{run}; `dagster run list` and the UI show more"


def _months(first: date, last: date) -> list[date]:
    months = [month_of(first)]
    while months[-1] < month_of(last):
        months.append(_next_month(months[-1]))
    return months


def _next_month(month: date) -> date:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _ranges_of_months(months: Iterable[date]) -> list[tuple[date, date]]:
    ranges: list[tuple[date, date]] = []
    for month in sorted(set(months)):
        if ranges and _next_month(ranges[-1][1]) == month:
            ranges[-1] = ranges[-1][0], month
        else:
            ranges.append((month, month))
    return ranges
