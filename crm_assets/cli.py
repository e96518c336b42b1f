"""The command line: `crm-assets demo | run | status | sql`.

Belongs here: arguments and what is printed. Not here: what a command does (`runs.py`, `status.py`, `demo.py`).
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from crm_assets.settings import Settings, SettingsError, load_settings, write_settings

if TYPE_CHECKING:
    from crm_assets.runs import Runs

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)

WIDE = 240
"""Characters of a line where there is no terminal to fit."""

SHOWN_ROWS = 100
"""Rows of a table; csv and json print all of them."""

Home = Annotated[Path | None, typer.Option(envvar="CRM_HOME", help="The workspace's folder.", show_default="./data")]


class Format(StrEnum):
    """How the rows of a query are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.callback()
def main() -> None:
    """Customer-data mining: from CRM exports to segments, churn probabilities and cross-sell rules."""
    # The libraries' warnings are meant for developers; the commands' own messages are printed by themselves.
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").propagate = False
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())


@app.command()
def demo(home: Home = None) -> None:
    """Lay down a year of real retail data as exports and run everything on it."""
    from crm_assets import demo as demonstration

    settings = _settings(home)
    if settings.end_date is None:
        settings = write_settings(settings.home, end_date=demonstration.LAST_DAY)
    with _runs(settings) as (runs, report):
        report("lay down exports")
        demonstration.lay_down_exports(
            runs.lake.engine, settings.exports, lambda done, total: report(f"lay down exports {done}/{total}")
        )
        runs.ingest()
        runs.clean()
        runs.score([*demonstration.BACKTEST_DAYS, demonstration.LAST_DAY])
    _print_summary(runs.settings, demonstration.LAST_DAY)


@app.command()
def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day seen.", show_default="the newest event's day"),
    ] = None,
    home: Home = None,
) -> None:
    """Ingest what has landed and refresh everything up to a day; a day that exists is rebuilt."""
    with _runs(_settings(home)) as (runs, _):
        runs.ingest()
        day = as_of.date() if as_of else runs.newest_day()
        runs.clean()
        runs.score([day])
    _print_summary(runs.settings, day)


@app.command()
def status(home: Home = None) -> None:
    """Show exports, partitions, the newest as-of day and failing checks."""
    from crm_assets.automation.instance import open_instance
    from crm_assets.status import print_status

    settings = _settings(home)
    with open_instance(settings.home) as instance:
        print_status(settings, instance, Console())


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="Layers are schemas: SELECT * FROM marts.churn_scores LIMIT 5")],
    format: Annotated[Format, typer.Option(help="csv and json print the rows and nothing else.")] = Format.TABLE,
    home: Home = None,
) -> None:
    """Query the published warehouse."""
    import duckdb

    from crm_assets.definitions import warehouse_of

    settings = _settings(home)
    if not settings.lake.exists():
        _fail(f"{settings.lake} does not exist yet: run `crm-assets demo` or `crm-assets run` first")
    if not (warehouse := warehouse_of(settings)).is_current():
        warehouse.publish()
    try:
        with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
            result = connection.sql(query)
            _print_rows(result, format)
    except duckdb.Error as error:
        _fail(str(error))


@app.command(hidden=True)
def version() -> None:
    """Print the version."""
    from crm_assets import __version__

    typer.echo(__version__)


@contextmanager
def _runs(settings: Settings) -> "Iterator[tuple[Runs, Callable[[str], None]]]":
    """The runs of a workspace, with what is going on shown on a terminal; silent in a pipe."""
    from crm_assets.automation.instance import open_instance
    from crm_assets.runs import NothingLandedError, RunFailedError, Runs

    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        stages: list[TaskID] = []

        def report(doing: str) -> None:
            stage = doing.split(" ")[0]
            if stages and progress.tasks[stages[-1]].description.split(" ")[0] == stage == "lay":
                progress.update(stages[-1], description=doing)
                return
            if stages:
                progress.update(stages[-1], completed=1, total=1)
            stages.append(progress.add_task(doing, total=1))

        try:
            with open_instance(settings.home) as instance:
                yield Runs(settings, instance, report), report
        except (RunFailedError, NothingLandedError, ValueError, RuntimeError) as error:
            progress.stop()
            _fail(str(error))
        if stages:
            progress.update(stages[-1], completed=1, total=1)


def _settings(home: Path | None) -> Settings:
    try:
        return load_settings(home)
    except SettingsError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    console.print(f"[red]error:[/red] {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _print_rows(result: Any, format: Format) -> None:
    if result is None:
        return
    if format is Format.TABLE:
        result.show(max_width=console.width if console.is_terminal else WIDE, max_rows=SHOWN_ROWS)
        return
    frame = result.to_df()
    if format is Format.CSV:
        typer.echo(frame.to_csv(index=False), nl=False)
    else:
        typer.echo(frame.to_json(orient="records", date_format="iso", force_ascii=False))


def _print_summary(settings: Settings, as_of: date) -> None:
    from crm_assets.status import print_summary

    print_summary(settings, Console(), as_of)


if __name__ == "__main__":
    app()
