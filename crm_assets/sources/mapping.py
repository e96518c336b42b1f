"""What a source mapping is: the YAML file that says how a CRM's exports become canonical tables.

Belongs here: the mapping's model and how it is read. Not here: reading data files (`readers.py`) or rows (`rows.py`).
"""

import difflib
import hashlib
import json
import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from crm_assets.contracts.canonical import CANONICAL

SOURCE_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")


class MappingError(ValueError):
    """A mapping cannot be used; the message names the file, the place and what to write instead."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_or_more(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


class ColumnMapping(_Model):
    """Where a canonical column comes from: exactly one of `column`, `sql`, `row_number` or `value`."""

    column: Annotated[tuple[str, ...] | None, BeforeValidator(_one_or_more)] = Field(
        None,
        description="A column of the file; of several names, such as those of two languages, the first with a value.",
    )
    format: str | None = Field(None, description="With `column`: the strptime format of its dates.")
    values: Mapping[str, str] | None = Field(None, description="With `column`: replacements for codes.")
    sql: str | None = Field(None, description="An expression over the file's columns, DuckDB's dialect.")
    row_number: tuple[str, ...] | None = Field(
        None, description="Number rows within these columns, canonical or of the file, in file order."
    )
    value: str | int | float | bool | None = Field(None, description="The same value for every row.")

    @model_validator(mode="after")
    def _one_origin(self) -> "ColumnMapping":
        given = [name for name in ("column", "sql", "row_number", "value") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("name exactly one of column, sql, row_number and value")
        if given != ["column"] and (self.format or self.values):
            raise ValueError("format and values go with column")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the file it names; those inside `sql` are not known."""
        return self.column or self.row_number or ()


def _short_form(value: Any) -> Any:
    return {"column": value} if isinstance(value, str | list) else value


class CsvOptions(_Model):
    """How the text files of a table are written, where detection would be wrong."""

    delimiter: str | None = Field(None, min_length=1, max_length=1)
    quote: str | None = Field(None, max_length=1)
    encoding: str | None = None
    header: bool | int | None = Field(None, description="Whether there is a header, or the line it stands on, from 1.")


class FillDown(_Model):
    """Columns that stand on the first row of a group only, such as those of an order on its first line."""

    within: tuple[str, ...] = Field(
        min_length=1, description="Columns that say which rows belong together; an empty one is that of the row above."
    )
    columns: tuple[str, ...] = Field(
        min_length=1, description="Columns that, where empty, have the value of the row above, in the same file."
    )


class Lookup(_Model):
    """Columns of another file of the delivery, such as those of the order for its lines."""

    files: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)] = Field(
        description="Glob of file names within the delivery, or several of them."
    )
    match: Mapping[str, str] = Field(min_length=1, description="Column of this file to the same key of the other file.")
    prefix: str = Field(min_length=1, description="Put before the names of the other file's columns.")


class TableMapping(_Model):
    """How rows of one canonical table are read from some files of a delivery."""

    files: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)] = Field(
        description="Glob of file names within the delivery, or several of them."
    )
    csv: CsvOptions = Field(default_factory=lambda: CsvOptions.model_validate({}))
    sheet: str | None = Field(None, description="Sheet of a workbook; by default the first one that holds rows.")
    decimal: Literal[".", ","] = Field(".", description="The decimal sign of numbers in text.")
    dates: Literal["dmy", "mdy"] | None = Field(
        None, description="Order of day and month where a date such as 03/04/2024 does not tell; else it is rejected."
    )
    deleted: Literal["by_absence"] | None = Field(
        None, description="Each export holds every row, so that one missing from a later export was deleted."
    )
    lookup: tuple[Lookup, ...] = Field((), description="Columns to take from other files of the delivery.")
    fill_down: FillDown | None = Field(None, description="Values to repeat on the rows below.")
    where: str | None = Field(None, description="Rows to keep, DuckDB's dialect; the others go to quarantine.")
    columns: Mapping[str, Annotated[ColumnMapping, BeforeValidator(_short_form)]]


@cache
def _timezones() -> set[str]:
    return zoneinfo.available_timezones()


