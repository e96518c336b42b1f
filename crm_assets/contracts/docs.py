"""The page of all tables, written from their contracts: `python -m crm_assets.contracts.docs [path]`.

Belongs here: how a contract reads as Markdown. Not here: any column or description; those stand in the contracts.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from crm_assets.contracts.model import Column, Table
from crm_assets.contracts.registry import LAYERS, RAW_LAYER, UNIONS, lake_tables

PAGE = Path("docs/tables.md")

_LAYERS = {
    "raw": "Rows as delivered, with the columns of the files, so there is no contract.",
    "validated": "Typed rows that meet the contract, by delivery.",
    "clean": "One row per key, values written in one way: events by day, dimensions as versions.",
    "profile": "What each customer is now and did on each day.",
    "features": "What is known of each customer at the end of a day.",
    "models": "What models keep as a table; the models themselves are files under `models/` of the workspace.",
    "marts": "What people use.",
    "quality": "What was delivered, what was rejected, and how models and scores turned out.",
}


def tables_page() -> str:
    """The page as Markdown: a section per layer, and in it each table with its columns."""
    lines = [
        "# Tables",
        "",
        "Written by `make docs` from `crm_assets/contracts`; do not edit. A layer is a schema of the warehouse.",
        "",
        "Types are Ibis types. Times are UTC. `decimal(18, 4)` holds amounts and quantities, so that sums are exact.",
    ]
    for layer in LAYERS:
        lines += ["", f"## {layer}", "", _LAYERS[layer]]
        if layer == RAW_LAYER:
            lines += [
                "",
                "Besides the files' own columns: `_source`, `_export_date`, `_file`, `_file_sha256`, `_line`.",
            ]
        for (place, _), table in lake_tables().items():
            if place == layer:
                lines += ["", *_table(layer, table)]
        if layer == "quality":
            lines += ["", *_unions()]
    return "\n".join(lines) + "\n"


def _table(layer: str, table: Table) -> Iterator[str]:
    yield f"### {layer}.{table.name}"
    yield ""
    yield _cell(table.description)
    yield ""
    yield f"- Key: {_names(table.key)}"
    yield f"- Partitions: {_names(table.partition_by) or 'none'}"
    if table.event_time:
        yield f"- Event time: `{table.event_time}`"
    if table.update_times:
        yield f"- Completed later by: {_names(table.update_times)}"
    if table.notes:
        yield f"- Note: {_cell(table.notes)}"
    yield ""
    yield "| column | type | required | description |"
    yield "|---|---|---|---|"
    for column in table.columns:
        required = "yes" if column.required else ""
        yield f"| `{column.name}` | {column.dtype} | {required} | {_description(column)} |"


def _description(column: Column) -> str:
    rules = [*_rules(column)]
    return _cell(" ".join([column.description, *rules]))


def _rules(column: Column) -> Iterator[str]:
    if column.allowed:
        yield f"One of: {_names(column.allowed)}."
    if column.minimum is not None and column.maximum is not None:
        yield f"From {column.minimum} to {column.maximum}."
    elif column.minimum is not None:
        yield f"At least {column.minimum}."
    elif column.maximum is not None:
        yield f"At most {column.maximum}."
    if column.references:
        yield f"Refers to `{column.references}`."
    if column.personal:
        yield "Personal data."


def _unions() -> Iterator[str]:
    yield "### Views that join tables"
    yield ""
    yield "| view | of | columns |"
    yield "|---|---|---|"
    for name, (prefix, columns) in UNIONS.items():
        yield f"| `quality.{name}` | all `quality.{prefix}*` | {_names(columns)} |"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def main(path: Path = PAGE) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tables_page(), "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
