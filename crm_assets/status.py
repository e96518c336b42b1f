"""What stands in a workspace, for people: `crm-assets status` and the lines after a run.

Belongs here: reading and printing. Not here: changing anything.
"""

from collections import Counter
from datetime import date
from typing import Any

import dagster as dg
import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crm_assets.automation.landing import landed_deliveries
from crm_assets.contracts.predicates import KIND_OF_REASON, VALUE_IN_REASON
from crm_assets.definitions import build_defs, lake_of
from crm_assets.settings import Settings
from crm_assets.sources.deliveries import unknown_folders
from crm_assets.sources.mapping import read_sources

SHOWN_DELIVERIES = 10
SHOWN_REASONS = 10

RULE = "recency"
"""The rule that churn models are compared with, as leaderboards name it."""

_COUNTS = {
    "order lines delivered": "SELECT count(*) FROM raw.transactions",
    "validated": "SELECT count(*) FROM validated.transactions",
    "in quarantine": "SELECT count(*) FROM quality.quarantine WHERE table_name = 'transactions'",
    "clean": "SELECT count(*) FROM clean.transactions",
    "customers": "SELECT count(*) FROM profile.customers_current",
    "sales": "SELECT sum(amount) FROM clean.transactions",
    "segments": "SELECT count(*) FROM marts.customer_segments WHERE as_of = $as_of",
    "churn scores": "SELECT count(*) FROM marts.churn_scores WHERE as_of = $as_of",
    "expected value": "SELECT sum(clv) FROM marts.customer_value WHERE as_of = $as_of",
    "cross-sell rules": "SELECT count(*) FROM marts.cross_sell_rules",
}


def print_summary(settings: Settings, console: Console, as_of: date) -> None:
    """Say in a few lines what a run left, and how to look at it."""
    table = Table(title=f"as of {as_of}", show_header=False, title_justify="left")
    table.add_column(justify="left")
    table.add_column(justify="right")
    with duckdb.connect(str(settings.warehouse), read_only=True) as warehouse:
        for label, query in _COUNTS.items():
            value = _value(warehouse, query, as_of)
            if value is not None:
                table.add_row(label, f"{value:,}" if isinstance(value, int) else f"{value:,.2f}")
        figure = _realised_churn(warehouse) or _held_out_churn(warehouse)
    console.print(table)
    if figure:
        console.print(figure, highlight=False, soft_wrap=True)
    console.print(
        'Look closer: crm-assets sql "SELECT * FROM marts.churn_scores ORDER BY churn_probability DESC LIMIT 5"',
        highlight=False,
        soft_wrap=True,
    )


def print_status(settings: Settings, instance: dg.DagsterInstance, console: Console, everything: bool = False) -> None:
    """Exports, partitions, the newest as-of day, quarantine and failing checks."""
    console.print(f"workspace {settings.home}, days from {settings.start_date} to {settings.end_date or 'today'}")
    _print_deliveries(settings, console)
    if not settings.warehouse.exists():
        console.print("nothing has been ingested yet")
        return
    _print_assets(settings, instance, console)
    _print_quarantine(settings, console, everything)
    _print_failing_checks(settings, instance, console)


def _value(warehouse: duckdb.DuckDBPyConnection, query: str, as_of: date | None = None) -> object:
    """The only value of a query; None when its table has not been made."""
    try:
        row = warehouse.execute(query, {"as_of": as_of} if "$as_of" in query else None).fetchone()
    except duckdb.CatalogException:
        return None
    return row[0] if row else None


def _realised_churn(warehouse: duckdb.DuckDBPyConnection) -> str:
    query = (
        "SELECT candidate, avg(value), count(*) FROM quality.churn_performance WHERE metric = 'auc' "
        "GROUP BY candidate ORDER BY candidate"
    )
    means = {candidate: (value, days) for candidate, value, days in _rows(warehouse, query)}
    if "churn_scores" not in means:
        return ""
    score, days = means["churn_scores"]
    return (
        f"churn scores of {days} past {'day' if days == 1 else 'days'}, as they turned out: mean AUC {score:.3f}; "
        f"ranking by recency: {means[RULE][0]:.3f}"
    )


def _held_out_churn(warehouse: duckdb.DuckDBPyConnection) -> str:
    query = (
        "SELECT candidate, value, is_champion FROM quality.leaderboard_churn WHERE metric = 'auc' "
        "AND trained_for = (SELECT max(trained_for) FROM quality.leaderboard_churn)"
    )
    rows = _rows(warehouse, query)
    figures = {candidate: value for candidate, value, _ in rows}
    champion = next((candidate for candidate, _, is_champion in rows if is_champion), RULE)
    if champion == RULE:
        return ""
    return (
        f"churn model ({champion}) on days held out: AUC {figures[champion]:.3f}; "
        f"ranking by recency: {figures[RULE]:.3f}"
    )


