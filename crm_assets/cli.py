"""The command line: `crm-assets demo | run | status | sql`.

Belongs here: arguments and what is printed. Not here: what a command does (`runs.py`, `status.py`, `demo.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from crm_assets.settings import Settings, SettingsError, load_settings, write_settings

if TYPE_CHECKING:
    from crm_assets.runs import Runs

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)

Home = Annotated[
    Path | None, typer.Option(envvar="CRM_HOME", help="The workspace's folder.", show_default="./data")
]


class Format(StrEnum):
    """How the rows of a query are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.callback()
def main() -> None:
    """Customer-data mining: from CRM exports to segments, churn probabilities and cross-sell rules."""


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
    _print_summary(settings)


@app.command()
def run(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day seen.", show_default="the newest event's day")
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
    from crm_assets.status import print_status

    print_status(_settings(home), Console())


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="Layers are schemas: SELECT * FROM marts.churn_scores LIMIT 5")],
    format: Annotated[Format, typer.Option(help="csv and json print the rows and nothing else.")] = Format.TABLE,
    home: Home = None,
) -> None:
    """Query the published warehouse."""
    import duckdb

    settings = _settings(home)
    if not settings.warehouse.exists():
        _fail(f"{settings.warehouse} does not exist yet: run `crm-assets demo` or `crm-assets run` first")
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
def _runs(settings: Settings) -> "Iterator[tuple[Runs, Any]]":
    """The runs of a workspace, with a line on a terminal that says what is going on; silent in a pipe."""
    from crm_assets.automation.instance import open_instance
    from crm_assets.runs import NothingLandedError, RunFailedError, Runs, quiet_dagster

    quiet_dagster()
    started: list[tuple[str, float]] = []
    with open_instance(settings.home) as instance, console.status("starting") as line:

        def report(doing: str) -> None:
            line.update(doing)
            started.append((doing, 0.0))
            if console.is_terminal and not doing.startswith("lay down exports "):
                console.print(f"[dim]{datetime.now():%H:%M:%S}[/dim] {doing}")

        try:
            yield Runs(settings, instance, report), report
        except (RunFailedError, NothingLandedError, ValueError) as error:
            line.stop()
            _fail(str(error))


def _settings(home: Path | None) -> Settings:
    try:
        return load_settings(home)
    except SettingsError as error:
        _fail(str(error))
        raise


def _fail(message: str) -> None:
    console.print(f"[red]error:[/red] {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _print_rows(result: Any, format: Format) -> None:
    if result is None:
        return
    if format is Format.TABLE:
        result.show(max_width=Console().width, max_rows=100)
        return
    frame = result.to_df()
    if format is Format.CSV:
        typer.echo(frame.to_csv(index=False), nl=False)
    else:
        typer.echo(frame.to_json(orient="records", date_format="iso", force_ascii=False))


def _print_summary(settings: Settings, day: date | None = None) -> None:
    from crm_assets.status import print_summary

    print_summary(settings, Console(stderr=not Console().is_terminal), day)
