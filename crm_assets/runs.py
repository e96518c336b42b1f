"""Runs that the command line starts: ordinary Dagster runs of the same jobs, in this process.

Belongs here: which partitions of which job a command runs. Not here: what a job does, or how a command looks (`cli.py`).
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib import import_module

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from crm_assets.automation.due import due_cleaning, due_ingestion
from crm_assets.automation.history import HISTORY, MADE_BESIDE, history_as_of
from crm_assets.automation.jobs import Parts
from crm_assets.automation.landing import day_ranges, landed_deliveries, touched_days
from crm_assets.automation.requests import PROCESS, deliveries_in_progress, neighbours
from crm_assets.automation.second_process import Wait, second_process
from crm_assets.checks.suite import getting_ready
from crm_assets.contracts.registry import TRAINING_FEATURES, contract_of
from crm_assets.definitions import build_defs, lake_of
from crm_assets.garbage import collect_seldom
from crm_assets.lake.models import trained_months
from crm_assets.lake.processes import this_process
from crm_assets.partitions import DELIVERIES, last_day, month_of, range_tags
from crm_assets.quiet import quiet
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
    "propensity_model": (("quality", "leaderboard_propensity"),),
}
"""Models of a month, each with what is made beside it."""

PAST_MODELS = tuple(
    name for name in MODELS if name not in ("recommender", "forecaster", "response_model", "propensity_model")
)
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

NEEDED_ELSEWHERE = ("statsforecast.models", "lightgbm", "altair")
"""Libraries that take seconds to import, which the second process does before there is work for it."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Progress = Callable[[str], None]
"""Told what is being done, in a few words."""


class RunFailedError(RuntimeError):
    """A run failed; the message says which step and why, and where to look."""


class NothingLandedError(RuntimeError):
    """There is no export to work on; the message says where exports go."""


@dataclass(frozen=True)
class Planned:
    """A run that is to be made.

    Attributes:
        doing: What it does, in a few words for people.
        job: Of which job.
        first: First partition; None where what is made has no partitions.
        last: Last one.
        made: Assets of the job; None for all.
    """

    doing: str
    job: str
    first: str | date | None = None
    last: str | date | None = None
    made: Sequence[dg.AssetKey | Sequence[str]] | None = None