def _rows(warehouse: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query; none when its table has not been made."""
    try:
        return warehouse.execute(query).fetchall()
    except duckdb.CatalogException:
        return []


def _print_deliveries(settings: Settings, console: Console) -> None:
    landed = landed_deliveries(settings, lake_of(settings).local)
    states = Counter("ingested" if found.is_ingested else "waiting" for found in landed)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    console.print(f"exports in {settings.exports}: {counts}", soft_wrap=True)
    waiting = [found.delivery.key for found in landed if not found.is_ingested]
    for key in waiting[:SHOWN_DELIVERIES]:
        console.print(f"  waiting: {key}")
    if len(waiting) > SHOWN_DELIVERIES:
        console.print(f"  and {len(waiting) - SHOWN_DELIVERIES} more")
    for folder in unknown_folders(settings.exports, read_sources(settings.sources)):
        console.print(f"  [yellow]no source or date explains {folder}[/yellow]")


def _print_assets(settings: Settings, instance: dg.DagsterInstance, console: Console) -> None:
    table = Table(title="assets", title_justify="left")
    for heading in ("asset", "partitions", "newest"):
        table.add_column(heading, justify="right" if heading == "partitions" else "left")
    graph = build_defs(settings).resolve_asset_graph()
    for key in sorted(graph.materializable_asset_keys, key=lambda key: key.to_user_string()):
        if graph.get(key).partitions_def is None:
            if instance.get_latest_materialization_event(key) is not None:
                table.add_row(".".join(key.path), "", "whole table")
        elif partitions := instance.get_materialized_partitions(key):
            table.add_row(".".join(key.path), str(len(partitions)), max(partitions))
    console.print(table)
    with duckdb.connect(str(settings.warehouse), read_only=True) as warehouse:
        newest = _value(warehouse, "SELECT max(as_of) FROM marts.churn_scores")
    console.print(f"newest as-of day with scores: {newest or 'none'}")


def _print_quarantine(settings: Settings, console: Console, everything: bool) -> None:
    query = (
        "SELECT table_name, regexp_replace(reason, $value, $kind) AS kind, source, export_date, file, count(*) AS rows "
        "FROM (SELECT *, unnest(reasons) AS reason FROM quality.quarantine) GROUP BY ALL "
        "ORDER BY rows DESC, table_name, kind, source, export_date, file"
    )
    with duckdb.connect(str(settings.warehouse), read_only=True) as warehouse:
        total = _value(warehouse, "SELECT count(*) FROM quality.quarantine") or 0
        console.print(f"rows in quarantine: {total:,}")
        if not total:
            return
        counted = warehouse.execute(query, {"value": VALUE_IN_REASON, "kind": KIND_OF_REASON}).fetchall()
    table = Table(title="rows by reason and file", title_justify="left")
    for heading in ("table", "reason", "source", "export", "file", "rows"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for *place, rows in counted if everything else counted[:SHOWN_REASONS]:
        table.add_row(*(escape(str(part)) for part in place), f"{rows:,}")
    console.print(table)
    if len(counted) > SHOWN_REASONS and not everything:
        console.print(f"and {len(counted) - SHOWN_REASONS} more: crm-assets status --all")


def _print_failing_checks(settings: Settings, instance: dg.DagsterInstance, console: Console) -> None:
    graph = build_defs(settings).resolve_asset_graph()
    keys = sorted(graph.asset_check_keys, key=lambda key: (key.asset_key.to_user_string(), key.name))
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    # A run that was stopped leaves checks that it had only planned.
    evaluated = {
        key: record.evaluation
        for key, record in latest.items()
        if isinstance(record.evaluation, dg.AssetCheckEvaluation)
    }
    failing = [(key, evaluation) for key, evaluation in evaluated.items() if not evaluation.passed]
    stopped = f", {len(latest) - len(evaluated)} not, as a run was stopped" if len(evaluated) < len(latest) else ""
    console.print(f"checks: {len(evaluated)} evaluated{stopped}, {len(failing)} failing")
    for key, evaluation in failing:
        console.print(
            f"  {evaluation.severity.value}: {'.'.join(key.asset_key.path)} {key.name}: {evaluation.description or ''}",
            soft_wrap=True,
        )
