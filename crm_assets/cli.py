"""The command line: `crm-assets demo | run | status | sql | sources`.

Belongs here: arguments and what is printed. Not here: what a command does (`runs.py`, `status.py`, `demo.py`).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from crm_assets.garbage import collect_seldom
from crm_assets.quiet import quiet
from crm_assets.settings import Settings, SettingsError, load_settings, write_settings

if TYPE_CHECKING:
    from crm_assets.runs import Runs

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
sources_app = typer.Typer(no_args_is_help=True, help="List, check and draft the mappings of sources.")
app.add_typer(sources_app, name="sources")
console = Console(stderr=True)

WIDE = 240
"""Characters of a line where there is no terminal to fit."""

SHOWN_ROWS = 100
"""Rows of a table; csv and json print all of them."""

Home = Annotated[Path | None, typer.Option(envvar="CRM_HOME", help="The workspace's folder.", show_default="./data")]

Backtest = Annotated[
    list[datetime] | None,
    typer.Option(
        formats=["%Y-%m-%d"],
        help="A past day whose churn is scored too, as on that day, to see how it turned out; may be repeated.",
        show_default="none",
    ),
]


class Format(StrEnum):
    """How the rows of a query are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.callback()
def main() -> None:
    """Customer-data mining: from CRM exports to segments, churn probabilities, customer value and cross-sell rules."""
    quiet()
    collect_seldom()


@app.command()
def demo(backtest: Backtest = None, home: Home = None) -> None:
    """Lay down a year of real retail data as exports and run everything on it."""
    from crm_assets import demo as demonstration
    from crm_assets.checks.suite import getting_ready

    settings = _settings(home)
    if settings.end_date is None:
        settings = write_settings(settings.home, end_date=demonstration.LAST_DAY)
    with _runs(settings) as (runs, report):
        with getting_ready():
            report("lay down exports")
            demonstration.lay_down_exports(
                runs.lake.engine.local, settings.exports, lambda done, total: report(f"lay down exports {done}/{total}")
            )
        with runs.with_help():
            runs.ingest()
            runs.clean()
            runs.score([demonstration.LAST_DAY], _days(backtest))
    _print_summary(runs.settings, demonstration.LAST_DAY)


@app.command()
def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day seen.", show_default="the newest event's day"),
    ] = None,
    backtest: Backtest = None,
    history: Annotated[
        bool, typer.Option("--history", help="Make marts of all history anew though history_refresh_days leaves them.")
    ] = False,
    home: Home = None,
) -> None:
    """Ingest what has landed and refresh everything up to a day; a day that exists is rebuilt."""
    with _runs(_settings(home)) as (runs, _):
        runs.require_exports()
        with runs.with_help():
            runs.ingest()
            day = as_of.date() if as_of else runs.newest_day()
            runs.clean()
            runs.score([day], _days(backtest), history)
    _print_summary(runs.settings, day)


@app.command()
def status(
    everything: Annotated[bool, typer.Option("--all", help="Every reason and file in quarantine.")] = False,
    home: Home = None,
) -> None:
    """Show exports, partitions, the newest as-of day and failing checks."""
    from crm_assets.automation.instance import open_instance
    from crm_assets.status import print_status

    settings = _settings(home)
    with open_instance(settings.home) as instance:
        print_status(settings, instance, Console(), everything)


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
        # By default two readers at once would spill into the same files.
        with (
            tempfile.TemporaryDirectory() as spill,
            duckdb.connect(str(settings.warehouse), read_only=True, config={"temp_directory": spill}) as connection,
        ):
            result = connection.sql(query)
            _print_rows(result, format)
    except duckdb.Error as error:
        _fail(str(error))


@sources_app.command("list")
def list_sources(home: Home = None) -> None:
    """List bundled and own sources with the tables they deliver."""
    from crm_assets.sources.mapping import MappingError, own_and_bundled, read_source

    for path, is_own in own_and_bundled(_settings(home).sources):
        try:
            tables = ", ".join(read_source(path).tables)
        except MappingError as error:
            tables = f"cannot be used: {str(error).splitlines()[0]}"
        typer.echo(f"{path.stem}  {'own' if is_own else 'bundled'}  {tables}")


@sources_app.command("check")
def check_sources(
    source: Annotated[str | None, typer.Argument(help="One source.", show_default="every source with exports")] = None,
    files: Annotated[list[Path] | None, typer.Option("--files", "-f", help="Files in place of what landed.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each file that are judged.")] = 1000,
    all_exports: Annotated[bool, typer.Option("--all", help="Every export, not the newest alone.")] = False,
    home: Home = None,
) -> None:
    """Read mappings and files, and say what is wrong before anything runs; exit code 1 where something is."""
    from crm_assets.definitions import lake_of
    from crm_assets.sources.check import check_source
    from crm_assets.sources.landed import landed_files, mappings_to_check
    from crm_assets.sources.mapping import MappingError, read_source

    settings = _settings(home)
    problems = 0
    try:
        chosen = mappings_to_check(settings.sources, settings.exports, source, files or [])
    except MappingError as error:
        _fail(str(error))
    for path in chosen:
        try:
            mapping = read_source(path)
        except MappingError as error:
            typer.echo("\n".join(f"problem  {line}" for line in str(error).splitlines()))
            problems += 1
            continue
        landed = landed_files(settings.exports, mapping.source, files or [], all_exports)
        report = check_source(lake_of(settings).engine.local, mapping, landed, rows)
        problems += len(report.problems)
        for finding in report.findings:
            typer.echo(f"{'problem' if finding.is_problem else 'note':7}  {finding.place}: {finding.message}")
        for judged in report.judged:
            state = "ok" if judged.valid else "none"
            typer.echo(
                f"{state:7}  {judged.file}: {judged.table}: {judged.rows:,} rows, "
                f"{judged.valid:,} valid, {judged.rejected:,} rejected"
            )
    if problems:
        _fail(f"{problems} problem{'s' if problems > 1 else ''}")


@sources_app.command("sketch")
def sketch_source(
    files: Annotated[list[Path], typer.Argument(help="Exports of an unknown form.", exists=True, dir_okay=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the source.", show_default="the output's or folder's")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write, which must not exist.")] = None,
    home: Home = None,
) -> None:
    """Draft a mapping from exports, for you to finish: `# ?` marks what was guessed, TODO what is missing."""
    from crm_assets.definitions import lake_of
    from crm_assets.sources.sketch import sketch

    if output and output.exists():
        _fail(f"{output} exists; choose another name or take it away")
    try:
        draft = sketch(lake_of(_settings(home)).engine.local, files, name or (output.stem if output else None))
    except ValueError as error:
        _fail(str(error))
    if output is None:
        typer.echo(draft, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(draft, "utf-8")
    typer.echo(f"{output}: look at what is marked `# ?` and TODO, then `crm-assets sources check {output.stem}`")


@sources_app.command("schema")
def mapping_schema() -> None:
    """Print the JSON Schema of mappings, for editors."""
    from crm_assets.sources.schema import schema_text

    typer.echo(schema_text(), nl=False)


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


def _days(given: list[datetime] | None) -> list[date]:
    return [moment.date() for moment in given or []]


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