def _as_parts(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


class Source(_Model):
    """One source: its time zone, and the canonical tables its files hold."""

    source: str
    timezone: str = "UTC"
    id_prefix: str = Field(
        "", description="Put before every identifier, where other sources use the same ones for other things."
    )
    tables: Mapping[str, Annotated[tuple[TableMapping, ...], BeforeValidator(_as_parts), Field(min_length=1)]] = Field(
        description="One mapping a table, or a list of them where files of different columns feed it."
    )

    @field_validator("source")
    @classmethod
    def _source_name(cls, name: str) -> str:
        if not SOURCE_NAME.fullmatch(name):
            raise ValueError("use lower-case letters, digits and single - or _ between them")
        return name

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        if name not in _timezones():
            raise ValueError(f"{name!r} is not an IANA time zone{nearest(name, _timezones())}")
        return name

    @field_validator("tables")
    @classmethod
    def _canonical_names(cls, tables: Mapping[str, tuple[TableMapping, ...]]) -> Mapping[str, tuple[TableMapping, ...]]:
        for name in tables:
            if name not in CANONICAL:
                raise ValueError(f"there is no table {name!r}{nearest(name, CANONICAL)}")
        for name, part in ((name, part) for name, parts in tables.items() for part in parts):
            known = CANONICAL[name].by_name
            for mapped in part.columns:
                if mapped not in known:
                    raise ValueError(f"{name} has no column {mapped!r}{nearest(mapped, known)}")
            for column in known.values():
                if column.required and column.name not in part.columns:
                    raise ValueError(f"{name} needs a mapping for {column.name!r}: {column.description}")
        return tables


def mapping_sha256(source: Source) -> str:
    """Digest of what a mapping says, whatever its comments and the order of its keys."""
    said = source.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def part_of(parts: Sequence[TableMapping], file: str) -> TableMapping | None:
    """The part of a table's mapping that reads a file: the first whose glob matches its name."""
    return next((part for part in parts if matches(part.files, file)), None)


def matches(globs: Iterable[str], file: str) -> bool:
    """Whether the name of a delivery's file fits one of the globs.

    A member of an archive is named `orders.zip/orders_1.csv`; a glob may match it, or the archive.
    """
    archive = re.match(r"(?i).*?\.zip(?=/)", file)
    names = [file, archive.group()] if archive else [file]
    return any(Path(name).match(glob) for glob in globs for name in names)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def read_source(path: Path) -> Source:
    """Read one mapping, with what it takes from the bundled one that it extends.

    Raises:
        MappingError: It is not YAML, or not a mapping of this form.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise MappingError(f"{path.name} is not UTF-8: {error}; save it in that encoding") from error
    return _parsed(path, text)


@lru_cache(maxsize=256)
def _parsed(path: Path, text: str) -> Source:
    """The mapping that a text says; each step of a run asks for all of them, and parsing takes as long as the step."""
    try:
        source = Source.model_validate(_extended(path, yaml.safe_load(text)))
    except yaml.YAMLError as error:
        raise MappingError(f"{path.name} is not YAML: {error}") from error
    except ValidationError as error:
        problems = [
            # The first of a table's mappings needs no number: most tables have one only.
            f"{path.name}: {'.'.join(str(step) for step in item['loc'] if step != 0)}: "
            f"{item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        ]
        raise MappingError("\n".join(problems)) from error
    if source.source != path.stem:
        raise MappingError(f"{path.name}: source is {source.source!r}; name the file {source.source}.yaml")
    return source


def _extended(path: Path, document: Any) -> Any:
    """The document over the bundled mapping that it extends: its tables replace those of the same name."""
    if not isinstance(document, dict) or "extends" not in document:
        return document
    name = document["extends"]
    bundled = _bundled()
    if name not in bundled:
        raise MappingError(f"{path.name}: extends: there is no bundled source {name!r}{nearest(str(name), bundled)}")
    base = yaml.safe_load(bundled[name].read_text("utf-8"))
    own = {key: value for key, value in document.items() if key != "extends"}
    if not isinstance(own.get("tables", {}), dict):
        return own
    return {**base, **own, "tables": {**base["tables"], **own.get("tables", {})}}


def _bundled() -> dict[str, Path]:
    folder = Path(str(resources.files(__package__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_sources(folder: Path) -> dict[str, Source]:
    """The bundled sources and the user's own in `folder`, by name; a user's own replaces a bundled one."""
    return {source.source: source for source in (read_source(path) for path, _ in own_and_bundled(folder))}


def own_and_bundled(folder: Path) -> list[tuple[Path, bool]]:
    """The files of the bundled sources and the user's own in `folder`, and whether each is the user's own."""
    found = {name: (path, False) for name, path in _bundled().items()}
    found |= {path.stem: (path, True) for path in sorted(folder.glob("*.yaml"))}
    return list(found.values())