class Runs:
    """The runs of one workspace on one Dagster instance."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, progress: Progress) -> None:
        self.settings = settings
        self.instance = instance
        self.progress = progress
        self.lake = lake_of(settings).local
        self._definitions = build_defs(settings)
        self._begin: Callable[[Sequence[Planned]], Wait] | None = None

    @contextmanager
    def with_help(self) -> Iterator[Callable[[Sequence[Planned]], Wait]]:
        """A second process inside the `with` block, where the settings allow for two, which gets ready meanwhile.

        Yields:
            What begins runs there and gives what waits for them; without a second process they are made at once.
        """
        if self._begin is not None or self.settings.processes == 1 or self.settings.engine != "duckdb":
            yield self._begin or self._make_all
            return
        with second_process(runs_elsewhere, self.instance.get_ref()) as begin:
            self._begin = lambda runs: begin([(self._elsewhere, planned) for planned in runs])
            try:
                yield self._begin
            finally:
                self._begin = None

    @property
    def _elsewhere(self) -> Settings:
        """The settings in the second process: while both work, threads of the one wait for cores that the other has."""
        return self.settings.model_copy(update={"threads": max(1, self.settings.threads // 2)})

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
                doing = f"ingest {len(group)} deliveries" if len(group) > 1 else f"ingest {group[0]}"
                made = due_ingestion(self.settings, self.lake, group)
                self._make_all([Planned(doing, "ingest", group[0], group[-1], made)])
        settings = load_settings(self.settings.home)
        if settings != self.settings:
            # An ingestion that brings an earlier day moves the workspace's first one.
            self.settings = settings
            self._definitions = build_defs(settings)
        return keys

    def clean(self) -> None:
        """Make the clean tables of the days that deliveries touched since they were last made."""
        runs = []
        for work in due_cleaning(self.settings, self.lake):
            if work.days is None:
                runs.append(Planned("clean dimensions", "clean", made=work.assets))
                continue
            first, last = work.days
            doing = f"clean {first}" if first == last else f"clean {first} to {last}"
            runs.append(Planned(doing, "clean", first, last, work.assets))
        # No run needs what another makes.
        half = len(runs) // 2
        others = (self._begin or self._make_all)(runs[:half])
        self._make_all(runs[half:])
        others()

    def score(self, days: Sequence[date], backtested: Sequence[date] = (), history: bool = False) -> None:
        """Make features and marts as of days, training the models of their months that are not there yet.

        Where the settings allow for two processes, what needs no features of customers is made in the second one.

        Args:
            days: Days of which everything is made; of the newest one, besides, what is not partitioned by day.
            backtested: Past days of which only churn is scored, so that `quality.churn_performance` tells how the
                scores turned out.
            history: Make marts of all history anew though they are not due.
        """
        for day in (*days, *backtested):
            self._require_partition(day)
        *past, newest = sorted(set(days))
        untrained = self._untrained(set(map(month_of, days)), set(map(month_of, backtested)))
        looking_back = _scores(set(backtested) - set(days), BACKTESTED)
        left = self._history_left(newest) if not history else ()
        with self.with_help() as begin:
            graph = self._definitions.resolve_asset_graph()
            parts = (Parts.of(graph) if self._begin else Parts.whole(graph)).without(left)
            models_without_features = begin(_trainings(untrained, parts.models_without_features))
            marts_without_features = begin(_scores([newest], parts.marts_without_features))
            self._make_all(self._features_to_learn_from(untrained))
            self._make_all(_trainings(untrained, parts.models))
            models_without_features()
            self._make_all([*looking_back, *_scores(past, DAILY), *_scores([newest], parts.marts)])
            marts_without_features()
            performance = begin(_scores([newest], parts.performance))
            self._make_all(_scores([newest], parts.last_marts))
            performance()

    def make(self, planned: Planned) -> None:
        """Make one run and wait for its end.

        Raises:
            RunFailedError: It failed.
        """
        of_partitions = range_tags(str(planned.first), str(planned.last)) if planned.first is not None else {}
        result = self._definitions.resolve_job_def(planned.job).execute_in_process(
            run_config=QUIET,
            instance=self.instance,
            tags={PROCESS: this_process(), **of_partitions},
            asset_selection=list(map(dg.AssetKey.from_coercible, planned.made)) if planned.made else None,
            raise_on_error=False,
        )
        if not result.success:
            raise RunFailedError(_failure(result))

    def newest_day(self) -> date:
        """The day of the newest event that was ingested.

        Raises:
            NothingLandedError: Nothing has been ingested.
        """
        last = last_day(self.settings)
        days = [day for found in touched_days(self.lake).values() for day in found if last and day <= last]
        if not days:
            raise self._nothing_ingested()
        return max(days)

    def require_exports(self) -> None:
        """Make sure that there is something to work on.

        Raises:
            NothingLandedError: Nothing has landed, nor been ingested before.
        """
        if not landed_deliveries(self.settings, self.lake) and not any(touched_days(self.lake).values()):
            raise self._nothing_ingested()

    def _nothing_ingested(self) -> NothingLandedError:
        return NothingLandedError(
            f"nothing has been ingested: put exports into {self.settings.exports}/<source>/<YYYY-MM-DD>/, "
            "or run `crm-assets demo`"
        )

    def _history_left(self, day: date) -> tuple[dg.AssetKey, ...]:
        """Marts of all history, where they are fresh enough to be left as they are."""
        as_of = history_as_of(self.settings, self.instance, day)
        if as_of is None:
            return ()
        self.progress(f"leave marts of all history as of {as_of} (history_refresh_days)")
        return (*HISTORY, *MADE_BESIDE)

    def _require_partition(self, day: date) -> None:
        first, last = self.settings.start_date, last_day(self.settings)
        if first is None or last is None or not first <= day <= last:
            raise NothingLandedError(
                f"{day} has no partition: the workspace's days run from {first or '(nothing ingested)'} to "
                f"{last or '(none)'}; a day has ended before it is scored"
            )

    def _untrained(self, months: Collection[date], past_months: Iterable[date]) -> dict[date, tuple[str, ...]]:
        """Models that months lack, or what is made beside them, as where a run was killed between the two.

        Months before the last one need those only that scores of past days read.

        Args:
            months: Months of days of which everything is made.
            past_months: Months that need the churn model alone.
        """
        needed: dict[date, tuple[str, ...]] = dict.fromkeys(past_months, BACKTESTED_MODELS)
        needed |= {month: tuple(MODELS) if month == max(months) else PAST_MODELS for month in months}
        beside = {key for keys in MODELS.values() for key in keys}
        made = {key: {month for (month,) in self.lake.partitions(key[0], contract_of(*key))} for key in beside}
        trained = {
            name: trained_months(self.settings.models, name).intersection(*(made[key] for key in keys))
            for name, keys in MODELS.items()
        }
        lacking = {
            month: tuple(name for name in names if month.isoformat() not in trained[name])
            for month, names in needed.items()
        }
        return {month: names for month, names in lacking.items() if names}

    def _features_to_learn_from(self, untrained: Collection[date]) -> list[Planned]:
        """Runs that keep the features which models of months learn from."""
        start = self.settings.start_date
        if not untrained or start is None:
            return []
        kept = {date.fromisoformat(month) for (month,) in self.lake.partitions("features", TRAINING_FEATURES)}
        history = [month for month in _months(start, max(untrained)) if month not in kept]
        made = dg.AssetKey(["features", TRAINING_FEATURES.name])
        doing = "features of the training days"
        return [Planned(doing, "train", first, last, (made,)) for first, last in _ranges_of_months(history)]

    def _make_all(self, runs: Iterable[Planned]) -> Wait:
        for planned in runs:
            self.progress(planned.doing)
            self.make(planned)
        return lambda: None


def runs_elsewhere(instance: InstanceRef) -> Callable[[tuple[Settings, Planned]], None]:
    """What makes runs of a workspace in another process, whose failures can be told to this one."""
    quiet()
    collect_seldom()
    with getting_ready():
        pass
    for library in NEEDED_ELSEWHERE:
        import_module(library)
    runs: Runs | None = None

    def make(piece: tuple[Settings, Planned]) -> None:
        nonlocal runs
        settings, planned = piece
        try:
            if runs is None or runs.settings != settings:
                runs = Runs(settings, dg.DagsterInstance.from_ref(instance), lambda doing: None)
            runs.make(planned)
        except RunFailedError:
            raise
        except Exception as error:
            # Not every exception can be handed to another process.
            raise RunFailedError(f"{planned.doing}: {type(error).__name__}: {error}") from None

    return make


def _trainings(untrained: Mapping[date, tuple[str, ...]], part: Container[dg.AssetKey]) -> list[Planned]:
    """Runs that train the models of months, as far as a part holds them, with what is made beside."""
    runs = []
    for names in sorted(set(untrained.values())):
        keys = [key for name in names for key in (("models", name), *MODELS[name])]
        made = tuple(key for key in map(dg.AssetKey, keys) if key in part)
        for first, last in _ranges_of_months(month for month in untrained if untrained[month] == names and made):
            whole = f"{first:%Y-%m}" if first == last else f"{first:%Y-%m} to {last:%Y-%m}"
            runs.append(Planned(f"train for {whole}", "train", first, last, made))
    return runs


def _scores(days: Iterable[date], made: Collection[dg.AssetKey | Sequence[str]]) -> list[Planned]:
    """Runs that make something of days."""
    return [
        Planned(f"score {first}" if first == last else f"score {first} to {last}", "score", first, last, tuple(made))
        for first, last in day_ranges(days)
        if made
    ]


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
